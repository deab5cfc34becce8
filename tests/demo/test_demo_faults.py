"""Each fault, as a client sees it on its socket."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
import requests

from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors, videodb_account, vidnavigator_account

MIB = 2**20


@pytest.fixture
def videodb_key(vendors: Vendors) -> str:
    return vendors.add(videodb_account())


@pytest.fixture
def vidnavigator_key(vendors: Vendors) -> str:
    return vendors.add(vidnavigator_account())


@contextmanager
def request(vendors: Vendors, key: str, path: str = "") -> Iterator[http.client.HTTPResponse]:
    """The response to one request, by the account's own API."""
    api = vendors.accounts[key].api
    base = vendors.videodb_url if api.provider == "videodb" else vendors.vidnavigator_url
    with closing(http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)) as connection:
        connection.request("GET", api.base_path + (path or api.usage_path), headers={api.key_header: key})
        yield connection.getresponse()


@contextmanager
def raw(vendors: Vendors, key: str) -> Iterator[socket.socket]:
    """A socket on which VideoDB's usage has just been requested."""
    url = urlsplit(vendors.videodb_url)
    with closing(socket.create_connection((url.hostname or "", url.port or 0), timeout=10)) as client:
        client.sendall(f"GET /billing/usage HTTP/1.1\r\nHost: x\r\nx-access-token: {key}\r\n\r\n".encode())
        yield client


def read(vendors: Vendors, key: str, fault: Fault) -> tuple[int, bytes]:
    vendors.accounts[key].fault = fault
    with request(vendors, key) as response:
        return response.status, response.read()


def right_response(vendors: Vendors, key: str) -> bytes:
    vendors.accounts[key].fault = None
    with request(vendors, key) as response:
        return response.read()


@pytest.mark.parametrize("code", [402, 403, 404, 418, 500, 502, 503])
def test_a_status_is_sent_in_the_vendors_envelope(
    vendors: Vendors, videodb_key: str, vidnavigator_key: str, code: int
) -> None:
    status, body = read(vendors, videodb_key, faults.status(code, message="No."))
    assert (status, json.loads(body)) == (code, {"message": "No."})
    status, body = read(vendors, vidnavigator_key, faults.status(code, message="No."))
    assert (status, json.loads(body)) == (code, {**json.loads(body), "status": "error", "message": "No."})


@pytest.mark.parametrize("header", [120, "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_status_can_name_a_wait_in_header_and_body(
    vendors: Vendors, vidnavigator_key: str, header: int | str
) -> None:
    fault = faults.status(503, retry_after=header, retry_after_seconds=30)
    vendors.accounts[vidnavigator_key].fault = fault
    with request(vendors, vidnavigator_key) as response:
        assert response.headers["Retry-After"] == str(header)
        assert json.load(response)["retry_after_seconds"] == 30


def test_a_fault_lasts_for_the_given_number_of_requests(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.status(500).times(2)
    statuses = []
    for _ in range(3):
        with request(vendors, videodb_key) as response:
            statuses.append(response.status)
    assert statuses == [500, 500, 200]


def test_a_fault_can_be_limited_to_one_path(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.status(500).on("/billing/invoices").times(1)
    statuses = {}
    for path in ("/billing/usage", "/billing/invoices", "/billing/auto_recharge"):
        with request(vendors, videodb_key, path) as response:
            statuses[path] = response.status
    assert statuses == {"/billing/usage": 200, "/billing/invoices": 500, "/billing/auto_recharge": 200}


@pytest.mark.parametrize("field", ["error", "error_code"])
def test_no_subscription_is_a_404_in_either_spelling(vendors: Vendors, vidnavigator_key: str, field: str) -> None:
    status, body = read(vendors, vidnavigator_key, faults.no_subscription(field))
    assert (status, json.loads(body)[field]) == (404, "no_subscription")
    assert len({"error", "error_code"} & set(json.loads(body))) == 1


@pytest.mark.parametrize("code", [401, 200])
def test_repeat_key_puts_the_key_into_the_message(vendors: Vendors, videodb_key: str, code: int) -> None:
    status, body = read(vendors, videodb_key, faults.repeat_key(code))
    assert status == code
    assert videodb_key in json.loads(body)["message"]
    assert json.loads(body).get("success") is (False if code == 200 else None)


def test_success_false_is_a_refusal_in_a_200(vendors: Vendors, videodb_key: str, vidnavigator_key: str) -> None:
    status, body = read(vendors, videodb_key, faults.success_false("Locked."))
    assert (status, json.loads(body)) == (200, {"success": False, "message": "Locked."})
    status, body = read(vendors, vidnavigator_key, faults.success_false("Locked."))
    assert (status, json.loads(body)["status"]) == (200, "error")


def test_processing_has_no_data(vendors: Vendors, videodb_key: str) -> None:
    status, body = read(vendors, videodb_key, faults.processing())
    assert (status, json.loads(body)["status"], "data" in json.loads(body)) == (200, "processing", False)


@pytest.mark.parametrize("value", [[], "text", None, 7])
def test_body_sends_any_json(vendors: Vendors, videodb_key: str, value: object) -> None:
    status, body = read(vendors, videodb_key, faults.body(value))
    assert (status, json.loads(body)) == (200, value)


def test_body_sends_bytes_as_they_are(vendors: Vendors, videodb_key: str) -> None:
    assert read(vendors, videodb_key, faults.body(b"<html>", code=502)) == (502, b"<html>")


def test_garbage_is_not_valid_text(vendors: Vendors, videodb_key: str) -> None:
    with pytest.raises(UnicodeDecodeError):
        read(vendors, videodb_key, faults.garbage())[1].decode()


def test_truncated_json_is_the_beginning_of_the_right_response(vendors: Vendors, videodb_key: str) -> None:
    body = read(vendors, videodb_key, faults.truncated_json())[1]
    whole = right_response(vendors, videodb_key)
    assert whole.startswith(body)
    assert 0 < len(body) < len(whole)
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_deep_json_is_small_and_too_deep_for_the_standard_parser(vendors: Vendors, videodb_key: str) -> None:
    body = read(vendors, videodb_key, faults.deep_json())[1]
    assert len(body) < MIB
    with pytest.raises(RecursionError):
        json.loads(body)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_bad_numbers_replace_every_number_and_no_other_value(
    vendors: Vendors, vidnavigator_key: str, token: str
) -> None:
    body = read(vendors, vidnavigator_key, faults.bad_numbers(token))[1].decode()
    whole = json.loads(right_response(vendors, vidnavigator_key))
    data = json.loads(body)["data"]
    assert data["credits"].keys() == whole["data"]["credits"].keys()
    assert {repr(value) for value in data["credits"].values()} == {repr(float(token))}
    assert data["subscription"] == whole["data"]["subscription"]  # text and booleans
    assert body.count(f": {token}") == 13 + len(data["usage"]) - 2


def test_hang_sends_no_data_until_the_vendor_stops(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.hang()
    with raw(vendors, videodb_key) as client:
        assert vendors.wait_for_requests(1)
        vendors.stop()
        assert client.recv(1) == b""


def test_hang_for_a_time_ends_with_the_right_response(vendors: Vendors, videodb_key: str) -> None:
    assert read(vendors, videodb_key, faults.hang(0.01)) == (200, right_response(vendors, videodb_key))


def test_a_client_that_hangs_up_frees_the_hanging_response(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.hang()
    with raw(vendors, videodb_key):
        assert vendors.wait_for_requests(1)
    vendors.stop()
    assert vendors.connections_open == 0


def test_drip_headers_never_gets_to_the_end_of_a_header(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.drip_headers(0.001)
    received = b""
    with raw(vendors, videodb_key) as client:
        while len(received) < 60:
            received += client.recv(10)
    assert received.startswith(b"HTTP/1.1 200 OK\r\nX-Slow: aaaa")
    assert received.count(b"\r\n") == 1


def test_drip_body_sends_the_headers_at_once_and_then_a_byte_at_a_time(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.drip_body(3600)
    with request(vendors, videodb_key) as response:
        assert response.status == 200
        assert response.read1(1000) == b"{"
        vendors.stop()
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_drip_body_ends_with_the_whole_right_response(vendors: Vendors, videodb_key: str) -> None:
    assert read(vendors, videodb_key, faults.drip_body(0)) == (200, right_response(vendors, videodb_key))


def receive_all(client: socket.socket, received: bytearray) -> None:
    while data := client.recv(1000):
        received += data


@pytest.mark.parametrize("after", [0, 30])
def test_reset_cuts_the_connection_after_so_many_bytes(vendors: Vendors, videodb_key: str, after: int) -> None:
    vendors.accounts[videodb_key].fault = faults.reset(after)
    received = bytearray()
    with raw(vendors, videodb_key) as client, pytest.raises(ConnectionResetError):
        receive_all(client, received)
    assert len(received) <= after  # what is under way may be lost
    assert b"HTTP/1.1 200 OK\r\n".startswith(bytes(received[:17]))


@pytest.mark.parametrize(
    ("framing", "header", "value"),
    [
        ("length", "Content-Length", None),
        ("chunked", "Transfer-Encoding", "chunked"),
        ("close", "Connection", "close"),
    ],
)
def test_big_body_is_valid_json_of_any_size(
    vendors: Vendors, videodb_key: str, framing: str, header: str, value: str | None
) -> None:
    whole = right_response(vendors, videodb_key)
    vendors.accounts[videodb_key].fault = faults.big_body(MIB + 1, framing)
    with request(vendors, videodb_key) as response:
        headers, body = response.headers, response.read()
    assert len(body) == MIB + 1 + len(whole)
    assert json.loads(body) == json.loads(whole)
    assert headers[header] == (value or str(len(body)))
    assert ("Content-Length" in headers) == (framing == "length")


def test_big_body_is_fifty_mebibytes_by_default(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.big_body()
    with request(vendors, videodb_key) as response:
        assert int(response.headers["Content-Length"]) > 50 * MIB


def test_an_unknown_framing_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="framing must be one of length, chunked, close, not 'open'"):
        faults.big_body(framing="open")


def test_gzip_bomb_is_small_on_the_wire_and_vast_unpacked(vendors: Vendors, videodb_key: str) -> None:
    vendors.accounts[videodb_key].fault = faults.gzip_bomb()
    with request(vendors, videodb_key) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        packed = response.read()
    assert len(packed) < MIB
    unpacker, size, last = zlib.decompressobj(wbits=31), 0, b""
    while packed and not unpacker.eof:
        last = unpacker.decompress(packed, MIB) or last
        packed = unpacker.unconsumed_tail
        size += len(last)
    assert size > 100_000_000
    assert json.loads(last) == json.loads(right_response(vendors, videodb_key))


def test_redirect_shows_whether_the_key_was_sent_along(vendors: Vendors, videodb_key: str) -> None:
    headers = {"x-access-token": videodb_key}
    with Vendors() as elsewhere, requests.Session() as session:
        location = elsewhere.videodb_url + "/billing/usage"
        vendors.accounts[videodb_key].fault = faults.redirect(location)
        url = vendors.videodb_url + "/billing/usage"
        response = session.get(url, headers=headers, allow_redirects=False, timeout=10)
        assert (response.status_code, response.headers["Location"]) == (302, location)
        assert not elsewhere.requests_of(videodb_key)
        session.get(url, headers=headers, timeout=10)  # this client keeps such headers
        assert len(elsewhere.requests_of(videodb_key)) == 1


def test_an_account_can_respond_with_a_fault_of_its_own(vendors: Vendors) -> None:
    account = videodb_account()
    account.responses["/billing/usage"] = lambda: faults.status(402)
    with request(vendors, vendors.add(account, secrets.token_hex(8))) as response:
        assert response.status == 402
