"""The state in a PostgreSQL database: the only import of psycopg."""
