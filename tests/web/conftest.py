"""A server for one test, and a client that sends and receives bytes."""

from __future__ import annotations

import io
import logging
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPResponse
from typing import Any

import pytest

from exporter.web import server as server_module
from exporter.web.config_file import WebConfigFile
from exporter.web.connection import ClientLimits
from exporter.web.messages import Request, Response, Route
from exporter.web.server import Server

PATIENCE = 20.0
"""Seconds after which a test that waits for an event has failed."""


class _Kept(io.BufferedReader):
    """What a connection sends; stays open when HTTPResponse closes it after one response."""

    def close(self) -> None:
        return


class Client:
    """One connection to a server."""

    def __init__(self, server: Server, *, address: str = "", context: ssl.SSLContext | None = None, **options: Any):
        host, port = (address or server.addresses[0]).split("//")[1].rsplit(":", 1)
        family = socket.AF_INET6 if "[" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if "receive_buffer" in options:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["receive_buffer"])
        if "source" in options:
            self.socket.bind((options["source"], 0))
        try:
            self.socket.connect((host.strip("[]"), int(port)))
            if context is not None:
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self._file = _Kept(socket.SocketIO(self.socket, "r"))

    def makefile(self, _mode: str) -> _Kept:
        return self._file

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self, method: str = "GET") -> HTTPResponse:
        """Read one response; its body is in ``content``."""
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]  # it asks for nothing but makefile
        response.begin()
        response.content = response.read()  # type: ignore[attr-defined]  # kept on the response for the test
        response.close()
        return response

    def request(self, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None) -> HTTPResponse:
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: test",
            *(f"{k}: {v}" for k, v in (headers or {}).items()),
        ]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return self.response(method)

    def wait_until_cut(self) -> None:
        """Read what comes until the server has closed the connection."""
        try:
            while self.socket.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass

    def wait_until_reset(self) -> None:
        """Wait, reading nothing, until the server has cut the connection."""
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        assert poll.poll(PATIENCE * 1000), "the server keeps the connection"


def body(response: HTTPResponse) -> bytes:
    content: bytes = response.content  # type: ignore[attr-defined]  # kept on the response for the test
    return content


def wait_for(condition: Callable[[], bool]) -> None:
    """Look at a condition until it holds."""
    end = time.monotonic() + PATIENCE
    never = select.poll()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        never.poll(5)


def notice_change(file: WebConfigFile) -> None:
    """Have a change of the web configuration noticed now: it counts when two looks see the same."""
    file.look()
    file.look()


def web_config_of(server: Server) -> WebConfigFile:
    assert server._site.web is not None
    return server._site.web


class _LoopErrors(logging.Handler):
    """Errors on the event loop that no caller got."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("unexpected error in the HTTP server"):
            self.found.append(self.format(record))


class Servers:
    """Starts servers and clients, and stops them all."""

    def __init__(self) -> None:
        self.running: list[Server] = []
        self.clients: list[Client] = []

    def start(self, routes: Mapping[str, Route] | None = None, **options: Any) -> Server:
        server = Server(routes or {"/": Route(hello)}, options.pop("listen", ["127.0.0.1:0"]), **options)
        server.bind()
        self.running.append(server)
        server.start()
        return server

    def client(self, server: Server, **options: Any) -> Client:
        client = Client(server, **options)
        self.clients.append(client)
        return client

    def stop(self) -> None:
        for client in self.clients:
            client.socket.close()
        for server in self.running:
            server.stop(0)


@pytest.fixture
def servers() -> Iterator[Servers]:
    errors = _LoopErrors()
    server_module.logger.addHandler(errors)
    made = Servers()
    yield made
    made.stop()
    server_module.logger.removeHandler(errors)
    assert not errors.found


def hello(_request: Request) -> Response:
    return Response(200, b"hello\n", "text/plain; charset=utf-8")


def sized(request: Request) -> Response:
    return Response(200, pattern(int(request.query["bytes"])), "text/plain; charset=utf-8")


def in_parts(request: Request) -> Response:
    """Return the same as ``sized`` in many parts, of which some are empty and one is large."""
    whole, parts, begin = pattern(int(request.query["bytes"])), [], 0
    for number in range(3000):
        end = begin + (number * 7 % 300 if number != 2500 else 500_000)
        parts.append(whole[begin:end])
        begin = end
    return Response(200, parts[0], "text/plain; charset=utf-8", more=(*parts[1:], whole[begin:]))


def pattern(size: int) -> bytes:
    """Return bytes in which a missing, doubled or displaced piece shows."""
    return (_BLOCK * (size // len(_BLOCK) + 1))[:size]


_BLOCK = b"".join(b"%07d\n" % number for number in range(9973))


PATIENT = ClientLimits(request_seconds=3600, idle_seconds=3600, response_seconds=3600)
"""With these a test that waits for a connection to be cut waits for another reason than time."""
