"""Sends a response in pieces, so that a client that stops reading keeps little of it in memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import h11

from exporter.runtime.throttle import ThrottledLog

PIECE_BYTES = 32 * 1024
"""Handed to the transport at once. A client that stops reading keeps no more than this from being freed."""
_JOINED_BYTES = 64 * 1024
"""Up to this size a copy costs less than a second system call."""


class Outgoing:
    """Sends one response at a time, framed by ``http``."""

    _transport: asyncio.Transport
    _sent: Callable[[], None]
    _cut: Callable[[], None]

    def __init__(self, http: h11.Connection, log: ThrottledLog) -> None:
        self._http = http
        self._logger = log
        self._socket: socket.socket | None = None
        self._unsent: memoryview | None = None
        self._rest: Iterator[bytes] | None = None
        self._blocked = False

    def begin(
        self,
        transport: asyncio.Transport,
        sock: socket.socket | None,
        sent: Callable[[], None],
        cut: Callable[[], None],
    ) -> None:
        """Send over this transport from now on. Without TLS its socket is given and used first.

        ``sent`` is called when the last byte of a response is sent, and ``cut`` if a piece of it cannot be made.
        """
        self._transport = transport
        self._socket = sock
        self._sent, self._cut = sent, cut

    def send(self, head: h11.Response, body: bytes, rest: Iterator[bytes] | None = None) -> None:
        """Begin to send a response. Each piece of the ``rest`` is made in a thread when the one before is sent."""
        first = self._http.send(head) or b""
        self._rest = rest
        if rest is not None:
            self._send(first + self._framed(body))
            return
        # h11 passes a body of known length through. It has to see the body to know when the response has ended.
        self._framed(body)
        self._framed(None)
        if len(body) <= _JOINED_BYTES:
            self._send(first + body)
        else:
            self._transport.write(first)
            self._send(body)

    def block(self) -> None:
        """Stop sending, because the client reads no more."""
        self._blocked = True

    def unblock(self) -> None:
        """Continue to send, because the client reads again."""
        self._blocked = False
        if self._unsent is not None:
            self._continue()

    def drop(self) -> None:
        """Drop what is not sent, because the client is gone."""
        self._unsent = self._rest = None
        self._sent = self._cut = lambda: None  # methods of the connection, which would not be freed at once

    def _framed(self, piece: bytes | None) -> bytes:
        """Return a piece of a body as it is sent, or None as the end of the body."""
        return self._http.send(h11.EndOfMessage() if piece is None else h11.Data(data=piece)) or b""

    def _send(self, data: bytes) -> None:
        self._unsent = memoryview(data)
        self._continue()

    def _continue(self) -> None:
        while self._unsent and not self._blocked:
            if self._transport.is_closing():
                # The client has left. asyncio would warn of every further piece.
                self._unsent = None
                return
            if self._socket is not None:
                # Give the kernel what it takes at once, because the transport would copy the rest. If the kernel takes
                # nothing or the connection is broken, the transport notices it below.
                with suppress(OSError):
                    self._unsent = self._unsent[self._socket.send(self._unsent) :]
            piece, self._unsent = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._transport.write(piece)
        if self._unsent or self._blocked:
            return
        self._unsent = None
        if self._rest is None:
            self._sent()
        else:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, next, self._rest, None).add_done_callback(self._take)

    def _take(self, made: asyncio.Future[bytes | None]) -> None:
        """Send a piece that was made, or the end of the body."""
        if self._rest is None or made.cancelled():
            return
        error = made.exception()
        if error is not None:
            # The missing end tells the client that it has not got everything.
            self._logger.error("a response was cut, because a piece of it failed", exc_info=error)
            self._cut()
            return
        piece = made.result()
        if piece is None:
            self._rest = None
        self._send(self._framed(piece))
