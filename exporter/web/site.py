"""Leads each request to its handler, or refuses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from exporter.runtime.throttle import ThrottledLog
from exporter.web.auth import Authenticator
from exporter.web.headers import add_missing
from exporter.web.messages import (
    GiveUp,
    Handler,
    Request,
    Respond,
    Response,
    Route,
    failure_response,
    text_response,
)
from exporter.web.origin import host_name, is_cross_site, is_host_allowed
from exporter.web.rate_limit import TokenBucket
from exporter.web.settings import WebConfig

if TYPE_CHECKING:
    from exporter.web.config_file import WebConfigFile

logger = logging.getLogger(__name__)

_NOT_CONFIGURED = WebConfig()


class Site:
    """The routes, with the web configuration and the rules for browsers. Used on the event loop only."""

    def __init__(self, routes: Mapping[str, Route], allowed_hosts: Iterable[str] = ()) -> None:
        """Raise UsageError for an allowed host that is not a host name."""
        self.web: WebConfigFile | None = None
        self._routes = dict(routes)
        self._allowed_hosts = frozenset(map(host_name, allowed_hosts))
        self._bucket = TokenBucket()
        self._authenticator = Authenticator()
        self._pool = ThreadPoolExecutor(1, "http-handler")
        self._logger = ThrottledLog(logger)

    def close(self) -> None:
        """Cancel the handlers that have not begun. Call this when the event loop has ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._authenticator.close()

    def config(self) -> WebConfig:
        """Return the present web configuration."""
        return _NOT_CONFIGURED if self.web is None else self.web.current()

    def handle(self, request: Request, respond: Respond) -> GiveUp | None:
        """Call ``respond`` with the response, at once or later. Return what gives a waiting login up."""
        config = self.config()
        send = partial(_send_with, config.headers, respond) if config.headers else respond
        if not is_host_allowed(request.headers.get("host", ""), self._allowed_hosts):
            send(text_response(421, "421 Misdirected Request: --web.allowed-hosts does not have this host"))
        elif is_cross_site(request):
            send(text_response(403, "403 Forbidden: a page of another site cannot send this"))
        elif config.rate_limit is not None and not self._bucket.take(config.rate_limit):
            send(text_response(429, "429 Too Many Requests: rate_limit of the web configuration"))
        elif config.users:
            return self._authenticator.check(config.users, request, send, lambda: self._route(request, send))
        else:
            self._route(request, send)
        return None

    def _route(self, request: Request, respond: Respond) -> None:
        # A path of one name and a slash leads everything below it.
        route = self._routes.get(request.path) or self._routes.get(f"/{request.path[1:].partition('/')[0]}/")
        if route is None:
            respond(text_response(404, "404 Not Found"))
            return
        methods = (*route.methods, "HEAD") if "GET" in route.methods else route.methods
        if request.method not in methods:
            allow = ", ".join(methods)
            respond(text_response(405, f"405 Method Not Allowed: use {allow}", ("allow", allow)))
        elif route.threaded:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._pool, self._call, route.handler, request)
            future.add_done_callback(lambda done: None if done.cancelled() else self._deliver(done.result(), respond))
        else:
            self._deliver(self._call(route.handler, request), respond)

    def _call(self, handler: Handler, request: Request) -> Response | Future[Response]:
        try:
            response = handler(request)
            if not isinstance(response, (Response, Future)):
                raise TypeError(f"a handler returned {type(response).__name__}, not a Response")
        except Exception:
            self._logger.exception("the response to %s %s failed", request.method, request.path)
            return failure_response()
        return response

    def _deliver(self, response: Response | Future[Response], respond: Respond) -> None:
        if isinstance(response, Response):
            respond(response)
        else:
            asyncio.wrap_future(response).add_done_callback(partial(self._deliver_later, respond))

    def _deliver_later(self, respond: Respond, made: asyncio.Future[Response]) -> None:
        if made.cancelled():
            return
        error = made.exception()
        if error is not None:
            self._logger.error("a response failed", exc_info=error)
        respond(failure_response() if error is not None else made.result())


def _send_with(headers: tuple[tuple[str, str], ...], respond: Respond, response: Response) -> None:
    respond(add_missing(response, headers))
