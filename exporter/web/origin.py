"""Detects requests that browsers send for other sites, and host names that may come from DNS rebinding."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from exporter.errors import UsageError
from exporter.web.messages import Request

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


def is_cross_site(request: Request) -> bool:
    """Return whether a browser sends this for a page of another site and the request could change something.

    Programs such as curl send neither header. Browsers send both, and no page can forge them.
    """
    if request.method in ("GET", "HEAD"):
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    # Only the host is compared, because a proxy in front may speak TLS for us.
    return origin is not None and origin.lower().partition("://")[2] != request.headers.get("host", "").lower()


def is_host_allowed(host: str, allowed: Collection[str]) -> bool:
    """Return whether the host is one of the names or an address. Without names every host is allowed.

    An address is always allowed, because DNS rebinding needs a name. Probes and scrapes of pods use addresses.
    """
    if not allowed:
        return True
    name = re.sub(r":[0-9]*$", "", host.lower()).removesuffix(".")
    return name in allowed or _is_address(name.removeprefix("[").removesuffix("]"))


def host_name(text: str) -> str:
    """Return a name as ``is_host_allowed`` compares it. Raises UsageError if it is not a host name."""
    name = text.lower().removesuffix(".")
    if not _NAME.fullmatch(name) and not _is_address(name):
        raise UsageError(
            f"--web.allowed-hosts: {text!r} is no host name;"
            " write one such as exporter.example.org, without scheme and port"
        )
    return name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
