"""Requests, responses and routes, which connections and handlers exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """A request. Header names are in lower case. The body is not kept."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str = ""
    """The address that it came from."""


@dataclass(frozen=True)
class Response:
    """A response. The server adds length, date and the security headers that ``headers`` does not set."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    more: tuple[bytes, ...] = ()
    """Sent after ``body``. The parts of a large body are not joined, because a copy takes long."""
    pieces: Iterator[bytes] | None = None
    """What follows, of unknown size. Each piece is made in a thread when the client has taken the one before."""

    @property
    def size(self) -> int:
        """Return the number of bytes of the body, without the ``pieces``."""
        return len(self.body) + sum(map(len, self.more))


Handler = Callable[[Request], "Response | Future[Response]"]
Respond = Callable[[Response], None]
"""Takes the one response to a request, on the event loop."""
GiveUp = Callable[[], None]
"""Gives up the work on a request whose client has hung up."""


@dataclass(frozen=True)
class Route:
    """The handler of a path. HEAD comes with GET. A ``threaded`` handler may block."""

    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    threaded: bool = False


def text_response(status: int, message: str, *headers: tuple[str, str]) -> Response:
    """Return a response that is one line of text."""
    return Response(status, f"{message}\n".encode("utf-8", "replace"), TEXT, headers)


def failure_response() -> Response:
    """Return the response for a fault in the exporter."""
    return text_response(500, "500 Internal Server Error: the log has the reason")
