"""Serves one HTTP/1.1 connection and limits what its client may send and how long it may take.

h11 reads the protocol and asyncio the socket. This module sets the limits. A connection always has a ``deadline``.
``Clients`` checks it about once a second, so no client keeps a connection open by doing nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import cast

import h11

from exporter.runtime.throttle import ThrottledLog
from exporter.web import headers, parsing
from exporter.web.listen import reset_when_closed
from exporter.web.messages import GiveUp, Request, Respond, Response, failure_response, text_response
from exporter.web.opening import Opening
from exporter.web.outgoing import Outgoing

LINGER_SECONDS = 2.0
"""Time for a client to read the last response before its connection is cut."""

Handle = Callable[[Request, Respond], "GiveUp | None"]
"""Handles a request. Calls ``Respond`` once, at once or later, on the event loop."""
Watch = Callable[[int, Callable[[], None]], Callable[[], None]]
"""Watches a descriptor, calls back when the client hangs up, and returns what ends the watch."""


@dataclass(frozen=True)
class ClientLimits:
    """What a client may send, and how long it may take."""

    connections: int = 512
    """Open at the same time. One more closes a connection of the address that has most."""
    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    request_seconds: float = 10.0
    """From the connection, TLS included, or the first byte of a later request, to the last byte of the request."""
    idle_seconds: float = 360.0
    """Between two requests. Prometheus closes an idle connection after 300 s, and should be the first to close."""
    response_seconds: float = 60.0
    """From a request to the last byte of its response that the client reads."""


class Phase(Enum):
    """What a connection is waiting for."""

    REQUEST = "a whole request"
    IDLE = "the first byte of another request"
    RESPONSE = "a response, or the client to take it in"
    CLOSING = "the client to close"


class Connection(asyncio.Protocol):
    """One client. ``since`` and ``deadline`` belong to the present phase and are times of the event loop."""

    _transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ClientLimits,
        handle: Handle,
        admit: Callable[[ssl.SSLObject], bool],
        lost: Callable[[Connection], None],
        log: ThrottledLog,
        watch: Watch,
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._handle = handle
        self._admit = admit
        self._lost = lost
        self._logger = log
        self._watch = watch
        self._waiting = ExitStack()  # closed when the wait for a response ends
        self._connected = False
        self._socket: socket.socket | None = None
        self._client = ""
        self._opening: Opening | None = None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._outgoing = Outgoing(self._http, log)
        self._request: h11.Request | None = None
        self._received, self._last = 0, False
        self._enter(Phase.REQUEST, limits.request_seconds)

    def _enter(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self.since = self._loop.time()
        self.deadline = self.since + seconds

    # Called by the server

    def open(self, sock: socket.socket, tls: ssl.SSLContext | None, client: str) -> None:
        """Serve a client that has connected. Begin with a TLS handshake if there is a context."""
        self._socket = sock
        self._client = client
        self._opening = Opening(self._loop, sock, tls, self, self._not_opened)

    def _not_opened(self) -> None:
        self._opening = None
        self._lost(self)

    def expire(self) -> None:
        """End the connection because its deadline has passed. Close it in order if it was idle, else cut it."""
        if self.phase is Phase.IDLE:
            self._close()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection, and drop what the kernel still holds for the client."""
        if self._connected and self._socket is not None:
            reset_when_closed(self._socket)
            self._transport.abort()
        elif self._opening is not None:
            self._opening.cancel()

    def finish(self) -> None:
        """Close after the response that is under way, or at once if there is none."""
        self._last = True
        if self._connected and self.phase in (Phase.IDLE, Phase.REQUEST):
            self._close()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102  asyncio's
        self._transport = cast(asyncio.Transport, transport)
        self._connected = True
        self._opening = None
        tls = transport.get_extra_info("ssl_object")
        # Be told of every byte that waits in the transport. Otherwise a slow reader would look idle, and Outgoing
        # would send out of order. TLS needs 1, because asyncio would pause at 0 bytes and wait for fewer.
        self._transport.set_write_buffer_limits(high=0 if tls is None else 1)
        self._outgoing.begin(self._transport, self._socket if tls is None else None, self._sent, self.abort)
        if tls is not None and not self._admit(tls):
            self.abort()

    def data_received(self, data: bytes) -> None:  # noqa: D102  asyncio's
        if self.phase is Phase.CLOSING:
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.REQUEST, self._limits.request_seconds)
        self._http.receive_data(data)
        if self.phase is Phase.REQUEST:
            self._read()

    def pause_writing(self) -> None:  # noqa: D102  asyncio's
        self._outgoing.block()

    def resume_writing(self) -> None:  # noqa: D102  asyncio's
        self._outgoing.unblock()

    def connection_lost(self, _error: Exception | None) -> None:  # noqa: D102  asyncio's
        self.phase = Phase.CLOSING
        self._waiting.close()
        self._outgoing.drop()
        self._transport.close()  # Python 3.10 warns of a TLS transport that was not closed here too
        self._lost(self)

    # From bytes to a request

    def _read(self) -> None:
        try:
            while self.phase is Phase.REQUEST:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._request, self._received = event, 0
                    status = parsing.refusal(event, self._limits.header_bytes, self._limits.body_bytes)
                    if status is not None:
                        self._refuse(status)
                elif isinstance(event, h11.Data):
                    # Count a tiny chunk as 64 bytes, because thousands of them take much time.
                    self._received += max(len(event.data), 64)
                    if self._received > self._limits.body_bytes:
                        self._refuse(413)
                elif isinstance(event, h11.EndOfMessage):
                    self._dispatch()
                    return
                else:
                    if self._http.they_are_waiting_for_100_continue:
                        self._transport.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                    self._transport.resume_reading()
                    return
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _dispatch(self) -> None:
        self._enter(Phase.RESPONSE, self._limits.response_seconds)
        try:
            request = parsing.parse(cast(h11.Request, self._request), self._client)
        except ValueError:
            self._refuse(400)
            return
        give_up = self._handle(request, self._respond)
        if give_up is not None and self._socket is not None:
            self._waiting.callback(give_up)
            self._waiting.callback(self._watch(self._socket.fileno(), self.abort))
        if self.phase is Phase.RESPONSE:
            # Read nothing more until the response is sent, because h11 would keep all of it.
            self._transport.pause_reading()

    # From a response to bytes

    def _refuse(self, status: int) -> None:
        self._last = True
        self._enter(Phase.RESPONSE, self._limits.response_seconds)
        self._respond(text_response(status, f"{status} {HTTPStatus(status).phrase}"))

    def _respond(self, response: Response) -> None:
        self._waiting.close()
        if self._transport.is_closing():
            return
        self._enter(Phase.RESPONSE, self._limits.response_seconds)
        try:
            event = headers.head(response, close=self._last)
        except h11.LocalProtocolError as error:
            self._logger.error("a response cannot be sent: %s", error)
            self._respond(failure_response())
            return
        if self._request is not None and self._request.method == b"HEAD":
            self._outgoing.send(event, ())
        else:
            self._outgoing.send(event, (response.body, *response.more), response.pieces)

    def _sent(self) -> None:
        if self._last or not self._http.our_state is self._http.their_state is h11.DONE:
            self._close()
            return
        self._http.start_next_cycle()
        self._request = None
        waiting, _ = self._http.trailing_data
        if waiting:
            # Read one request in each turn of the loop, so that a client with thousands of requests delays no other.
            self._enter(Phase.REQUEST, self._limits.request_seconds)
            self._transport.pause_reading()
            self._loop.call_soon(self._read)
        else:
            self._enter(Phase.IDLE, self._limits.idle_seconds)
            self._transport.resume_reading()

    def _close(self) -> None:
        if self.phase is Phase.CLOSING:
            return
        unread = self._http.their_state in (h11.SEND_BODY, h11.ERROR)
        self._enter(Phase.CLOSING, LINGER_SECONDS)
        self._transport.resume_reading()
        if unread and self._transport.can_write_eof():
            # Closing now would reset the connection, and the client might lose the response that says why.
            self._transport.write_eof()
        else:
            # Close later, because asyncio calls this after it wrote the last byte, and would then close again.
            self._loop.call_soon(self._transport.close)
