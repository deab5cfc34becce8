"""Responses that are interim, broken, cut short or huge."""

from __future__ import annotations

import tracemalloc

import pytest

from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors
from exporter.errors import InvalidResponseError, PollError, UnreachableError
from exporter.transport.client import Transport
from tests.transport.servers import PATIENT, ok, request, responding


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.reset(), UnreachableError),
        (faults.reset(after_bytes=20), UnreachableError),
        (faults.garbage(), InvalidResponseError),
        (faults.truncated_json(), InvalidResponseError),
        (faults.deep_json(), InvalidResponseError),
        (faults.big_body(), InvalidResponseError),
        (faults.big_body(framing="chunked"), InvalidResponseError),
        (faults.gzip_bomb(), InvalidResponseError),
    ],
    ids=["reset", "reset in the response", "garbage", "truncated", "deep", "50 MB", "50 MB chunked", "bomb"],
)
def test_a_broken_response_has_the_right_reason(
    vendors: Vendors, transport: Transport, fault: Fault, error: type[PollError]
) -> None:
    with pytest.raises(error):
        request(vendors, transport, fault)


@pytest.mark.parametrize("fault", [faults.big_body(), faults.gzip_bomb()], ids=["50 MB", "bomb"])
def test_a_huge_response_costs_little_memory(fault: Fault) -> None:
    # The vendors run in a process of their own here only in the soak; the peak below is ours and theirs together.
    with Vendors() as vendors:
        transport = Transport(vendors.vidnavigator_url, "test")
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponseError):
                request(vendors, transport, fault)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 << 20


def test_a_refusal_whose_body_cannot_be_read_keeps_its_status(vendors: Vendors, transport: Transport) -> None:
    response = request(vendors, transport, faults.body("x" * (2 << 20), code=429, headers={"Retry-After": "90"}))
    assert (response.status, response.headers["retry-after"], response.document) == (429, "90", None)


@pytest.mark.parametrize("status", [100, 102, 103, 199])
@pytest.mark.parametrize("times", [1, 3])
def test_interim_responses_are_skipped(status: int, times: int) -> None:
    interim = f"HTTP/1.1 {status} Interim\r\nLink: </style.css>\r\n\r\n".encode() * times
    with responding(interim + ok("[1]")) as url:
        response = Transport(url, "test").get("/", {}, {}, PATIENT)
    assert (response.status, response.document) == (200, [1])


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"x" * 70_000
BROKEN = {
    "the response is not HTTP": [
        b"<html></html>\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 1000 OK\r\n\r\n",
    ],
    "the response is in another version of HTTP than 1.0 and 1.1": [b"HTTP/2 200\r\n\r\n"],
    "the response changes the protocol (status 101), which was not asked for": [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"
    ],
    "the response has more than 100 headers": [
        OK + b"X: y\r\n" * 101 + b"\r\n{}",
        b"HTTP/1.1 103 Early Hints\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    ],
    "a line in the head of the response has more than 65,536 bytes": [
        b"HTTP/1.1 200 " + LONG + b"\r\n\r\n",
        OK + b"X: " + LONG + b"\r\n\r\n{}",
    ],
    "the response has more than one Content-Length": [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "],
    "a chunk of the response has a negative size": [CHUNKED + b"-5\r\nhello\r\n", CHUNKED + b"-1\r\nhello\r\n"],
    "a chunk of the response has no valid size": [
        CHUNKED + b"five\r\nhello\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    ],
    "a line between the chunks of the response is too long": [
        CHUNKED + b"5;" + LONG + b"\r\nhello\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nX: " + LONG + b"\r\n\r\n",
    ],
    "the packed response is damaged": [OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"],
    "the response has a Content-Encoding that was not asked for: 'br'": [OK + b"Content-Encoding: br\r\n\r\n"],
    "the response is empty": [OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"],
    "the response is not JSON": [OK + b"Content-Length: 6\r\n\r\n<html>"],
}


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        pytest.param(response, sentence, id=f"{sentence} {number}")
        for sentence, responses in BROKEN.items()
        for number, response in enumerate(responses, 1)
    ],
)
def test_the_message_about_a_broken_response_says_what_is_wrong(response: bytes, sentence: str) -> None:
    with responding(response) as url, pytest.raises(InvalidResponseError) as raised:
        Transport(url, "test").get("/", {}, {}, PATIENT)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
    ids=["length", "in a chunk", "between chunks"],
)
def test_a_response_that_ends_too_early_is_reported_as_such(response: bytes) -> None:
    with responding(response, keep=False) as url, pytest.raises(UnreachableError, match="the response ended too early"):
        Transport(url, "test").get("/", {}, {}, PATIENT)


@pytest.mark.parametrize(
    "head",
    [b"Retry-After: 90\r\nContent-Length: 2\r\nContent-Length: 3\r\n", b"X: y\r\n" * 101],
    ids=["two lengths", "too many headers"],
)
def test_a_refusal_whose_head_is_broken_keeps_its_status(head: bytes) -> None:
    with responding(b"HTTP/1.1 429 Too Many Requests\r\n" + head + b"\r\n{} ") as url:
        response = Transport(url, "test").get("/", {}, {}, PATIENT)
    assert (response.status, response.document) == (429, None)
    assert response.headers.get("retry-after") == ("90" if b"Retry" in head else None)


def test_headers_of_one_name_are_joined_as_a_proxy_may_add_a_second_one() -> None:
    with responding(b"HTTP/1.1 429 No\r\nRetry-After: 5\r\nretry-after: 90\r\nContent-Length: 2\r\n\r\n{}") as url:
        response = Transport(url, "test").get("/", {}, {}, PATIENT)
    assert response.headers["retry-after"] == "5, 90"


def test_what_arrives_after_a_response_reaches_no_later_request() -> None:
    with responding(ok("[1]") + ok("[2]"), ok("[3]")) as url:
        transport = Transport(url, "test")
        assert [transport.get("/", {}, {}, PATIENT).document for _ in range(2)] == [[1], [3]]
