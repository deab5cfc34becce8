"""An account in brief, for people at ``/`` and as JSON at ``/api/v1/accounts``."""
