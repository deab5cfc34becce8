"""Sends a response in pieces, so that a client that stops reading keeps little of it in memory."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

PIECE_BYTES = 32 * 1024
"""Handed to the transport at once. A client that stops reading keeps no more than this from being freed."""
_JOINED_BYTES = 64 * 1024
"""Up to this size a copy costs less than a second system call."""


class Outgoing:
    """Sends one response at a time. ``send`` and ``unblock`` return whether the last byte is sent."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._unsent: memoryview | None = None
        self._blocked = False

    def begin(self, transport: asyncio.Transport, sock: socket.socket | None) -> None:
        """Send over this transport from now on. Without TLS its socket is given and used first."""
        self._transport = transport
        self._socket = sock

    def send(self, head: bytes, body: bytes) -> bool:
        """Begin to send a response."""
        if len(body) <= _JOINED_BYTES:
            self._unsent = memoryview(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
        return self._continue()

    def block(self) -> None:
        """Stop sending, because the client reads no more."""
        self._blocked = True

    def unblock(self) -> bool:
        """Continue to send, because the client reads again."""
        self._blocked = False
        return self._unsent is not None and self._continue()

    def drop(self) -> None:
        """Drop what is not sent, because the client is gone."""
        self._unsent = None

    def _continue(self) -> bool:
        while self._unsent and not self._blocked:
            if self._transport.is_closing():
                # The client has left. asyncio would warn of every further piece.
                self._unsent = None
                return False
            if self._socket is not None:
                # Give the kernel what it takes at once, because the transport would copy the rest. If the kernel takes
                # nothing or the connection is broken, the transport notices it below.
                with suppress(OSError):
                    self._unsent = self._unsent[self._socket.send(self._unsent) :]
            piece, self._unsent = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._transport.write(piece)
        if self._unsent or self._blocked:
            return False
        self._unsent = None
        return True
