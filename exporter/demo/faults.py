"""Faults of a vendor, one function each, such as `account.fault = faults.status(503).times(2)`.

A fault replaces the response to a request that passed the key check and the rate limit. It lasts until
`account.fault = None`, or for the number of requests in `times`. `on` limits it to one path.
"""

from __future__ import annotations

import functools
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exporter.demo.apis import Api
from exporter.demo.loopback import Exchange

MIB = 2**20
_NUMBER_MARK = "number-goes-here"


@dataclass(frozen=True)
class ReceivedRequest:
    """A request with its connection, its API, its key and the right response."""

    exchange: Exchange
    api: Api
    key: str
    path: str
    normal: Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """A wrong response for `remaining` requests (None means always), on one path or on all."""

    act: Callable[[ReceivedRequest], None]
    remaining: int | None = None
    path: str | None = None

    def times(self, count: int) -> Fault:
        """Return the same fault for this many requests. Afterwards the account responds normally."""
        return replace(self, remaining=count)

    def on(self, path: str) -> Fault:
        """Return the same fault for one path only, such as `/billing/invoices`."""
        return replace(self, path=path)


def status(
    code: int,
    *,
    message: str = "The request was refused.",
    retry_after: int | str | None = None,
    retry_after_seconds: float | None = None,
) -> Fault:
    """Respond with a status in the vendor's error envelope.

    `retry_after` is the header (seconds or an HTTP date), `retry_after_seconds` the field of the body.
    """

    def act(request: ReceivedRequest) -> None:
        value = request.api.refusal(code, message)
        if retry_after_seconds is not None:
            value["retry_after_seconds"] = retry_after_seconds
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        request.exchange.send_json(code, value, headers)

    return Fault(act)


def no_subscription(field: str = "error") -> Fault:
    """Respond with VidNavigator's 404 for an account without a plan. Newer responses use the field `error_code`."""
    value = {"status": "error", field: "no_subscription", "message": "This account has no subscription."}
    return body(value, code=404)


def repeat_key(code: int = 401) -> Fault:
    """Refuse with a message that contains the caller's key. With 200 the response is `success: false`."""

    def act(request: ReceivedRequest) -> None:
        request.exchange.send_json(code, request.api.refusal(code, f"The key {request.key} is not valid."))

    return Fault(act)


def success_false(message: str = "The account is locked.") -> Fault:
    """Refuse in a 200 with VideoDB's `success: false` or VidNavigator's `status: error`."""
    return Fault(lambda request: request.exchange.send_json(200, request.api.refusal(200, message)))


def processing() -> Fault:
    """Respond that the figures are not there yet, as VideoDB does for slow requests."""
    return body({"status": "processing", "request_type": "async"})


def body(value: object, *, code: int = 200, headers: Mapping[str, str] | None = None) -> Fault:
    """Respond with these bytes, or with another value as JSON, for wrong envelopes and hand-made responses."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Fault(lambda request: request.exchange.send(code, data, headers))


def garbage() -> Fault:
    """Respond with bytes that are neither JSON nor text."""
    return body(bytes(range(256)) * 4)


def truncated_json() -> Fault:
    """Send the first half of the right response as if it were all."""

    def act(request: ReceivedRequest) -> None:
        data = _encode(request.normal())
        request.exchange.send(200, data[: len(data) // 2])

    return Fault(act)


def deep_json(depth: int = 100_000) -> Fault:
    """Respond with lists nested deeper than a recursive parser can go."""
    return body(b'{"success": true, "status": "success", "data": ' + b"[" * depth + b"]" * depth + b"}")


def bad_numbers(token: str) -> Fault:
    """Write `token` (`NaN`, `Infinity`, `1e400`) for every number of the right response."""

    def act(request: ReceivedRequest) -> None:
        text = json.dumps(_mark_numbers(request.normal()))
        request.exchange.send(200, re.sub(f'"{_NUMBER_MARK}"', token, text).encode())

    return Fault(act)


def _mark_numbers(value: object) -> object:
    if isinstance(value, dict):
        return {name: _mark_numbers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_mark_numbers(entry) for entry in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _NUMBER_MARK
    return value


def hang(seconds: float | None = None) -> Fault:
    """Send nothing for this many seconds (None means forever), then the right response."""

    def act(request: ReceivedRequest) -> None:
        request.exchange.pause(seconds)
        request.exchange.send_json(200, request.normal())

    return Fault(act)


def drip_headers(interval_seconds: float = 0.05) -> Fault:
    """Send a header that never ends, a byte each interval. Every read succeeds, but no response comes."""

    def act(request: ReceivedRequest) -> None:
        request.exchange.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            request.exchange.write(b"a")
            request.exchange.pause(interval_seconds)

    return Fault(act)


def drip_body(interval_seconds: float = 0.05) -> Fault:
    """Send the right response, its headers at once and then a byte of the body each interval."""

    def act(request: ReceivedRequest) -> None:
        data = _encode(request.normal())
        request.exchange.write(request.exchange.head(200, {"Content-Length": str(len(data))}))
        for position in range(len(data)):
            request.exchange.write(data[position : position + 1])
            request.exchange.pause(interval_seconds)

    return Fault(act)


def reset(after_bytes: int = 0) -> Fault:
    """Reset the connection after this many bytes of the right response, its headers included."""

    def act(request: ReceivedRequest) -> None:
        data = _encode(request.normal())
        whole = request.exchange.head(200, {"Content-Length": str(len(data))}) + data
        request.exchange.write(whole[:after_bytes])
        request.exchange.reset()

    return Fault(act)


def redirect(location: str, code: int = 302) -> Fault:
    """Redirect the client. The log of another `Vendors` at the target tells whether the key was sent there."""
    return body(b"", code=code, headers={"Location": location})


def big_body(size_bytes: int = 50 * MIB, framing: str = "length") -> Fault:
    """Stream the right response after `size_bytes` of white space, which is valid but too long JSON.

    `framing` tells how the end is marked, by `length` (Content-Length), `chunked`, or `close` (of the connection).
    """
    ends = {"length": {}, "chunked": {"Transfer-Encoding": "chunked"}, "close": {"Connection": "close"}}
    if framing not in ends:
        raise ValueError(f"framing must be one of {', '.join(ends)}, not {framing!r}")

    def act(request: ReceivedRequest) -> None:
        last = _encode(request.normal())
        marks = {"Content-Length": str(size_bytes + len(last))} if framing == "length" else ends[framing]
        request.exchange.write(request.exchange.head(200, marks))
        blanks = b" " * (64 * 1024)
        sizes = [len(blanks)] * (size_bytes // len(blanks)) + [size_bytes % len(blanks)]
        for piece in [*(blanks[:count] for count in sizes if count), last]:
            request.exchange.write(b"%x\r\n%s\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if framing == "chunked":
            request.exchange.write(b"0\r\n\r\n")

    return Fault(act)


def gzip_bomb(unpacked_bytes: int = 128 * MIB) -> Fault:
    """Respond with this many bytes of white space and the right JSON, gzipped to a thousandth of the size."""

    def act(request: ReceivedRequest) -> None:
        packed = _zipped(unpacked_bytes // MIB, _encode(request.normal()))
        request.exchange.send(200, packed, {"Content-Encoding": "gzip"})

    return Fault(act)


@functools.lru_cache(maxsize=4)
def _zipped(blank_mib: int, last: bytes) -> bytes:
    packer = zlib.compressobj(level=9, wbits=31)
    blanks = b" " * MIB
    pieces = [packer.compress(piece) for piece in [*[blanks] * blank_mib, last]]
    return b"".join([*pieces, packer.flush()])


def _encode(value: object) -> bytes:
    return json.dumps(value).encode()
