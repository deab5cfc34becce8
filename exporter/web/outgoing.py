"""Sends a response in pieces, so that a client that stops reading keeps little of it in memory."""

from __future__ import annotations

import asyncio
import socket
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import cast

import h11

from exporter.runtime.throttle import ThrottledLog

PIECE_BYTES = 32 * 1024
"""Handed to the transport at once. A client that stops reading keeps no more than this from being freed."""
_JOINED_BYTES = 64 * 1024
"""Up to this size a copy costs less than a list of parts."""
_PARTS = 1024
"""The most parts that Linux takes in one call."""


class Outgoing:
    """Sends one response at a time, framed by ``http``."""

    _transport: asyncio.Transport
    _sent: Callable[[], None]
    _cut: Callable[[], None]

    def __init__(self, http: h11.Connection, log: ThrottledLog) -> None:
        self._http = http
        self._logger = log
        self._socket: socket.socket | None = None
        self._parts: Sequence[bytes] = ()
        self._ends = array("Q")  # the bytes up to the end of each part
        self._left = 0
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

    def send(self, head: h11.Response, body: Sequence[bytes], rest: Iterator[bytes] | None = None) -> None:
        """Begin to send a response. The parts of a large body are not copied.

        Each piece of the ``rest`` is made in a thread when the one before is sent.
        """
        first = self._http.send(head) or b""
        self._rest = rest
        if rest is not None:
            self._send([first, *map(self._framed, body)])
            return
        # h11 passes a body of known length through. It asks only for the length, to know when the response has ended.
        self._http.send_with_data_passthrough(h11.Data(data=cast(bytes, range(sum(map(len, body))))))
        self._framed(None)
        self._send([first, *body])

    def block(self) -> None:
        """Stop sending, because the client reads no more."""
        self._blocked = True

    def unblock(self) -> None:
        """Continue to send, because the client reads again."""
        self._blocked = False
        if self._parts:
            self._continue()

    def drop(self) -> None:
        """Drop what is not sent, because the client is gone."""
        self._parts, self._ends, self._left, self._rest = (), array("Q"), 0, None
        self._sent = self._cut = lambda: None  # methods of the connection, which would not be freed at once

    def _framed(self, piece: bytes | None) -> bytes:
        """Return a piece of a body as it is sent, or None as the end of the body."""
        return self._http.send(h11.EndOfMessage() if piece is None else h11.Data(data=piece)) or b""

    def _send(self, parts: Sequence[bytes]) -> None:
        self._parts, self._ends = parts, array("Q", accumulate(map(len, parts)))
        self._left = self._ends[-1]
        if self._left <= _JOINED_BYTES:
            self._parts, self._ends = [b"".join(parts)], array("Q", [self._left])
        self._continue()

    def _continue(self) -> None:
        while self._left and not self._blocked:
            if self._transport.is_closing():
                # The client has left. asyncio would warn of every further piece.
                self.drop()
                return
            if self._socket is not None:
                # Give the kernel what it takes at once, because the transport would copy the rest. If the kernel takes
                # nothing or the connection is broken, the transport notices it below.
                with suppress(OSError):
                    while self._left:
                        self._left -= self._socket.sendmsg(self._next())
            if self._left:
                self._transport.write(self._piece())
        if self._left or self._blocked:
            return
        self._parts, self._ends = (), array("Q")
        if self._rest is None:
            self._sent()
        else:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, next, self._rest, None).add_done_callback(self._take)

    def _next(self) -> list[bytes | memoryview]:
        """Return the next parts, the first of them without what is sent of it."""
        sent = self._ends[-1] - self._left
        part = bisect_right(self._ends, sent)
        return [memoryview(self._parts[part])[sent - self._ends[part] :], *self._parts[part + 1 : part + _PARTS]]

    def _piece(self) -> bytes:
        piece = bytearray()
        for part in self._next():
            piece += part[: PIECE_BYTES - len(piece)]
            if len(piece) == PIECE_BYTES:
                break
        self._left -= len(piece)
        return bytes(piece)

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
        self._send([self._framed(piece)])
