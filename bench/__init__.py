"""What the exporter costs, beside what a user would run in its place. See ``python -m bench --help``."""
