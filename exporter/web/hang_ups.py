"""Notices clients that hang up while nothing is read from them."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from functools import partial


class HangUps:
    """Calls back when a watched client closes its side of the connection. Used on the event loop alone.

    asyncio notices this only while it reads, and data that the client sent before would hide it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, Callable[[], None]] = {}
        # Only Linux has epoll. Elsewhere a hang-up is noticed when the response is sent.
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._look, self._epoll)

    def watch(self, descriptor: int, hung_up: Callable[[], None]) -> Callable[[], None]:
        """Call ``hung_up`` once when the client closes its side. Return what ends the watch."""
        if self._epoll is not None:
            self._epoll.register(descriptor, select.EPOLLRDHUP)
            self._watched[descriptor] = hung_up
        return partial(self._end, descriptor, hung_up)

    def close(self) -> None:
        """Watch no more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _look(self, epoll: select.epoll) -> None:
        for descriptor, _ in epoll.poll(0):
            hung_up = self._watched[descriptor]
            self._end(descriptor, hung_up)
            hung_up()

    def _end(self, descriptor: int, hung_up: Callable[[], None]) -> None:
        # The descriptor may be closed, and the next client may have got the same number.
        if self._epoll is not None and self._watched.get(descriptor) is hung_up:
            del self._watched[descriptor]
            with suppress(OSError):
                self._epoll.unregister(descriptor)
