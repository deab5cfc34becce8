"""What goes between connections and handlers: requests, responses and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """What a client asks for. Names of headers are in lower case, and the body is gone."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str = ""
    """The address that it came from."""


@dataclass(frozen=True)
class Response:
    """What a client gets. The server adds length, date and those security headers that ``headers`` leaves out."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], "Response | Future[Response]"]
Respond = Callable[[Response], None]
"""Takes the one response to a request, on the event loop."""
GiveUp = Callable[[], None]
"""Gives up the work on a request whose client has hung up."""


@dataclass(frozen=True)
class Route:
    """What handles a path. HEAD comes with GET; a ``threaded`` handler may take its time."""

    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    threaded: bool = False


def text_response(status: int, message: str, *headers: tuple[str, str]) -> Response:
    """Return a response of one line of text."""
    return Response(status, f"{message}\n".encode("utf-8", "replace"), TEXT, headers)


def failure_response() -> Response:
    """Return the response for a mistake of ours."""
    return text_response(500, "500 Internal Server Error: the log has the reason")
