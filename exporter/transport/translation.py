"""What the exceptions of requests, urllib3 and the standard library mean for a poll."""

from __future__ import annotations

import http.client
import ssl
import zlib
from collections.abc import Iterator

import requests
import urllib3

from exporter.errors import ConnectionError_, InternalError, InvalidResponseError, PollError, TimeoutError_

TRANSLATION: tuple[tuple[type[Exception], type[PollError]], ...] = (
    (requests.exceptions.Timeout, TimeoutError_),
    (urllib3.exceptions.TimeoutError, TimeoutError_),
    (TimeoutError, TimeoutError_),
    (zlib.error, InvalidResponseError),
    (urllib3.exceptions.DecodeError, InvalidResponseError),
    (requests.exceptions.InvalidURL, InternalError),
    (requests.exceptions.InvalidHeader, InvalidResponseError),
    (requests.exceptions.InvalidSchema, InternalError),
    (requests.exceptions.MissingSchema, InternalError),
    (requests.exceptions.RequestException, ConnectionError_),
    (urllib3.exceptions.LocationValueError, InternalError),
    (urllib3.exceptions.HTTPError, ConnectionError_),
    (http.client.HTTPException, InvalidResponseError),
    (OSError, ConnectionError_),
)
"""What each foreign exception means, the first match counting."""


class translated:
    """Turn foreign exceptions into PollErrors by the table, and others into ``unknown``."""

    def __init__(self, unknown: type[PollError] = InternalError) -> None:
        self._unknown = unknown

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, PollError) or not isinstance(error, Exception):
            return
        raise translate(error, self._unknown) from error


def translate(error: Exception, unknown: type[PollError] = InternalError) -> PollError:
    """Return the PollError that a foreign exception is, by ``TRANSLATION``; ``unknown`` where it is not there."""
    chain = list(_chain(error))
    if any(isinstance(link, TimeoutError) for link in chain):
        return TimeoutError_("no whole answer within the timeout")
    if any(isinstance(link, http.client.HTTPException) and _is_garbage(link) for link in chain):
        return InvalidResponseError("the answer is not HTTP")
    for foreign, ours in TRANSLATION:
        if isinstance(error, foreign):
            if ours is TimeoutError_:
                return TimeoutError_("no whole answer within the timeout")
            through = "proxy: " if any(isinstance(link, urllib3.exceptions.ProxyError) for link in chain) else ""
            return ours(through + _reason(chain))
    return unknown(f"{type(error).__name__}: {error}")


def _is_garbage(error: http.client.HTTPException) -> bool:
    # urllib3's InvalidChunkLength is an IncompleteRead, although nothing is missing.
    return isinstance(error, urllib3.exceptions.InvalidChunkLength) or not isinstance(
        error, (http.client.RemoteDisconnected, http.client.IncompleteRead)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it wraps: requests and urllib3 keep the cause in any of four places."""
    todo, seen = [error], set()
    while todo:
        link = todo.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
        todo.extend(item for item in inner if isinstance(item, BaseException))


def _reason(chain: list[BaseException]) -> str:
    """Return the innermost cause in words, without the addresses of objects that the wrappers' messages carry."""
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"TLS: {link.verify_message}"
    for link in chain:
        if isinstance(link, ssl.SSLError):
            return f"TLS: {link.reason or link}"
    for link in chain:
        if isinstance(link, http.client.IncompleteRead):
            return "the answer ended too early"
        if isinstance(link, http.client.RemoteDisconnected):
            return "the vendor closed the connection without an answer"
    for link in chain:
        if isinstance(link, OSError) and not isinstance(link, requests.exceptions.RequestException):
            return link.strerror or str(link) or type(link).__name__
    return type(chain[-1]).__name__
