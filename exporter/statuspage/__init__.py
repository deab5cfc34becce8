"""The status page at ``/`` and the same as JSON at ``/api/v1/accounts``; the only import of Jinja2."""

from exporter.statuspage.page import StatusPage

__all__ = ["StatusPage"]
