"""Turns h11's request into ours, and refuses some requests before their body is read."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from exporter.web.messages import Request


def refusal(request: h11.Request, header_bytes: int, body_bytes: int) -> int | None:
    """Return the status that refuses a request because of its head, or None."""
    # h11 measures only incomplete requests, so measure here one that came in one piece.
    size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
    lengths = [value for name, value in request.headers if name == b"content-length"]
    if size > header_bytes:
        return 431
    if lengths and int(lengths[0]) > body_bytes:
        return 413
    if lengths and any(name == b"transfer-encoding" for name, _ in request.headers):
        return 400  # there are two lengths, and a proxy may have used the other one
    return None if request.http_version.startswith(b"1.") else 505


def parse(request: h11.Request, client: str) -> Request:
    """Return the request of a client with this address. Raises ValueError for an invalid target."""
    headers: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    target = request.target.decode("ascii")
    if not target.startswith("/"):
        parts = urlsplit(target)
        target = f"{parts.path or '/'}?{parts.query}"
        if parts.netloc:
            headers["host"] = parts.netloc
    path, _, query = target.partition("?")
    return Request(
        method=request.method.decode("ascii"),
        path=unquote(path) if "%" in path else path,
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        headers=headers,
        client=client,
    )
