"""Passwords and the rate limit. Which requests are let in, their cost, and what guesses can do."""

from __future__ import annotations

import base64
import gc
import secrets
import select
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from exporter.web import auth as auth_module
from exporter.web.auth import Authenticator
from exporter.web.fair_queue import FairQueue
from exporter.web.messages import Response, Route
from exporter.web.rate_limit import RateLimit, TokenBucket

from .conftest import PATIENT, Client, Servers, body, hello, notice_change, wait_for, web_config_of

PASSWORD = secrets.token_hex(8)
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


RIGHT = basic("alice", PASSWORD)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n")
    return path


class Comparisons:
    """Counts bcrypt's work, and holds it up while ``free`` is not set."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.passwords: list[bytes] = []
        self.free = threading.Event()
        self.free.set()
        self.at_once = 0
        self.most_at_once = 0
        self.queued = 0
        self._check = bcrypt.checkpw
        self._put: Callable[..., object] = FairQueue.put

    def put(self, *item: object) -> object:
        self.queued += 1
        return self._put(*item)

    def wait_until_queued(self, number: int) -> None:
        wait_for(lambda: self.queued == number)

    def checkpw(self, password: bytes, stored: bytes) -> bool:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.hashes.append(stored)
        self.passwords.append(password)
        assert self.free.wait(20)
        self.at_once -= 1
        return self._check(password, stored)


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Iterator[Comparisons]:
    counter = Comparisons()
    monkeypatch.setattr(bcrypt, "checkpw", counter.checkpw)
    monkeypatch.setattr(FairQueue, "put", lambda *item: counter.put(*item))  # noqa: PLW0108  it has to become a method
    yield counter
    counter.free.set()


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/reload", "/missing"])
def test_every_path_requires_a_password(servers: Servers, users: Path, path: str) -> None:
    routes = {"/": Route(hello), "/metrics": Route(hello), "/-/healthy": Route(hello), "/-/reload": Route(hello)}
    response = servers.client(servers.start(routes, web_config=users)).request(path)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert body(response) == b"401 Unauthorized\n"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_health_address_requires_no_password(servers: Servers, users: Path) -> None:
    server = servers.start(web_config=users, health_routes={"/-/healthy": Route(hello)}, health_address="127.0.0.1:0")
    assert servers.client(server, address=server.health_addresses[0]).request("/-/healthy").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (RIGHT, 200),
        (basic("bob", PASSWORD), 200),
        ({"Authorization": RIGHT["Authorization"].replace("Basic", "bAsIc")}, 200),
        (basic("alice", PASSWORD + "x"), 401),
        (basic("alice", ""), 401),
        (basic("Alice", PASSWORD), 401),
        (basic("", PASSWORD), 401),
        (basic("mallory", PASSWORD), 401),
        (basic("alice", PASSWORD + "\0"), 401),
        ({}, 401),
        ({"Authorization": "Bearer " + PASSWORD}, 401),
        ({"Authorization": "Basic"}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"alice").decode()}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()}, 401),
    ],
)
def test_only_a_known_user_with_the_right_password_is_let_in(
    servers: Servers, users: Path, headers: dict[str, str], status: int
) -> None:
    assert servers.client(servers.start(web_config=users)).request(headers=headers).status == status


def test_a_second_authorization_header_is_not_used(servers: Servers, users: Path) -> None:
    client = servers.client(servers.start(web_config=users))
    wrong = basic("alice", "no")["Authorization"]
    client.send(
        f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {wrong}\r\n"
        f"Authorization: {RIGHT['Authorization']}\r\n\r\n".encode()
    )
    assert client.response().status == 401


def test_a_password_is_compared_up_to_the_72_bytes_that_bcrypt_reads(servers: Servers, tmp_path: Path) -> None:
    long = secrets.token_hex(36)
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{a: '{bcrypt.hashpw(long.encode(), bcrypt.gensalt(4)).decode()}'}}\n")
    client = servers.client(servers.start(web_config=path))
    assert client.request(headers=basic("a", long + "more")).status == 200
    assert client.request(headers=basic("a", long[:-1])).status == 401


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_bcrypt_hashes_of_every_version_are_accepted(servers: Servers, tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {prefix}{HASH[4:]}\n")
    assert servers.client(servers.start(web_config=path)).request(headers=RIGHT).status == 200


def test_only_the_first_scrape_of_a_user_runs_bcrypt(servers: Servers, users: Path, comparisons: Comparisons) -> None:
    server = servers.start(web_config=users)
    for _ in range(3):
        assert servers.client(server).request(headers=RIGHT).status == 200
    assert len(comparisons.hashes) == 1
    servers.client(server).request(headers=basic("bob", PASSWORD))
    assert len(comparisons.hashes) == 2, "what is known of one user says nothing of another"


def test_the_old_password_is_refused_when_the_hash_changed(servers: Servers, users: Path) -> None:
    server = servers.start(web_config=users)
    client = servers.client(server)
    assert client.request(headers=RIGHT).status == 200
    other = secrets.token_hex(8)
    users.write_text(f"basic_auth_users:\n  alice: {bcrypt.hashpw(other.encode(), bcrypt.gensalt(4)).decode()}\n")
    notice_change(web_config_of(server))
    assert client.request(headers=RIGHT).status == 401
    assert client.request(headers=basic("alice", other)).status == 200
    users.write_text("{}\n")
    notice_change(web_config_of(server))
    assert client.request().status == 200


def test_a_removed_user_is_refused_even_if_another_has_the_same_hash(servers: Servers, users: Path) -> None:
    server = servers.start(web_config=users)
    client = servers.client(server)
    assert client.request(headers=basic("bob", PASSWORD)).status == 200
    users.write_text(f"basic_auth_users:\n  alice: {HASH}\n")
    notice_change(web_config_of(server))
    assert client.request(headers=basic("bob", PASSWORD)).status == 401


def test_a_login_of_an_unknown_user_costs_one_comparison_too(
    servers: Servers, users: Path, comparisons: Comparisons
) -> None:
    client = servers.client(servers.start(web_config=users))
    for user in ("alice", "mallory", "mallory", ""):
        assert client.request(headers=basic(user, "wrong")).status == 401
    assert comparisons.hashes == [HASH.encode()] * 4


def test_an_unknown_user_with_the_password_of_another_is_refused(
    servers: Servers, users: Path, comparisons: Comparisons
) -> None:
    client = servers.client(servers.start(web_config=users))
    for _ in range(2):
        assert client.request(headers=basic("mallory", PASSWORD)).status == 401
    assert client.request(headers=RIGHT).status == 200
    assert client.request(headers=basic("mallory", PASSWORD)).status == 401
    assert len(comparisons.hashes) == 4, "nor does it ever become cheap"


def test_an_unknown_name_is_always_compared_with_the_same_hash() -> None:
    hashes = [bcrypt.hashpw(b"x", bcrypt.gensalt(4, b"2b")) for _ in range(4)]
    users = {f"user{n}": each for n, each in enumerate(hashes)}
    authenticator = Authenticator()
    names = [f"stranger{n}" for n in range(64)]
    first = {name: authenticator.hash_to_compare(users, name) for name in names}
    assert first == {name: authenticator.hash_to_compare(users, name) for name in names}
    assert len(set(first.values())) == 4
    authenticator.close()


def test_guesses_delay_no_known_scraper_and_use_one_thread(
    servers: Servers, users: Path, comparisons: Comparisons
) -> None:
    server = servers.start(web_config=users, limits=PATIENT)
    scraper = servers.client(server)
    assert scraper.request(headers=RIGHT).status == 200
    comparisons.free.clear()
    guessers = [servers.client(server) for _ in range(30)]
    for guesser in guessers:
        send(guesser, "alice", secrets.token_hex(4))
    comparisons.wait_until_queued(31)
    assert scraper.request(headers=RIGHT).status == 200
    comparisons.free.set()
    assert [guesser.response().status for guesser in guessers] == [401] * 30
    assert comparisons.most_at_once == 1


def send(client: Client, user: str, password: str) -> None:
    credentials = basic(user, password)["Authorization"]
    client.send(f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {credentials}\r\n\r\n".encode())


@pytest.mark.parametrize("own_address", [True, False])
def test_guesses_delay_the_right_user_by_a_bounded_number_of_comparisons(
    servers: Servers, users: Path, comparisons: Comparisons, own_address: bool
) -> None:
    server = servers.start(web_config=users, limits=PATIENT)
    comparisons.free.clear()
    for number in range(20):
        send(servers.client(server), "alice", secrets.token_hex(4))
        send(servers.client(server), f"name{number}", secrets.token_hex(4))
    comparisons.wait_until_queued(40)
    right = servers.client(server, source="127.0.0.1" if own_address else "127.0.0.2")
    send(right, "alice", PASSWORD)
    comparisons.wait_until_queued(41)
    comparisons.free.set()
    assert right.response().status == 200
    # One comparison was under way. The other 39 guesses waited, at the user's own address or at one other address.
    assert comparisons.passwords.index(PASSWORD.encode()) <= (4 * 41 if own_address else 4 * 2)


@pytest.mark.parametrize("leave", ["close", "close after more data", "reset", "stop sending"])
def test_the_login_of_a_client_that_hangs_up_is_not_compared(
    servers: Servers, users: Path, comparisons: Comparisons, leave: str
) -> None:
    server = servers.start(web_config=users, limits=PATIENT)
    comparisons.free.clear()
    under_way = servers.client(server)
    send(under_way, "alice", "under way")
    wait_for(lambda: comparisons.passwords == [b"under way"])
    leaving = [servers.client(server) for _ in range(20)]
    for client in leaving:
        send(client, "alice", "left")
    comparisons.wait_until_queued(21)
    for client in leaving:
        if leave == "close after more data":
            client.send(b"GET / HTTP/1.1\r\n" * 1000)
        elif leave == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif leave == "stop sending":
            client.socket.shutdown(socket.SHUT_WR)
            continue
        client.socket.close()
    wait_for(lambda: server.open_connections == 1)
    comparisons.free.set()
    assert under_way.response().status == 401
    assert servers.client(server).request(headers=RIGHT).status == 200
    assert comparisons.passwords == [b"under way", PASSWORD.encode()]


def test_passwords_are_compared_without_epoll(servers: Servers, users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.PollSelector)
    assert servers.client(servers.start(web_config=users)).request(headers=RIGHT).status == 200


def test_the_login_of_a_client_that_was_disconnected_is_not_compared(
    servers: Servers, users: Path, comparisons: Comparisons
) -> None:
    server = servers.start(web_config=users, limits=replace(PATIENT, connections=3))
    comparisons.free.clear()
    clients = []
    for number in range(5):
        clients.append(servers.client(server))
        send(clients[-1], "alice", f"guess{number}")
        comparisons.wait_until_queued(number + 1)
    clients[1].wait_until_cut()
    comparisons.free.set()
    assert [client.response().status for client in clients[2:]] == [401] * 3
    # The first comparison was under way when its client was cut.
    assert sorted(comparisons.passwords) == [b"guess0", b"guess2", b"guess3", b"guess4"]


def test_clients_that_hang_up_cannot_lock_the_right_user_out(
    servers: Servers, users: Path, comparisons: Comparisons
) -> None:
    server = servers.start(web_config=users, limits=PATIENT)
    comparisons.free.clear()
    right = servers.client(server)
    for number in range(100):
        leaving = servers.client(server)
        send(leaving, "alice", "guess")
        comparisons.wait_until_queued(number + 1)
        leaving.socket.close()
    send(right, "alice", PASSWORD)
    comparisons.wait_until_queued(101)
    wait_for(lambda: server.open_connections == 1)
    comparisons.free.set()
    assert right.response().status == 200
    assert comparisons.passwords == [b"guess", PASSWORD.encode()]


def test_one_comparison_admits_all_clients_that_wait_with_the_same_password(
    servers: Servers, users: Path, comparisons: Comparisons
) -> None:
    server = servers.start(web_config=users)
    comparisons.free.clear()
    clients = [servers.client(server) for _ in range(5)]
    for client in clients:
        send(client, "alice", PASSWORD)
    comparisons.wait_until_queued(5)
    comparisons.free.set()
    assert [client.response().status for client in clients] == [200] * 5
    assert len(comparisons.hashes) == 1


def test_a_hash_that_bcrypt_cannot_read_refuses_every_login(
    servers: Servers, users: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_password: bytes, _stored: bytes) -> bool:
        raise ValueError("Invalid salt")

    monkeypatch.setattr(bcrypt, "checkpw", fail)
    assert servers.client(servers.start(web_config=users)).request(headers=RIGHT).status == 401
    assert "Invalid salt" in caplog.text


def test_a_client_that_disconnects_during_its_comparison_disturbs_no_other(
    servers: Servers, users: Path, comparisons: Comparisons, caplog: pytest.LogCaptureFixture
) -> None:
    server = servers.start(web_config=users)
    comparisons.free.clear()
    leaving, staying = servers.client(server), servers.client(server)
    leaving.send(f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {RIGHT['Authorization']}\r\n\r\n".encode())
    leaving.socket.close()
    comparisons.free.set()
    assert staying.request(headers=RIGHT).status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_no_password_stays_in_memory_as_text(servers: Servers, users: Path) -> None:
    server = servers.start(web_config=users)
    assert servers.client(server).request(headers=RIGHT).status == 200
    assert servers.client(server).request().status == 401
    gc.collect()
    (authenticator,) = [each for each in gc.get_objects() if isinstance(each, Authenticator) and each.remembered]
    for proof in authenticator.remembered:
        assert PASSWORD.encode() not in proof
        assert len(proof) == 32


def test_the_number_of_remembered_logins_is_bounded() -> None:
    authenticator = Authenticator()
    for number in range(auth_module.REMEMBERED * 3):
        authenticator.remember(number.to_bytes(4, "big"))
    assert len(authenticator.remembered) == auth_module.REMEMBERED
    assert (auth_module.REMEMBERED * 3 - 1).to_bytes(4, "big") in authenticator.remembered
    authenticator.close()


def test_configured_headers_are_on_every_response_and_replace_ours(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(
        "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n"
        "    Strict-Transport-Security: max-age=60\n    X-XSS-Protection: ''\n"
    )
    server = servers.start(web_config=path)
    for asked in ("/", "/missing"):
        headers = servers.client(server).request(asked).headers
        assert headers.get_all("X-Frame-Options") == ["sameorigin"]
        assert headers.get_all("Strict-Transport-Security") == ["max-age=60"]
        assert "X-XSS-Protection" not in headers
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_that_sets_a_header_itself_keeps_it_over_the_configured_one(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {Content-Security-Policy: default-src *}}\n")
    own = Route(lambda _request: Response(200, b"", "text/html", (("content-security-policy", "default-src x"),)))
    client = servers.client(servers.start({"/own": own, "/": Route(hello)}, web_config=path))
    assert client.request("/own").headers.get_all("Content-Security-Policy") == ["default-src x"]
    assert client.request("/").headers.get_all("Content-Security-Policy") == ["default-src *"]


def test_requests_over_the_rate_are_429_on_every_path_but_health(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("rate_limit: {interval: 24h, burst: 3}\n")
    server = servers.start(web_config=path, health_routes={"/h": Route(hello)}, health_address="127.0.0.1:0")
    client = servers.client(server)
    assert [client.request("/x").status for _ in range(5)] == [404, 404, 404, 429, 429]
    health = servers.client(server, address=server.health_addresses[0])
    assert [health.request("/h").status for _ in range(5)] == [200] * 5


def test_the_bucket_fills_one_token_each_interval_up_to_the_burst() -> None:
    now = [100.0]
    bucket = TokenBucket(clock=lambda: now[0])
    limit = RateLimit(interval=2.0, burst=3)

    def admitted() -> int:
        return sum(bucket.take(limit) for _ in range(10))

    counts = [admitted()]
    for wait in (1.9, 0.1, 4.0, 1000.0):
        now[0] += wait
        counts.append(admitted())
    assert counts == [3, 0, 1, 2, 3]
