"""Slow and hostile clients, with limits of parts of a second."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.runtime.throttle import ThrottledLog
from exporter.web import connection as connection_module
from exporter.web.config_file import WebConfigFile
from exporter.web.connection import ClientLimits
from exporter.web.messages import Request, Response, Route
from exporter.web.outgoing import PIECE_BYTES
from exporter.web.server import Server

from .conftest import PATIENT, Client, Servers, body, hello, in_parts, pattern, sized, wait_for

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: h\r\n", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"],
)
def test_a_request_that_does_not_end_is_disconnected(servers: Servers, sent: bytes) -> None:
    client = servers.client(servers.start(limits=replace(PATIENT, request_seconds=0.3)))
    client.send(sent)
    client.wait_until_cut()


def test_the_deadline_of_a_request_runs_from_its_first_byte(servers: Servers) -> None:
    client = servers.client(servers.start(limits=replace(PATIENT, request_seconds=0.3)))
    assert client.request().status == 200
    poll = select.poll()
    poll.register(client.socket, select.POLLIN | select.POLLRDHUP)
    drops = iter(b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000)
    try:
        while not poll.poll(10):
            client.send(bytes([next(drops)]))
    except ConnectionError:
        pass
    client.wait_until_cut()


def test_an_idle_connection_is_closed_a_fixed_time_after_its_last_response(servers: Servers) -> None:
    client = servers.client(servers.start(limits=replace(PATIENT, idle_seconds=0.8)))
    poll = select.poll()
    poll.register(client.socket, select.POLLIN | select.POLLRDHUP)
    for _ in range(4):
        assert client.request().status == 200
        assert not poll.poll(250), "closed before its time"
    client.wait_until_cut()


def test_a_client_that_stops_reading_is_disconnected_and_costs_no_copy_of_the_response(servers: Servers) -> None:
    whole = b"x" * 30_000_000
    route = Route(lambda _request: Response(200, whole, "text/plain"))
    server = servers.start({"/": route}, limits=replace(PATIENT, response_seconds=0.5))
    before = _resident()
    readers = [servers.client(server, receive_buffer=4096) for _ in range(20)]
    for reader in readers:
        reader.send(GET)
    for reader in readers:
        assert reader.socket.recv(1)
    grown = _resident() - before
    assert grown < 20 * PIECE_BYTES + 15_000_000, f"{grown} bytes for readers of one response"
    for reader in readers:
        reader.wait_until_reset()
    wait_for(lambda: server.open_connections == 0)


def test_the_deadline_covers_a_response_that_is_only_in_the_kernel(servers: Servers) -> None:
    server = servers.start({"/x": Route(sized)}, limits=replace(PATIENT, response_seconds=0.5))
    reader = servers.client(server, receive_buffer=4096)
    reader.send(b"GET /x?bytes=200000 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert reader.socket.recv(1)
    wait_for(lambda: server.open_connections == 0)


def test_a_client_that_disconnects_during_its_response_causes_no_warning(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def large(_request: Request) -> Response:
        begun.set()
        assert go_on.wait(20)
        return Response(200, b"x" * 30_000_000, "text/plain")

    server = servers.start({"/": Route(large)}, limits=PATIENT)
    client = servers.client(server)
    client.send(GET)
    assert begun.wait(20)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    go_on.set()
    wait_for(lambda: server.open_connections == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("handler", [sized, in_parts])
def test_a_client_that_reads_slowly_gets_the_whole_response(
    servers: Servers, handler: Callable[[Request], Response]
) -> None:
    server = servers.start({"/x": Route(handler)})
    for size in (20_000_000, 700_001, 65_537):
        reader = servers.client(server, receive_buffer=4096)
        reader.send(b"GET /x?bytes=%d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % size)
        assert body(reader.response()) == pattern(size)
        assert reader.socket.recv(1) == b""


@pytest.mark.parametrize("handler", [sized, in_parts])
def test_a_client_that_reads_fast_gets_the_whole_response(
    servers: Servers, handler: Callable[[Request], Response]
) -> None:
    client = servers.client(servers.start({"/x": Route(handler)}))
    assert body(client.request("/x?bytes=60000000")) == pattern(60_000_000)


def test_one_client_too_many_closes_the_connection_that_is_idle_longest(servers: Servers) -> None:
    server = servers.start(limits=replace(PATIENT, connections=3))
    first, second, third = (servers.client(server) for _ in range(3))
    for client in (first, second, third, first):
        assert client.request().status == 200
    fourth = servers.client(server)
    assert fourth.request().status == 200
    second.wait_until_cut()
    assert [client.request().status for client in (first, third, fourth)] == [200, 200, 200]
    assert server.open_connections == 3


def test_one_client_too_many_closes_a_connection_of_the_address_that_has_most(servers: Servers) -> None:
    server = servers.start(limits=replace(PATIENT, connections=4))
    scraper = servers.client(server, source="127.0.0.2")
    assert scraper.request().status == 200
    crowd = [servers.client(server) for _ in range(9)]
    assert crowd[-1].request().status == 200
    crowd[0].wait_until_cut()
    assert scraper.request().status == 200


def test_a_connection_whose_response_is_pending_is_not_closed_for_a_new_client(servers: Servers) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        begun.set()
        assert go_on.wait(20)
        return hello(request)

    routes = {"/": Route(hello), "/slow": Route(slow, threaded=True)}
    server = servers.start(routes, limits=replace(PATIENT, connections=2))
    busy = servers.client(server)
    busy.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    assert begun.wait(20)
    idle = servers.client(server)
    assert idle.request().status == 200
    assert servers.client(server).request().status == 200
    idle.wait_until_cut()
    go_on.set()
    assert busy.response().status == 200


def test_clients_that_stop_reading_cannot_keep_a_new_client_out(servers: Servers) -> None:
    server = servers.start({"/": Route(hello), "/x": Route(sized)}, limits=replace(PATIENT, connections=4))
    readers = [servers.client(server, receive_buffer=4096) for _ in range(4)]
    for reader in readers:
        reader.send(b"GET /x?bytes=30000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert reader.socket.recv(1)
    assert servers.client(server).request().status == 200
    readers[0].wait_until_cut()


@pytest.mark.parametrize("pieces", [1, 50])
def test_headers_over_the_limit_are_431(servers: Servers, pieces: int) -> None:
    limits = replace(PATIENT, header_bytes=4096)
    server = servers.start(limits=limits)
    client = servers.client(server)
    head = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 90) for n in range(50)) + b"\r\n"
    step = len(head) // pieces + 1
    try:
        for start in range(0, len(head), step):
            client.send(head[start : start + step])
    except ConnectionError:
        pass
    assert client.response().status == 431
    client.wait_until_cut()
    assert servers.client(server).request(headers={"X": "y" * 3900}).status == 200


def test_headers_without_an_end_are_431(servers: Servers) -> None:
    client = servers.client(servers.start(limits=replace(PATIENT, header_bytes=4096)))
    client.send(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
    assert client.response().status == 431
    client.wait_until_cut()


@pytest.mark.parametrize("framing", [b"Content-Length: 200000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_over_the_limit_or_in_too_many_pieces_is_413_and_the_client_can_read_it(
    servers: Servers, framing: bytes
) -> None:
    client = servers.client(servers.start({"/": Route(hello, methods=("POST",))}, limits=PATIENT))
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\n" + framing)
    chunk = b"x" * 200_000 if b"Length" in framing else b"1\r\na\r\n" * 10_000
    client.send(chunk)
    response = client.response()
    assert (response.status, response.headers["Connection"]) == (413, "close")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.socket.recv(1) == b"", "closed in order, not reset"


def test_a_client_that_keeps_sending_after_a_refusal_is_disconnected(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.2)
    client = servers.client(servers.start(limits=PATIENT))
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n")
    with pytest.raises(ConnectionError):
        _send_for_ever(client)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n",
    ],
)
def test_a_request_that_is_not_http_1_is_refused_and_its_connection_closed(servers: Servers, sent: bytes) -> None:
    client = servers.client(servers.start(limits=PATIENT))
    client.send(sent)
    assert 400 <= client.response().status < 600
    client.wait_until_cut()


def test_a_request_to_upgrade_the_protocol_is_ignored(servers: Servers) -> None:
    client = servers.client(servers.start(limits=PATIENT))
    for upgrade in ("websocket", "h2c"):
        assert client.request(headers={"Connection": "upgrade", "Upgrade": upgrade}).status == 200


def test_a_flood_of_pipelined_requests_does_not_delay_another_client(servers: Servers) -> None:
    served = []

    def count(request: Request) -> Response:
        served.append(request.path)
        return hello(request)

    server = servers.start({"/": Route(count), "/other": Route(count)}, limits=PATIENT)
    flood, other = servers.client(server), servers.client(server)
    flood.send(GET * 5000)
    assert other.request("/other").status == 200
    assert served.index("/other") < 4000


def test_many_clients_that_connect_at_once_use_no_more_descriptors_than_the_connection_limit(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = threading.Event(), threading.Event()
    taken: list[socket.socket] = []
    still_open: list[int] = []
    take = Server._take

    def count(server: Server, sock: socket.socket, *rest: Any) -> None:
        taken.append(sock)
        still_open.append(sum(each.fileno() != -1 for each in taken))
        take(server, sock, *rest)

    def hold(request: Request) -> Response:
        held.set()
        assert go_on.wait(20)
        return hello(request)

    monkeypatch.setattr(Server, "_take", count)
    server = servers.start({"/": Route(hold)}, limits=replace(PATIENT, connections=4))
    servers.client(server).send(GET)
    assert held.wait(20)
    for _ in range(200):
        servers.client(server)
    go_on.set()
    wait_for(lambda: len(taken) == 201)
    assert max(still_open) < 20


class _Transport:
    """Remembers whether reading was paused."""

    def __init__(self) -> None:
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, _name: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        pass


@pytest.mark.parametrize("at_once", [True, False])
def test_no_data_is_read_while_requests_wait_for_their_responses(at_once: bool) -> None:
    loop = asyncio.new_event_loop()
    waiting: list[Callable[[Response], None]] = []

    def respond(_request: Request, reply: Callable[[Response], None]) -> None:
        waiting.append(reply)
        if at_once:
            reply_all()

    def reply_all() -> None:
        while waiting:
            waiting.pop()(Response(200, b"", "text/plain"))

    connection = connection_module.Connection(
        loop,
        PATIENT,
        respond,
        lambda _tls: True,
        lambda _connection: None,
        ThrottledLog(logging.getLogger()),
        lambda _descriptor, _hung_up: lambda: None,
    )
    transport = _Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]  # it has what is used
    connection.data_received(GET * 40)
    reading = [transport.reading]
    for _ in range(50):
        reply_all()
        loop.run_until_complete(asyncio.sleep(0))
        reading.append(transport.reading)
    loop.close()
    assert not any(reading[:10])
    assert reading[-1]


def test_pipelined_requests_of_a_client_that_does_not_read_stay_in_the_kernel(servers: Servers) -> None:
    served = []

    def count(request: Request) -> Response:
        served.append(1)
        return sized(request)

    server = servers.start({"/x": Route(count)}, limits=PATIENT)
    client = servers.client(server, receive_buffer=4096)
    client.socket.setblocking(False)
    sent = 0
    poll = select.poll()
    poll.register(client.socket, select.POLLOUT)
    while poll.poll(200):
        sent += client.socket.send(b"GET /x?bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n" * 1000)
    assert sent < 30_000_000
    assert len(served) < 30


def test_descriptors_are_released_when_hostile_clients_are_gone(servers: Servers) -> None:
    server = servers.start({"/": Route(hello), "/x": Route(sized)}, limits=replace(PATIENT, connections=600))
    assert servers.client(server).request().status == 200
    descriptors = _descriptors()
    crowd = [servers.client(server) for _ in range(60)]
    for number, client in enumerate(crowd):
        if number % 3 == 0:
            client.send(b"GET / HTTP/1.1\r\nX-")
        elif number % 3 == 1:
            assert client.request().status == 200
        else:
            client.send(b"GET /x?bytes=9000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert servers.client(server).request().status == 200
    for client in crowd:
        client.socket.close()
    wait_for(lambda: server.open_connections == 2)
    wait_for(lambda: _descriptors() == descriptors + 2)


def test_a_process_out_of_descriptors_closes_an_idle_client_for_the_scraper(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = servers.start(limits=PATIENT)
    idle = servers.client(server)
    assert idle.request().status == 200
    failures = iter(range(3))
    accept = socket.socket._accept  # type: ignore[attr-defined]  # what accept() itself calls

    def out_of_descriptors(listener: socket.socket) -> object:
        if next(failures, None) is not None:
            raise OSError(24, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "_accept", out_of_descriptors)
    scraper = servers.client(server)
    assert scraper.request().status == 200
    idle.wait_until_cut()
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "file descriptors are in use; raise LimitNOFILE= of the systemd unit, or `ulimit -n`" in line


def test_an_exception_for_one_client_does_not_affect_others(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "web.yml").write_text("{}")
    server = servers.start(web_config=tmp_path / "web.yml", limits=PATIENT)
    with monkeypatch.context() as patch:
        patch.setattr(WebConfigFile, "current", lambda _self: 1 / 0)
        servers.client(server).wait_until_cut()
    assert "ZeroDivisionError" in caplog.text
    assert servers.client(server).request().status == 200


def test_the_limits_let_prometheus_keep_its_connection() -> None:
    assert ClientLimits().idle_seconds > 300, (
        "Prometheus closes an idle connection after five minutes: it is to be the first"
    )


def _send_for_ever(client: Client) -> None:
    while True:
        client.send(b"x" * 65536)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
