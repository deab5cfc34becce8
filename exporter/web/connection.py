"""One HTTP/1.1 connection of a client: what it may send, how long it may take, and how answers go out.

h11 reads the protocol and asyncio the socket; this module owns the limits between them. A connection always
has a ``deadline``, which ``Server`` looks at about once a second: nothing can stay open by doing nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from exporter.runtime.throttle import ThrottledLog
from exporter.web.tls import accept

logger = logging.getLogger(__name__)

PIECE = 32 * 1024
"""Bytes handed to the transport at once: what a client that stops reading may keep us from freeing."""
_JOINED = 64 * 1024
"""Bytes up to which a copy costs less than a second system call."""
LINGER = 2.0
"""Seconds for a client to take a closing connection in."""
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_RESET = struct.pack("ii", 1, 0)
TEXT = "text/plain; charset=utf-8"

_SECURITY: dict[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "deny",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_NO_CONTENT = "default-src 'none'; frame-ancestors 'none'"
_HTML_CONTENT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Request:
    """What a client asked for; names of headers are in lower case, the body is gone."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str = ""
    """The address that it came from."""


@dataclass(frozen=True)
class Response:
    """An answer; the server adds length, date and those security headers that ``headers`` leaves out."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a client may take: bytes, and seconds."""

    connections: int = 512
    """Open at once; one more closes the one that has waited longest."""
    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    request: float = 10.0
    """From the connection (TLS included), or the first byte of a later request, to a request's last byte."""
    idle: float = 360.0
    """Between two requests: Prometheus closes an idle connection after 300 s and is to be the first."""
    response: float = 60.0
    """To take an answer in."""
    password_checks: int = 512
    """bcrypt comparisons that may wait for their turn, one for each connection; one more is answered with 503."""


def text_response(status: int, message: str, *headers: tuple[str, str]) -> Response:
    """Return an answer of one line."""
    return Response(status, f"{message}\n".encode(), TEXT, headers)


FAILED = "500 Internal Server Error: the log has the reason"

Answer = Callable[[Request, Callable[[Response], None]], None]
"""Answers a request by calling what it is given once, now or later, on the event loop."""


class Phase(Enum):
    """What a connection is waiting for."""

    REQUEST = "a whole request"
    IDLE = "the first byte of another request"
    RESPONSE = "an answer, or the client to take it in"
    CLOSING = "the client to close"


class Connection(asyncio.Protocol):
    """One client. ``since`` and ``deadline`` are times of the event loop for the present phase."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        answer: Answer,
        admit: Callable[[ssl.SSLObject], bool],
        lost: Callable[[Connection], None],
        log: ThrottledLog,
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._answer = answer
        self._admit = admit
        self._lost = lost
        self._logger = log
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._client = ""
        self._opening: asyncio.Task[None] | None = None
        self._owned = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._request: h11.Request | None = None
        self._received = 0
        self._unsent: memoryview | None = None
        self._blocked = False
        self._last = False
        self._tls = False
        self._enter(Phase.REQUEST, limits.request)

    def _enter(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self.since = self._loop.time()
        self.deadline = self.since + seconds

    # Called by the server

    def open(self, sock: socket.socket, tls: ssl.SSLContext | None, client: str) -> None:
        """Begin to talk to the client that has connected, with a TLS handshake where there is a context."""
        self._socket = sock
        self._client = client
        self._opening = self._loop.create_task(self._open(sock, tls))
        self._opening.add_done_callback(self._opened)

    async def _open(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._owned = True
        if tls is None:
            await self._loop.connect_accepted_socket(lambda: self, sock)
        else:
            await accept(self._loop, sock, tls, self)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening = None
        error = None if opening.cancelled() else opening.exception()
        if error is not None:
            # Its frames hold the future that holds it: 50 kB of TLS would wait for the garbage collector.
            error.__traceback__ = None
        if opening.cancelled() or error is not None:
            logger.debug("a client was lost before its first request: %s", error or "it took too long")
            self._lost(self)
        if not self._owned and self._socket is not None:
            # Cancelled before it began. Otherwise asyncio closes the socket: doing so here as well could hit
            # the next client, which has got the same descriptor by then.
            self._socket.close()

    def expire(self) -> None:
        """End the connection, its deadline having passed: politely where it was idle."""
        if self.phase is Phase.IDLE:
            self._close()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection, and take back what the kernel still holds for the client."""
        if self._transport is None:
            if self._opening is not None:
                self._opening.cancel()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                logger.debug("a connection was gone before it could be cut")
        self._transport.abort()

    def finish(self) -> None:
        """Close after the answer that is being made or sent, at once where there is none."""
        self._last = True
        if self.phase in (Phase.IDLE, Phase.REQUEST):
            self._close()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102  asyncio's
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        self._tls = tls is not None
        # Nothing may wait in the transport unnoticed: a slow reader would look idle, and _send would overtake it.
        # Not 0 under TLS, where asyncio would pause at 0 bytes and wait for fewer.
        self._transport.set_write_buffer_limits(high=1 if self._tls else 0)
        if tls is not None and not self._admit(tls):
            self.abort()

    def data_received(self, data: bytes) -> None:  # noqa: D102  asyncio's
        if self.phase is Phase.CLOSING:
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.REQUEST, self._limits.request)
        self._http.receive_data(data)
        if self.phase is Phase.REQUEST:
            self._read()

    def pause_writing(self) -> None:  # noqa: D102  asyncio's
        self._blocked = True

    def resume_writing(self) -> None:  # noqa: D102  asyncio's
        self._blocked = False
        if self.phase is Phase.RESPONSE and self._unsent is not None:
            self._send()

    def connection_lost(self, _error: Exception | None) -> None:  # noqa: D102  asyncio's
        self.phase = Phase.CLOSING
        self._unsent = None
        self._lost(self)

    # From bytes to a request

    def _read(self) -> None:
        try:
            while self.phase is Phase.REQUEST:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    # Thousands of tiny chunks take time instead of memory.
                    self._received += max(len(event.data), 64)
                    if self._received > self._limits.body_bytes:
                        self._refuse(413)
                elif isinstance(event, h11.EndOfMessage):
                    self._enter(Phase.RESPONSE, self._limits.response)
                    self._dispatch()
                    return
                else:
                    if self._http.they_are_waiting_for_100_continue:
                        self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                    self._resume()
                    return
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _begin(self, request: h11.Request) -> None:
        self._request = request
        self._received = 0
        # h11 measures only what is incomplete: a request that came in one piece has to be measured here.
        size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
        lengths = [value for name, value in request.headers if name == b"content-length"]
        if size > self._limits.header_bytes:
            self._refuse(431)
        elif lengths and int(lengths[0]) > self._limits.body_bytes:
            self._refuse(413)
        elif lengths and any(name == b"transfer-encoding" for name, _ in request.headers):
            self._refuse(400)  # two lengths: a proxy in between may believe the other one
        elif not request.http_version.startswith(b"1."):
            self._refuse(505)

    def _dispatch(self) -> None:
        if self._request is None:
            raise AssertionError("h11 ended a request that had not begun")
        try:
            request = _request(self._request, self._client)
        except ValueError:
            self._refuse(400)
            return
        self._answer(request, self._reply)
        if self.phase is Phase.RESPONSE:
            # Until the answer is out nothing more is read: h11 would keep it all.
            self._pause()

    # From a response to bytes

    def _refuse(self, status: int) -> None:
        self._last = True
        self._enter(Phase.RESPONSE, self._limits.response)
        self._reply(text_response(status, f"{status} {HTTPStatus(status).phrase}"))

    def _reply(self, response: Response) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._enter(Phase.RESPONSE, self._limits.response)
        headers = _headers(response)
        if self._last:
            headers.append(("connection", "close"))
        reason = _REASONS.get(response.status, b"")
        try:
            event = h11.Response(status_code=response.status, reason=reason, headers=headers)
        except h11.LocalProtocolError as error:
            self._logger.error("an answer cannot be sent: %s", error)
            self._reply(text_response(500, FAILED))
            return
        head = self._http.send(event)
        body = b"" if self._request is not None and self._request.method == b"HEAD" else response.body
        # h11 passes a body of known length through; it is told of it only to keep its account.
        self._http.send(h11.Data(data=body))
        self._http.send(h11.EndOfMessage())
        if len(body) <= _JOINED:
            self._unsent = memoryview(head + body)
        else:
            self._write(head)
            self._unsent = memoryview(body)
        self._send()

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _send(self) -> None:
        while self._unsent and not self._blocked:
            if not self._tls and self._socket is not None:
                # Straight into the kernel what it takes: the transport would copy what it does not take.
                # Where it takes nothing, or the connection is broken, the transport finds out which.
                with suppress(OSError):
                    self._unsent = self._unsent[self._socket.send(self._unsent) :]
            piece, self._unsent = self._unsent[:PIECE], self._unsent[PIECE:]
            self._write(piece)
        if not self._unsent and not self._blocked:
            self._unsent = None
            self._sent()

    def _sent(self) -> None:
        if self._last or not self._http.our_state is self._http.their_state is h11.DONE:
            self._close()
            return
        self._http.start_next_cycle()
        self._request = None
        waiting, _ = self._http.trailing_data
        if waiting:
            # One request in each turn of the loop: a client that sends thousands at once is one among others.
            self._enter(Phase.REQUEST, self._limits.request)
            self._pause()
            self._loop.call_soon(self._read)
        else:
            self._enter(Phase.IDLE, self._limits.idle)
            self._resume()

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _close(self) -> None:
        if self._transport is None or self.phase is Phase.CLOSING:
            return
        unread = self._http.their_state in (h11.SEND_BODY, h11.ERROR)
        self._enter(Phase.CLOSING, LINGER)
        self._resume()
        if unread and self._transport.can_write_eof():
            # Closing now would reset the connection, and the client might lose the answer that says why.
            self._transport.write_eof()
        else:
            # Not at once: asyncio calls here when it has written the last byte, and would then close it again.
            self._loop.call_soon(self._transport.close)


def _request(request: h11.Request, client: str) -> Request:
    headers: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    target = request.target.decode("ascii")
    if not target.startswith("/"):
        parts = urlsplit(target)
        target = f"{parts.path or '/'}?{parts.query}"
        if parts.netloc:
            headers["host"] = parts.netloc
    path, _, query = target.partition("?")
    return Request(
        method=request.method.decode("ascii"),
        path=unquote(path) if "%" in path else path,
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        headers=headers,
        client=client,
    )


def _headers(response: Response) -> list[tuple[str, str]]:
    headers = [
        ("date", formatdate(time.time(), usegmt=True)),
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        *response.headers,
    ]
    given = {name.lower() for name, _ in response.headers}
    headers += [(name, value) for name, value in _SECURITY.items() if name not in given]
    if "content-security-policy" not in given:
        html = response.content_type.startswith("text/html")
        headers.append(("content-security-policy", _HTML_CONTENT if html else _NO_CONTENT))
    return headers
