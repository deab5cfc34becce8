"""What the web configuration comes to. ``config`` reads it, which only a start with such a file has to import."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.errors import Problem
from exporter.web.rate_limit import RateLimit


@dataclass(frozen=True)
class WebConfig:
    """What the file says, ready to be used."""

    tls: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] = frozenset()
    """Names of which a client certificate needs one. Empty if every certificate of the authority is admitted."""
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """bcrypt hashes by user name. Empty if no password is needed."""
    rate_limit: RateLimit | None = None
    warnings: tuple[Problem, ...] = ()
    """What the operator should change. Nothing stops because of it."""
