"""Looks names up within a deadline. A thread waits for getaddrinfo, because it cannot be interrupted."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from exporter.errors import PollTimeoutError, UnreachableError
from exporter.runtime.files import reason
from exporter.transport.deadline import Deadline

Address = tuple[int, int, int, str, Any]
Resolve = Callable[[str, int], list[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host from the system's resolver."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]  # enums are ints


class Lookups:
    """The look-ups under way, one thread for each host and port; thread-safe."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[Address]:
        """Return the addresses of a host; raise a PollError if there are none in time."""
        written = _written(host, port)
        if written is not None:
            return written
        with self._lock:
            lookup = self._running.get((host, port))
            if lookup is None:
                lookup = _Lookup()
                try:
                    threading.Thread(target=self._run, args=(lookup, host, port), daemon=True).start()
                except RuntimeError:
                    what = "no thread can be started; raise TasksMax= of the service, or `ulimit -u`"
                    raise UnreachableError(f"cannot look up {host}: {what}") from None
                self._running[host, port] = lookup
        if not lookup.done.wait(deadline.left()):
            raise PollTimeoutError(f"looking up {host} took too long")
        if lookup.error is not None:
            words = reason(lookup.error) if isinstance(lookup.error, OSError) else "it is no name that can be looked up"
            raise UnreachableError(f"cannot look up {host}: {words}")
        return lookup.addresses

    def _run(self, lookup: _Lookup, host: str, port: int) -> None:
        try:
            lookup.addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            lookup.error = _exhaustion() or error
        finally:
            with self._lock:  # held while the thread is started, so the entry is there
                del self._running[host, port]
            lookup.done.set()


class _Lookup:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.error: Exception | None = None


@lru_cache(1024)
def _written(host: str, port: int) -> list[Address] | None:
    """Return the address that is written as the host, which needs no wait, or None for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return resolve(host, port)


def _exhaustion() -> OSError | None:
    """Return the error of an open file, because getaddrinfo calls a name unknown where no descriptor is left."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error
    return None
