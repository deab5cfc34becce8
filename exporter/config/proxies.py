"""Which proxy the usual variables name for a URL, and what is wrong with them.

No sentence made here repeats a variable's text, because it may hold a password.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.config.hosts import is_host

_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"\[([0-9a-fA-F:.]+)\](?::([0-9]{1,5}))?|([^:@]+)(?::([0-9]{1,5}))?|([0-9a-fA-F:./]+)")
_SECRET = 6
"""Characters of a password that is blanked out by itself. A shorter one may be part of any word."""
_UNSUPPORTED = ("socks", "socks4", "socks4a", "socks5", "socks5h", "ftp")
_FORM = "write it as http://host:port, with special characters of a password percent-encoded"


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy for a URL: where it is, why it cannot be used, and what should be changed in the variables.

    ``url`` is empty where there is a ``problem``.
    """

    variable: str
    url: str = field(default="", repr=False)
    problem: str | None = None
    remarks: tuple[str, ...] = ()


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for requests to a URL, or None where they go straight to it.

    A lower-case variable wins over its upper-case one, also where it is empty.
    """
    target = urlsplit(url)
    for name in (f"{target.scheme}_proxy", "all_proxy"):
        variable, text = _value(name, environ)
        if text.strip():
            exceptions, listed = _value("no_proxy", environ)
            entries = [_Bypass.read(entry) for entry in re.split(r"[,\s]+", listed) if entry]
            if any(entry is not None and entry.covers(target) for entry in entries):
                return None
            return _proxy(variable, text, tuple(_ignored(exceptions, entries)))
    return None


def logins(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every password of a proxy in the variables, and what is sent of it (RFC 7617), for redaction."""
    for variable, text in environ.items():
        login, at, _ = (text.partition("://")[2] or text).rpartition("@")
        user, colon, password = login.partition(":")
        if at and colon and variable.lower().endswith("_proxy"):
            sent = f"{unquote(user)}:{unquote(password)}"
            yield from (sent, base64.b64encode(sent.encode("latin-1", "replace")).decode())
            yield from (part for part in (password, unquote(password)) if len(part) >= _SECRET)


def _value(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    used = name if name in environ else name.upper()
    return used, environ.get(used, "")


def _proxy(variable: str, text: str, remarks: tuple[str, ...]) -> Proxy:
    def unusable(sentence: str) -> Proxy:
        return Proxy(variable, problem=f"environment variable {variable} {sentence}", remarks=remarks)

    if text != text.strip():
        text = text.strip()
        remarks += (f"environment variable {variable} begins or ends with white space, which is left out",)
    if not (text.isascii() and text.isprintable()) or " " in text:
        return unusable(f"holds a space, a control or a non-ASCII character; {_FORM}")
    if "://" not in text:
        text = f"http://{text}"
        remarks += (f"environment variable {variable} has no scheme and is taken as http; {_FORM}",)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return unusable(f"is not a valid URL; {_FORM}")
    if parts.scheme in _UNSUPPORTED:
        return unusable(f"names a {parts.scheme} proxy; only http and https proxies can be used")
    if parts.scheme not in _PORTS:
        return unusable(f"has a scheme that is neither http nor https; {_FORM}")
    host = parts.hostname or ""
    if not is_host(host) or parts.path not in ("", "/") or any(sign in text for sign in "?#\\"):
        return unusable(f"is not the address of a proxy; {_FORM}")
    login, at, _ = parts.netloc.rpartition("@")
    bracketed = f"[{host}]" if ":" in host else host
    where = f"{parts.scheme}://{login}{at}{bracketed}:{port or _PORTS[parts.scheme]}"
    return Proxy(variable, where, remarks=remarks)


@dataclass(frozen=True, slots=True)
class _Bypass:
    """One entry of NO_PROXY: a host with what is below it, an address, a network, or ``*`` for everything."""

    host: str
    port: int | None

    @classmethod
    def read(cls, text: str) -> _Bypass | None:
        """Return the entry, or None where it means nothing."""
        match = _ENTRY.fullmatch(text)
        if match is None:
            return None
        host = match[1] or match[3] or match[5]
        port = match[2] or match[4]
        if "/" in host or ":" in host:
            try:
                ip_network(host, strict=False)
            except ValueError:
                return None
        elif host != "*":
            host = host.removeprefix("*").strip(".").lower()
        return cls(host, int(port) if port else None) if host and (host == "*" or "*" not in host) else None

    def covers(self, target: SplitResult) -> bool:
        """Tell whether requests to this URL go past the proxy."""
        if self.port is not None and self.port != (target.port or _PORTS.get(target.scheme)):
            return False
        host = (target.hostname or "").rstrip(".")
        if self.host == "*" or host == self.host or host.endswith(f".{self.host}"):
            return True
        try:
            return ip_address(host) in ip_network(self.host, strict=False)
        except ValueError:
            return False


def _ignored(variable: str, entries: list[_Bypass | None]) -> Iterator[str]:
    for number, entry in enumerate(entries, start=1):
        if entry is None:
            yield (
                f"environment variable {variable} has an entry that is no host, domain, address or network, and is "
                f"left out: the one at position {number}"
            )
