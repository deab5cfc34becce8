"""Translates the exceptions of requests, urllib3 and the standard library into PollErrors."""

from __future__ import annotations

import http.client
import re
import ssl
import zlib
from collections.abc import Iterator

import requests
import urllib3

from exporter.errors import InternalError, InvalidResponseError, PollError, PollTimeoutError, UnreachableError
from exporter.runtime.files import reason

_NOT_HTTP = "the response is not HTTP"
_LATE = "no whole response within the timeout"
_DAMAGED = "the packed response is damaged"
_BAD_URL = "the request has no valid URL"
_TWO_LENGTHS = "the response has more than one Content-Length"
_NO_TLS = "the server does not speak TLS at this port; the URL may need http instead of https"
_TLS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "the server closed the connection",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the handshake",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not speak TLS 1.2 or later",
}
"""What OpenSSL's reasons mean that an operator meets most."""
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")

TRANSLATION: tuple[tuple[type[Exception], type[PollError], str | None], ...] = (
    (requests.exceptions.Timeout, PollTimeoutError, _LATE),
    (urllib3.exceptions.TimeoutError, PollTimeoutError, _LATE),
    (TimeoutError, PollTimeoutError, _LATE),
    (zlib.error, InvalidResponseError, _DAMAGED),
    (urllib3.exceptions.DecodeError, InvalidResponseError, _DAMAGED),
    (requests.exceptions.InvalidURL, InternalError, _BAD_URL),
    (requests.exceptions.InvalidHeader, InvalidResponseError, _TWO_LENGTHS),
    (urllib3.exceptions.InvalidHeader, InvalidResponseError, _TWO_LENGTHS),
    (requests.exceptions.InvalidSchema, InternalError, _BAD_URL),
    (requests.exceptions.MissingSchema, InternalError, _BAD_URL),
    (requests.exceptions.RequestException, UnreachableError, None),
    (urllib3.exceptions.LocationValueError, InternalError, _BAD_URL),
    (urllib3.exceptions.HTTPError, UnreachableError, None),
    (ConnectionError, UnreachableError, None),  # http.client.RemoteDisconnected is one
    (http.client.HTTPException, InvalidResponseError, _NOT_HTTP),
    (OSError, UnreachableError, None),
)
"""The PollError and the message for each foreign exception. The first match counts. None takes its cause's message."""

_BROKEN: tuple[tuple[type[Exception], str, str | None], ...] = (
    (urllib3.exceptions.InvalidChunkLength, "", "a chunk of the response has no valid size"),
    (urllib3.exceptions.ProtocolError, "Response chunk", "a line between the chunks of the response is too long"),
    (http.client.UnknownProtocol, "", "the response is in another version of HTTP than 1.0 and 1.1"),
    (http.client.RemoteDisconnected, "", None),
    (http.client.IncompleteRead, "", None),
    (http.client.LineTooLong, "", "a line in the head of the response has more than 65,536 bytes"),
    (http.client.HTTPException, "got more than", "the response has more than 100 headers"),
    (http.client.HTTPException, "", _NOT_HTTP),
)
"""The messages for broken responses, by the kind of the exception and the start of its text. The first match counts.

None means that the response is not broken, but missing or incomplete.
"""


class translated:
    """Turn foreign exceptions into PollErrors by ``TRANSLATION``, and all others into ``unknown``."""

    def __init__(self, unknown: type[PollError] = InternalError) -> None:
        self._unknown = unknown

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, PollError) or not isinstance(error, Exception):
            return
        raise translate(error, self._unknown) from error


def translate(error: Exception, unknown: type[PollError] = InternalError) -> PollError:
    """Return the PollError for a foreign exception by ``TRANSLATION``, or ``unknown`` if it has none."""
    chain = list(_chain(error))
    if any(isinstance(link, TimeoutError) for link in chain):
        return PollTimeoutError(_LATE)
    broken = next(filter(None, map(_broken, chain)), None)
    if broken is not None:
        return InvalidResponseError(broken)
    for foreign, ours, sentence in TRANSLATION:
        if isinstance(error, foreign):
            return ours(sentence or _cause(chain))
    what = "the response cannot be read" if unknown is InvalidResponseError else "unexpected exception"
    return unknown(f"{what} ({type(error).__name__}: {error})")


def _broken(link: BaseException) -> str | None:
    """Return the message of ``_BROKEN`` for an exception, or None."""
    for kind, start, sentence in _BROKEN:
        if isinstance(link, kind) and str(link).startswith(start):
            return sentence
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it wraps. requests and urllib3 keep the cause in any of four places."""
    todo, seen = [error], set()
    while todo:
        link = todo.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
        todo.extend(item for item in inner if isinstance(item, BaseException))


def _cause(chain: list[BaseException]) -> str:
    """Return the innermost cause in words, because the messages of the outer exceptions hold addresses of objects."""
    by_proxy = any(isinstance(link, urllib3.exceptions.ProxyError) for link in chain)
    return ("proxy: " if by_proxy else "") + next(filter(None, map(_words, _by_weight(chain))), "the connection failed")


def _by_weight(chain: list[BaseException]) -> list[BaseException]:
    """Return the links that tell most first, in the order certificate, TLS, HTTP, system."""
    kinds = (
        ssl.SSLCertVerificationError,
        ssl.SSLError,
        http.client.HTTPException,
        OSError,
        urllib3.exceptions.ProtocolError,
    )
    return [link for kind in kinds for link in chain if isinstance(link, kind)]


def _words(link: BaseException) -> str | None:
    if isinstance(link, ssl.SSLCertVerificationError):
        return f"TLS: {link.verify_message}"
    if isinstance(link, ssl.SSLError):
        return f"TLS: {_TLS.get(link.reason or '') or (link.reason or str(link)).replace('_', ' ').lower()}"
    if isinstance(link, (http.client.IncompleteRead, urllib3.exceptions.ProtocolError)):
        return "the response ended too early"
    if isinstance(link, http.client.RemoteDisconnected):
        return "the vendor closed the connection without a response"
    if isinstance(link, OSError) and not isinstance(link, requests.exceptions.RequestException):
        # The text after the proxy's status is left out, because it may hold the login that was sent to the proxy.
        refused = _TUNNEL.match(str(link))
        return f"it refuses the connection with the status {refused[1]}" if refused else reason(link)
    return None
