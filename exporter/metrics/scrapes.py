"""Answers scrapes. A thread makes a page of which much has changed, so that other clients do not wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from exporter.metrics.page import Body, Exposition
from exporter.metrics.store import Store
from exporter.web.messages import Request, Response

_MOST_STALE = 10
"""Parts that are withdrawn in a few milliseconds."""


class Scrapes:
    """Makes a page on the event loop if that is quick, because a thread takes longer to wake up."""

    def __init__(self, exposition: Exposition, store: Store) -> None:
        self._exposition = exposition
        self._store = store
        self._pool = ThreadPoolExecutor(1, "large-page")
        self._store_free = threading.Lock()  # not while a reload holds the store

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let only the thread wait for the store in the meantime."""
        with self._store_free:
            yield

    def close(self) -> None:
        """Begin no more pages."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def serve(self, request: Request) -> Response | Future[Response]:
        """Return the response to a scrape."""
        accept, encoding = request.headers.get("accept", ""), request.headers.get("accept-encoding", "")
        if self._store_free.acquire(blocking=False):
            try:
                is_current = self._store.withdraw_stale(_MOST_STALE)
                body = self._exposition.quick_body(accept, encoding) if is_current else None
            finally:
                self._store_free.release()
            if body is not None:
                return _response(body)
        return self._pool.submit(self._make, accept, encoding)

    def _make(self, accept: str, encoding: str) -> Response:
        self._store.withdraw_stale()
        return _response(self._exposition.body(accept, encoding))


def _response(body: Body) -> Response:
    headers = tuple((name, value) for name, value in body.headers if name != "Content-Type")
    return Response(200, b"", body.content_type, headers, body.parts)
