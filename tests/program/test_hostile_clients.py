"""Hundreds of clients of the running program, at its default limits. Scrapes succeed, and resources are released."""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
import trustme

from exporter.demo.vendors import Vendors
from exporter.web.connection import ClientLimits
from tests.program.running import PATIENT, Program, running, until, write_config
from tests.program.test_reliability import navigator

SLOW, IDLE = 300, 200
BEGUN = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HANDSHAKE_BEGUN = b"\x16\x03\x01\x02\x00\x01"
CLOSED = select.POLLRDHUP | select.POLLHUP | select.POLLERR
MARGIN = 12_000_000
"""Bytes that may stay in use of the 3 MB that 500 clients took, or 27 MB with TLS."""
COST = 12
"""A usual cost for bcrypt. A comparison takes a fifth of a second of CPU time."""


@dataclass
class Door:
    """The program as its clients reach it."""

    program: Program
    context: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.program.url.rpartition(":")[2])

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENT)
        return self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain

    def is_ready(self) -> bool:
        return self.scrape(path="/-/ready") == 200

    def scrape(self, headers: dict[str, str] | None = None, path: str = "/metrics") -> int:
        """Return the status of a scrape over a connection of its own."""
        client = (
            http.client.HTTPSConnection("localhost", self.port, timeout=PATIENT, context=self.context)
            if self.context
            else http.client.HTTPConnection("localhost", self.port, timeout=PATIENT)
        )
        try:
            client.request("GET", path, headers=self.headers if headers is None else headers)
            response = client.getresponse()
            body = response.read()
            assert response.status != 200 or path != "/metrics" or b"video_api_up{" in body
            return response.status
        finally:
            client.close()

    def slow(self, number: int) -> socket.socket:
        """Send the beginning of a request, or under TLS in every second client of a handshake."""
        if self.context and number % 2:
            client = socket.create_connection(("127.0.0.1", self.port), PATIENT)
            client.sendall(HANDSHAKE_BEGUN)
        else:
            client = self.connect()
            client.sendall(BEGUN)
        return client

    def idle(self) -> socket.socket:
        """Get one response and send no other request."""
        client = self.connect()
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        client.sendall(f"HEAD /-/healthy HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        return client

    @property
    def holds(self) -> tuple[int, int]:
        """Return how many descriptors and threads the program has."""
        proc = Path(f"/proc/{self.program.process.pid}")
        return len(os.listdir(proc / "fd")), len(os.listdir(proc / "task"))

    @property
    def resident(self) -> int:
        """Return the program's memory in bytes."""
        pages = Path(f"/proc/{self.program.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def processor(self) -> float:
        """Return the seconds that the program has spent on a processor."""
        fields = Path(f"/proc/{self.program.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_ones(clients: list[socket.socket]) -> int:
    """Return how many connections the program has not closed."""
    poll = select.poll()
    for client in clients:
        poll.register(client, CLOSED)
    return len(clients) - len(poll.poll(0))


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    with Vendors() as running:
        yield running


@pytest.fixture(scope="module")
def doors(vendors: Vendors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    """One program without a web configuration, and one with TLS and a password."""
    directory = tmp_path_factory.mktemp("doors")
    config = write_config(directory / "config.yaml", [navigator(vendors)])
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (directory / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    password = secrets.token_hex(8)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()
    (directory / "web.yaml").write_text(
        f"tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  prometheus: {hashed}\n"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    given = base64.b64encode(f"prometheus:{password}".encode()).decode()
    with ExitStack() as stack:
        plain = stack.enter_context(running(f"--config.file={config}"))
        guarded = stack.enter_context(running(f"--config.file={config}", f"--web.config.file={directory / 'web.yaml'}"))
        found = {"plain": Door(plain), "TLS and password": Door(guarded, context, {"Authorization": f"Basic {given}"})}
        for door in found.values():
            until(door.is_ready, "ready")
        yield found


@pytest.fixture(params=["plain", "TLS and password"])
def door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    return doors[request.param]


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    yield clients
    for client in clients:
        client.close()


def test_scrapes_succeed_beside_300_slow_and_200_idle_clients_whose_memory_is_freed(
    door: Door, crowd: list[socket.socket]
) -> None:
    before, resident = door.holds, door.resident
    for _ in range(3):
        crowd += [door.idle() for _ in range(IDLE)]
        began = time.monotonic()
        crowd += [door.slow(number) for number in range(SLOW)]
        statuses = [door.scrape() for _ in range(5)]
        still_open = open_ones(crowd)
        # On a machine so slow that their time is up, the first ones may be gone.
        assert still_open == SLOW + IDLE or time.monotonic() - began > ClientLimits().request_seconds
        assert statuses == [200] * 5
        for client in crowd:
            client.close()
        crowd.clear()
        until(lambda: door.holds[0] <= before[0], f"{before[0]} descriptors again")
        assert door.holds[1] <= before[1] + 1, "threads; the scheduler's first heartbeat brings one"
        until(lambda: door.resident < resident + MARGIN, f"{resident} bytes of memory again")


def test_slow_clients_are_disconnected_and_idle_clients_are_not(
    doors: dict[str, Door], crowd: list[socket.socket]
) -> None:
    slow, idle = [], []
    for door in doors.values():
        idle += [door.idle() for _ in range(10)]
        slow += [door.slow(number) for number in range(50)]
    crowd += idle + slow
    until(lambda: open_ones(slow) == 0, "the slow ones are gone")
    assert open_ones(idle) == len(idle)


def test_more_clients_than_the_limit_close_the_oldest_connections(
    doors: dict[str, Door], crowd: list[socket.socket]
) -> None:
    door = doors["plain"]
    before = door.holds[0]
    crowd += [door.slow(0) for _ in range(600)]
    assert door.scrape() == 200
    assert door.holds[0] <= before + 512
    assert open_ones(crowd[:50]) == 0
    assert open_ones(crowd[-50:]) == 50


class TestPassword:
    def test_a_scrape_without_the_password_is_refused(self, doors: dict[str, Door]) -> None:
        door = doors["TLS and password"]
        wrong = base64.b64encode(b"prometheus:" + secrets.token_hex(8).encode()).decode()
        assert door.scrape(headers={}) == 401
        assert door.scrape(headers={"Authorization": f"Basic {wrong}"}) == 401

    def test_later_scrapes_do_not_run_bcrypt(self, doors: dict[str, Door]) -> None:
        door = doors["TLS and password"]
        began = time.process_time()
        bcrypt.checkpw(b"", bcrypt.hashpw(b"", bcrypt.gensalt(COST)))
        two_comparisons = time.process_time() - began
        before = door.processor
        for _ in range(20):
            assert door.scrape() == 200
        assert door.processor - before < 3 * two_comparisons, "20 scrapes"
