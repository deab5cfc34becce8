"""Opens listening sockets for addresses of the command line, and sets the options of client sockets."""

from __future__ import annotations

import errno
import re
import resource
import socket
import struct
from contextlib import suppress
from typing import Any

from exporter.errors import StartError, UsageError

_BACKLOG = 1024
_SEND_BUFFER_BYTES = 212_992
"""The most that Linux grants without further settings."""
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str | None, int]:
    """Return host (None for all interfaces) and port of a listen address. Raises UsageError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"listen address {text!r}: write HOST:PORT, [IPV6]:PORT or :PORT, with a port from 0 to 65535")
    return match["v6"] or match["host"] or None, int(match["port"])


def listen(address: str) -> socket.socket:
    """Return a listening socket. Raises UsageError or StartError, which name the address."""
    host, port = parse_address(address)
    try:
        if host is None:
            return _listen_everywhere(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Take the first IPv4 address of a name, as other exporters do.
        family, _, _, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
        return _bound(family, where)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"cannot listen on {address}: {reason}") from None


def _listen_everywhere(port: int) -> socket.socket:
    try:
        return _bound(socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104  meant, by a listen address without a host


def _bound(family: int, where: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
        sock.bind(where)
        # With SO_REUSEADDR only listen() fails for certain if the port is taken.
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def url(scheme: str, listener: socket.socket) -> str:
    """Return the URL of a listening socket, with its real port."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def set_options(sock: socket.socket, seconds: float) -> None:
    """Set the options of a client's socket. The client has so many seconds to acknowledge data."""
    # asyncio sets this only if the socket names its protocol. Without it the end of a response is 40 ms late.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # By default the kernel buffers 4 MB for a reader that stops. A smaller buffer is also faster.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The kernel may hold a whole response. This bounds how long it waits for the reader.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def reset_when_closed(sock: socket.socket) -> None:
    """Have the kernel drop what it still holds for the client when the socket is closed."""
    with suppress(OSError):  # the client may be gone
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def shortage(error: OSError) -> str | None:
    """Return which resource ran out and where an operator raises its limit, or None for other errors."""
    if error.errno == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"all {limit} file descriptors are in use; raise LimitNOFILE= of the systemd unit, or `ulimit -n`"
    if error.errno == errno.ENFILE:
        return "the machine has no file descriptor left; raise its fs.file-max"
    if error.errno in (errno.ENOBUFS, errno.ENOMEM):
        return f"the kernel has too little memory ({error.strerror})"
    return None
