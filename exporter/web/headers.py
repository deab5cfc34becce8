"""Adds the headers that every response has, such as the security headers."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus

import h11

from exporter.web.messages import Response

SECURITY: dict[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "deny",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Sent with every response that does not set them itself."""
NO_CONTENT = "default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of a response that is not HTML."""
HTML_CONTENT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of a page. The page loads only from the exporter, and no other page may frame it."""
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def head(response: Response, close: bool) -> h11.Response:
    """Return the head of the response, with the headers of HTTP and the security headers that it does not set.

    Raises h11.LocalProtocolError for a header that could split the response.
    """
    headers = [
        ("date", formatdate(time.time(), usegmt=True)),
        ("content-type", response.content_type),
        *response.headers,
    ]
    if response.pieces is None:
        # h11 marks the end of another body by chunks, or by closing the connection of a client that knows none.
        headers.append(("content-length", str(response.size)))
    given = _names(response)
    headers += [(name, value) for name, value in SECURITY.items() if name not in given]
    if "content-security-policy" not in given:
        html = response.content_type.startswith("text/html")
        headers.append(("content-security-policy", HTML_CONTENT if html else NO_CONTENT))
    if close:
        headers.append(("connection", "close"))
    return h11.Response(status_code=response.status, reason=_REASONS.get(response.status, b""), headers=headers)


def add_missing(response: Response, headers: tuple[tuple[str, str], ...]) -> Response:
    """Return the response and add the headers that it does not set itself."""
    given = _names(response)
    more = tuple((name, value) for name, value in headers if name not in given)
    return replace(response, headers=(*response.headers, *more))


def _names(response: Response) -> set[str]:
    return {name.lower() for name, _ in response.headers}
