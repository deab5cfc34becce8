"""Makes a connection of a connected socket. A failed TLS handshake ends in an alert."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Opening:
    """Makes the connection of a client, or calls ``failed``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        connection: asyncio.Protocol,
        failed: Callable[[], None],
    ) -> None:
        self._socket = sock
        self._failed = failed
        self._begun = False
        self._task: asyncio.Task[None] | None = loop.create_task(self._open(loop, tls, connection))
        self._task.add_done_callback(self._opened)

    def cancel(self) -> None:
        """Stop if the connection is not made yet."""
        if self._task is not None:
            self._task.cancel()

    async def _open(
        self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None, connection: asyncio.Protocol
    ) -> None:
        self._begun = True
        if tls is None:
            await loop.connect_accepted_socket(lambda: connection, self._socket)
            return
        done = loop.create_future()
        wrapped = _AlertingProtocol(loop, connection, tls, done, server_side=True)
        transport, _ = await loop.connect_accepted_socket(lambda: wrapped, self._socket)
        try:
            await done
        except BaseException:
            transport.close()
            raise

    def _opened(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        # Break the cycle of error, frames and task. Otherwise 50 kB of TLS would wait for the garbage collector.
        self._task = None
        if error is not None:
            error.__traceback__ = None
        if task.cancelled() or error is not None:
            logger.debug("a client was lost before its first request: %s", error or "it took too long")
            self._failed()
        if not self._begun:
            # The task was cancelled before it began. In every other case asyncio closes the socket, and a second
            # close could hit the next client, which may have the same descriptor.
            self._socket.close()


class _AlertingProtocol(sslproto.SSLProtocol):
    """asyncio's TLS, but a failed handshake sends its alert. asyncio alone closes without it."""

    max_size = 16 * 1024
    """The largest TLS record in bytes. asyncio would reserve 256 KiB for every connection."""

    def _fatal_error(self, exc: BaseException, message: str = "TLS failed") -> None:
        # Python 3.10 keeps what OpenSSL wrote in a pipe, later ones in the protocol itself.
        written = getattr(getattr(self, "_sslpipe", self), "_outgoing", None)
        if isinstance(exc, ssl.SSLError) and written is not None and isinstance(self._transport, asyncio.Transport):
            self._transport.write(written.read())
        super()._fatal_error(exc, message)
