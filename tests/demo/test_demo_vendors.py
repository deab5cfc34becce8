"""The simulated vendors. Keys, responses, the request log and the stop."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
import trustme
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.demo import apis, faults
from exporter.demo.vendors import KeyLimit, Vendors, videodb_account, vidnavigator_account

HEADERS = {"videodb": "x-access-token", "vidnavigator": "X-API-Key"}


@contextmanager
def connected(base_url: str, context: ssl.SSLContext | None = None) -> Iterator[http.client.HTTPConnection]:
    url = urlsplit(base_url)
    if context:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(url.netloc, context=context, timeout=10)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=10)
    with closing(connection):
        yield connection


def request(vendors: Vendors, provider: str, path: str, key: str) -> tuple[int, dict[str, object], dict[str, str]]:
    base = vendors.videodb_url if provider == "videodb" else vendors.vidnavigator_url
    with connected(base) as connection:
        connection.request("GET", urlsplit(base).path + path, headers={HEADERS[provider]: key})
        response = connection.getresponse()
        return response.status, json.load(response), dict(response.getheaders())


def test_each_vendor_responds_to_its_own_key_in_its_own_envelope(vendors: Vendors) -> None:
    videodb, vidnavigator = vendors.add(videodb_account()), vendors.add(vidnavigator_account())
    assert request(vendors, "videodb", "/billing/usage", videodb)[:2] == (
        200,
        {"success": True, "data": vendors.accounts[videodb].responses["/billing/usage"]},
    )
    assert request(vendors, "vidnavigator", "/usage", vidnavigator)[:2] == (
        200,
        {"status": "success", "data": vendors.accounts[vidnavigator].responses["/usage"]},
    )


def test_a_response_can_be_changed_between_two_requests(vendors: Vendors) -> None:
    key = vendors.add(vidnavigator_account(purchased=50))
    vendors.accounts[key].responses["/usage"]["credits"]["purchased"] = 40
    _, response, _ = request(vendors, "vidnavigator", "/usage", key)
    assert response["data"]["credits"]["purchased"] == 40  # type: ignore[index]  # JSON of a known shape


@pytest.mark.parametrize(
    ("provider", "path"),
    [("videodb", "/billing/usage"), ("videodb", "/billing/invoices"), ("vidnavigator", "/usage")],
)
def test_a_key_that_is_unknown_or_of_the_other_vendor_is_refused(vendors: Vendors, provider: str, path: str) -> None:
    other = vendors.add(vidnavigator_account() if provider == "videodb" else videodb_account())
    for key in (secrets.token_hex(16), other, ""):
        status, response, _ = request(vendors, provider, path, key)
        assert (status, "message" in response) == (401, True)
        assert response.get("status") == (None if provider == "videodb" else "error")


@pytest.mark.parametrize("provider", ["videodb", "vidnavigator"])
def test_an_unknown_path_is_404_in_the_vendors_envelope(vendors: Vendors, provider: str) -> None:
    status, response, _ = request(vendors, provider, "/nothing", secrets.token_hex(16))
    assert (status, "message" in response) == (404, True)


def test_the_health_path_needs_no_key(vendors: Vendors) -> None:
    assert request(vendors, "vidnavigator", "/health", "")[0] == 200


@pytest.mark.parametrize(
    ("query", "numbers"),
    [("", [5, 4, 3, 2, 1]), ("?limit=2", [5, 4]), ("?limit=2&offset=3", [2, 1]), ("?offset=9", [])],
)
def test_invoices_come_in_pages(vendors: Vendors, query: str, numbers: list[int]) -> None:
    invoices = [apis.videodb_invoice(number, 86400.0 * number) for number in (5, 4, 3, 2, 1)]
    key = vendors.add(videodb_account(invoices=invoices))
    _, response, _ = request(vendors, "videodb", "/billing/invoices" + query, key)
    assert [entry["id"] for entry in response["data"]] == [  # type: ignore[attr-defined]  # JSON of a known shape
        f"in_{number:06d}" for number in numbers
    ]


@pytest.mark.parametrize("query", ["?limit=many", "?offset=-1"])
def test_an_invalid_page_number_is_a_bad_request(vendors: Vendors, query: str) -> None:
    assert request(vendors, "videodb", "/billing/invoices" + query, vendors.add(videodb_account()))[0] == 400


def test_a_connection_is_kept_for_the_next_request(vendors: Vendors) -> None:
    key = vendors.add(videodb_account())
    with connected(vendors.videodb_url) as connection:
        for _ in range(3):
            connection.request("GET", "/billing/usage", headers={"x-access-token": key})
            assert connection.getresponse().read()
        assert (vendors.connections_accepted, vendors.connections_open) == (1, 1)
    assert len(vendors.requests_of(key)) == 3


def test_the_log_has_time_key_and_path_of_each_request() -> None:
    ticks = iter([10.0, 20.0, 30.0])
    unknown = secrets.token_hex(16)
    with Vendors(clock=lambda: next(ticks), log_limit=2) as vendors:
        key = vendors.add(vidnavigator_account())
        request(vendors, "vidnavigator", "/health", "")
        request(vendors, "vidnavigator", "/usage", key)
        request(vendors, "vidnavigator", "/usage", unknown)
        assert vendors.requests == [
            (20.0, key, "/usage"),
            (30.0, unknown, "/usage"),
        ]  # the oldest is forgotten
        assert vendors.request_count == 3


def test_the_log_can_be_switched_off() -> None:
    with Vendors(log_limit=0) as vendors:
        request(vendors, "vidnavigator", "/health", "")
        assert (vendors.requests, vendors.request_count) == ([], 1)


def test_waiting_for_a_request_ends_when_it_comes(vendors: Vendors) -> None:
    key = vendors.add(vidnavigator_account())
    caller = threading.Thread(target=request, args=(vendors, "vidnavigator", "/usage", key))
    caller.start()
    assert vendors.wait_for_requests(1, key)
    caller.join()
    assert not vendors.wait_for_requests(2, key, timeout=0)


def test_latency_holds_every_response_back() -> None:
    with Vendors(latency_seconds=3600) as vendors, connected(vendors.videodb_url) as connection:
        connection.request("GET", "/billing/usage", headers={"x-access-token": vendors.add(videodb_account())})
        assert vendors.wait_for_requests(1)
        vendors.stop()
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()


def test_a_hanging_account_delays_no_other(vendors: Vendors) -> None:
    stuck, well = vendors.add(vidnavigator_account()), vendors.add(vidnavigator_account())
    vendors.accounts[stuck].fault = faults.hang()
    with connected(vendors.vidnavigator_url) as connection:
        connection.request("GET", "/v1/usage", headers={"X-API-Key": stuck})
        assert vendors.wait_for_requests(1, stuck)
        assert request(vendors, "vidnavigator", "/usage", well)[0] == 200


def test_stopping_hangs_up_on_idle_and_hanging_clients_and_frees_the_ports() -> None:
    with Vendors() as vendors:
        key = vendors.add(vidnavigator_account())
        vendors.accounts[key].fault = faults.hang()
        url = urlsplit(vendors.vidnavigator_url)
        address = (url.hostname or "", url.port or 0)
        with (
            connected(vendors.vidnavigator_url) as hanging,
            closing(socket.create_connection(address)) as idle,
        ):
            hanging.request("GET", "/v1/usage", headers={"X-API-Key": key})
            assert vendors.wait_for_requests(1, key)
            vendors.stop()
            assert vendors.connections_open == 0
            idle.settimeout(10)
            assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_vendors_that_never_started_can_be_stopped() -> None:
    Vendors().stop()


def test_both_vendors_serve_tls_if_a_context_is_given() -> None:
    authority, server, client = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), None
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with Vendors(tls=server) as vendors:
        key = vendors.add(vidnavigator_account())
        with connected(vendors.vidnavigator_url, client) as connection:
            connection.request("GET", "/v1/usage", headers={"X-API-Key": key})
            assert connection.getresponse().status == 200
        stranger = ssl.create_default_context()
        with connected(vendors.videodb_url, stranger) as connection, pytest.raises(ssl.SSLError):
            connection.request("GET", "/billing/usage")


def test_a_client_with_a_slow_handshake_delays_no_other() -> None:
    authority, server = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with Vendors(tls=server) as vendors:
        url = urlsplit(vendors.vidnavigator_url)
        with (
            closing(socket.create_connection((url.hostname or "", url.port or 0))),
            connected(vendors.vidnavigator_url, client) as connection,
        ):
            connection.request("GET", "/v1/health")
            assert connection.getresponse().status == 200


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_request_over_the_limit_bans_the_key_for_a_minute(vendors: Vendors) -> None:
    clock = Time()
    key, other = vendors.add(vidnavigator_account()), vendors.add(vidnavigator_account())
    vendors.accounts[key].rate_limit = limit = KeyLimit(2, clock)
    assert [request(vendors, "vidnavigator", "/usage", key)[0] for _ in range(2)] == [200, 200]
    status, response, headers = request(vendors, "vidnavigator", "/usage", key)
    assert (status, headers["Retry-After"], response["retry_after_seconds"]) == (429, "60", 60)
    clock.now = 59.5
    status, response, headers = request(vendors, "vidnavigator", "/usage", key)
    assert (status, headers["Retry-After"], response["retry_after_seconds"]) == (429, "1", 1)
    assert request(vendors, "vidnavigator", "/usage", other)[0] == 200
    clock.now = 60
    assert [request(vendors, "vidnavigator", "/usage", key)[0] for _ in range(3)] == [200, 200, 429]
    assert limit.bans == 2


def test_a_faulty_response_counts_towards_the_limit(vendors: Vendors) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].rate_limit = KeyLimit(1, Time())
    vendors.accounts[key].fault = faults.status(503)
    assert [request(vendors, "vidnavigator", "/usage", key)[0] for _ in range(2)] == [503, 429]


@settings(deadline=None)
@example(1, [0, 60])
@given(st.integers(1, 5), st.lists(st.floats(0, 90), max_size=40))
def test_the_ban_falls_on_the_first_request_that_is_one_too_many_in_a_minute(
    per_minute: int, gaps: list[float]
) -> None:
    clock = Time()
    limit = KeyLimit(per_minute, clock)
    moments: list[float] = []
    for gap in gaps:
        clock.now += gap
        moments.append(clock.now)
        too_many = sum(moment > clock.now - 60 for moment in moments) > per_minute
        assert bool(limit.ban_left()) == too_many
        if too_many:
            break
