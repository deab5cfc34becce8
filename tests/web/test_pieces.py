"""Responses whose body is made while it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.web.messages import Request, Response, Route
from tests.web.conftest import PATIENT, Servers, body, hello, pattern, wait_for

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def in_pieces(*pieces: bytes) -> Route:
    return Route(lambda _request: Response(200, pieces[0], "text/plain", pieces=iter(pieces[1:])))


def test_all_pieces_come_in_order_and_the_connection_is_of_use_after_them(servers: Servers) -> None:
    whole = pattern(1_000_000)
    pieces = [whole[begin : begin + 70_001] for begin in range(0, len(whole), 70_001)]
    client = servers.client(servers.start({"/x": in_pieces(b"", *pieces[:3], b"", *pieces[3:]), "/": Route(hello)}))
    response = client.request("/x")
    assert response.headers["Transfer-Encoding"] == "chunked" and "Content-Length" not in response.headers
    assert body(response) == whole
    assert body(client.request("/")) == b"hello\n"


def test_a_client_of_http_1_0_gets_the_pieces_up_to_the_end_of_the_connection(servers: Servers) -> None:
    client = servers.client(servers.start({"/": in_pieces(b"one ", b"two")}))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    response = client.response()
    assert "Transfer-Encoding" not in response.headers
    assert body(response) == b"one two"


def test_head_makes_no_piece(servers: Servers) -> None:
    made: list[bytes] = []

    def noted(piece: bytes) -> bytes:
        made.append(piece)
        return piece

    route = Route(lambda _request: Response(200, b"one", "text/plain", pieces=map(noted, [b"two"])))
    client = servers.client(servers.start({"/x": route, "/": Route(hello)}))
    response = client.request("/x", "HEAD")
    assert (response.status, response.headers["Transfer-Encoding"], body(response)) == (200, "chunked", b"")
    assert client.request("/").status == 200
    assert made == []


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_piece_that_fails_cuts_the_connection_so_that_the_client_takes_no_part_for_the_whole(
    servers: Servers, version: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> Iterator[bytes]:
        yield b"two"
        raise RuntimeError("the reason")

    route = Route(lambda _request: Response(200, b"one", "text/plain", pieces=failing()))
    server = servers.start({"/": route})
    client = servers.client(server)
    client.send(b"GET / HTTP/%s\r\nHost: h\r\n\r\n" % version)
    client.wait_until_reset()
    wait_for(lambda: server.open_connections == 0)
    assert "a response was cut" in caplog.text and "the reason" in caplog.text


def test_no_piece_is_made_before_the_client_has_taken_the_one_before(servers: Servers) -> None:
    made = [0]

    def endless() -> Iterator[bytes]:
        while True:
            made[0] += 1
            yield b"x" * 1_000_000

    def route(_request: Request) -> Response:
        return Response(200, b"", "text/plain", pieces=endless())

    server = servers.start({"/": Route(route)}, limits=replace(PATIENT, response_seconds=0.5))
    reader = servers.client(server, receive_buffer=4096)
    reader.send(GET)
    assert reader.socket.recv(1)
    reader.wait_until_reset()
    assert made[0] < 10
    wait_for(lambda: server.open_connections == 0)


def test_while_a_piece_is_made_others_are_served_and_its_client_may_leave(servers: Servers) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(20)
        yield b"late"

    route = Route(lambda _request: Response(200, b"soon", "text/plain", pieces=slow()))
    server = servers.start({"/x": route, "/": Route(hello, threaded=True)}, limits=PATIENT)
    client, other = servers.client(server), servers.client(server)
    client.send(GET.replace(b"/ ", b"/x ", 1))
    assert begun.wait(20)
    assert other.request("/").status == 200
    client.socket.close()
    go_on.set()
    wait_for(lambda: server.open_connections == 1)
    assert other.request("/").status == 200
