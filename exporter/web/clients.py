"""Keeps all open connections: closes one for a newcomer, ends slow ones, and closes all at a stop."""

from __future__ import annotations

import asyncio
from collections import Counter

from exporter.runtime.malloc import return_memory
from exporter.runtime.throttle import ThrottledLog
from exporter.web.connection import ClientLimits, Connection, Phase
from exporter.web.fair_queue import network

_CROWD_CLIENTS = 100
"""Memory is returned when there are so many clients fewer than there were."""


class Clients:
    """The connections of a server. Used on the event loop only."""

    def __init__(self, limits: ClientLimits, log: ThrottledLog) -> None:
        self._limits = limits
        self._logger = log
        self._connections: dict[Connection, str] = {}
        self._most = 0
        self._emptied: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection, address: str) -> None:
        """Keep the connection of a client with this address. Close another one if there are too many."""
        if len(self._connections) >= self._limits.connections:
            self.make_room()
        self._connections[connection] = network(address)
        self._most = max(self._most, len(self._connections))

    def remove(self, connection: Connection) -> None:
        """Forget a connection that was lost."""
        self._connections.pop(connection, None)
        if not self._connections and self._emptied is not None:
            self._emptied.set()

    def make_room(self) -> None:
        """Close the client that has waited longest, among those of the address that has most connections.

        A client that waits for a response or reads it is closed only if its address has no other connection.
        """
        if self._connections:
            counts = Counter(self._connections.values())

            def order(each: Connection) -> tuple[int, bool, float]:
                return -counts[self._connections[each]], each.phase is Phase.RESPONSE, each.since

            leaving = min(self._connections, key=order)
            leaving.abort()
            self.remove(leaving)

    async def sweep(self) -> None:
        """End connections whose deadline has passed, again and again until the task is cancelled."""
        limits = self._limits
        loop = asyncio.get_running_loop()
        pause = min(1.0, limits.request_seconds / 4, limits.idle_seconds / 4, limits.response_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            if self._most - len(self._connections) >= _CROWD_CLIENTS:
                self._most = len(self._connections)
                return_memory()
            for connection in [each for each in self._connections if each.deadline < now]:
                try:
                    connection.expire()
                except Exception:
                    self._logger.exception("a connection could not be ended")

    async def drain(self, grace: float) -> None:
        """Wait up to ``grace`` seconds for responses under way, then cut the rest."""
        for connection in tuple(self._connections):
            connection.finish()
        await self._wait_until_empty(grace)
        for connection in tuple(self._connections):
            connection.abort()
        await self._wait_until_empty(1.0)

    async def _wait_until_empty(self, seconds: float) -> None:
        if self._connections:
            self._emptied = asyncio.Event()
            try:
                await asyncio.wait_for(self._emptied.wait(), seconds)
            except asyncio.TimeoutError:
                return
