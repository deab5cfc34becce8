"""Unpacks the body of a response within bounds and reads it as JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import urllib3

from exporter.errors import InvalidResponseError

MAX_BODY_BYTES = 1 << 20
"""Bytes that a response may have after it is unpacked."""

_CHUNK_BYTES = 1 << 16


def read_body(raw: urllib3.HTTPResponse) -> bytes:
    """Return the unpacked body; raise InvalidResponseError where it is larger than ``MAX_BODY_BYTES``."""
    body = bytearray()
    complete = False
    try:
        for piece in _unpacked(raw):
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise InvalidResponseError(f"the response is larger than {MAX_BODY_BYTES >> 20} MiB")
        complete = True
    finally:
        if not complete:
            raw.close()
    return bytes(body)


def _unpacked(raw: urllib3.HTTPResponse) -> Iterator[bytes]:
    """Yield the body in pieces of at most ``_CHUNK_BYTES``, because a few packed bytes may hold gigabytes."""
    encoding = (raw.headers.get("Content-Encoding") or "identity").strip().lower()
    pieces = raw.stream(_CHUNK_BYTES, decode_content=False)
    if encoding == "identity":
        yield from pieces
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise InvalidResponseError(f"the response has a Content-Encoding that was not asked for: {encoding[:32]!r}")
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    for packed in pieces:
        while packed:
            yield unpack.decompress(packed, _CHUNK_BYTES)
            packed = unpack.unconsumed_tail
    if not unpack.eof:
        raise InvalidResponseError("the packed response ends too early")


def _integer(digits: str) -> int | float:
    # int() refuses more than 4,300 digits with a ValueError, which would fail the whole response.
    return int(digits) if len(digits) < 400 else float(digits)


def decoded(body: bytes) -> object:
    """Return the JSON document; raise InvalidResponseError."""
    if not body.strip():
        raise InvalidResponseError("the response is empty")
    try:
        return json.loads(body, parse_int=_integer)
    except RecursionError:
        raise InvalidResponseError("the response is nested too deeply") from None
    except ValueError:
        raise InvalidResponseError("the response is not JSON") from None
