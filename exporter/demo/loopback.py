"""An HTTP server on loopback with a thread for each connection, which passes every GET to a function.

It can do what a normal server cannot. An `Exchange` can pause, drip, reset or send raw bytes, and
`LoopbackServer.stop` ends every exchange at once by shutting its socket down.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

ACCEPT_POLL_SECONDS = 0.02  # how long stop() may have to wait for the accepting thread
STOP_SECONDS = 5.0


class Exchange(BaseHTTPRequestHandler):
    """A connection of a client, with methods for correct and wrong responses."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a small response can wait 40 ms for the client's delayed ACK
    server: LoopbackServer

    def do_GET(self) -> None:
        """Let the server's function respond."""
        self.server.respond(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because paths and keys belong only into the request log."""

    def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Respond in one write, as JSON unless a Content-Type is given."""
        self.write(self.head(status, {"Content-Length": str(len(body)), **(headers or {})}) + body)

    def send_json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Respond with a JSON value. NaN and Infinity are sent as Python writes them."""
        self.send(status, json.dumps(value).encode(), headers)

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Return the status line, the headers and the blank line."""
        fields = {"Content-Type": "application/json", **headers}
        if fields.get("Connection") == "close":
            self.close_connection = True
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {status} {_phrase(status)}\r\n{lines}\r\n".encode("latin-1")

    def write(self, data: bytes) -> None:
        """Send raw bytes. Raise OSError if the connection is gone."""
        self.connection.sendall(data)

    def pause(self, seconds: float | None) -> None:
        """Wait for this many seconds (None means forever), and drop everything that the client sends.

        Raise ConnectionAbortedError as soon as the client closes the connection or the server stops.
        """
        self.connection.settimeout(None if seconds is None else max(seconds, 0.001))  # 0 would not block
        try:
            while self.connection.recv(4096):
                pass
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)
        raise ConnectionAbortedError("the client closed the connection, or the server is stopping")

    def reset(self) -> None:
        """End the connection with a TCP reset, so that the client's next read or write fails."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class LoopbackServer(socketserver.ThreadingTCPServer):
    """Serves `respond` on a free port of 127.0.0.1, over TLS if a context is given."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, respond: Callable[[Exchange], None], tls: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self.tls = tls
        self.connections_accepted = 0
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), Exchange)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(ACCEPT_POLL_SECONDS,), name="vendors-accept", daemon=True
        )

    @property
    def origin(self) -> str:
        """Return the scheme, address and port to call."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server_address[1]}"

    @property
    def connections_open(self) -> int:
        """Return how many connections are open now."""
        return len(self._open)

    def start(self) -> None:
        """Accept connections in a new thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, close all connections and wait at most 5 s until their threads end."""
        if self._thread.ident:  # shutdown() would wait forever for a thread that was never started
            self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):  # the client may have closed it before
                    # Not SSLSocket.shutdown, because it would drop the TLS state that the reading thread uses.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, STOP_SECONDS)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one connection and count it."""
        connection, address = super().get_request()
        if self.tls:
            # The first read does the handshake in the connection's own thread, so a slow client delays no other.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._changed:
            self.connections_accepted += 1
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close without a FIN, because a FIN would turn a reset into an orderly end."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Close a connection and stop counting it."""
        super().close_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a traceback, but not for clients that closed the connection, because tests do that on purpose."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
