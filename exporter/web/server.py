"""HTTP: sockets, routes, and the one thread that serves every client.

``Server`` owns the listeners and all connections; ``connection`` owns what one connection may do;
``config``, ``tls`` and ``auth`` own TLS, headers and passwords.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import ipaddress
import logging
import os
import re
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exporter.errors import StartError, UsageError
from exporter.runtime.throttle import ThrottledLog
from exporter.web.auth import Gate
from exporter.web.config import WebConfig
from exporter.web.config_file import WebConfigFile
from exporter.web.connection import FAILED, Connection, Limits, Phase, Request, Response, text_response
from exporter.web.origin import host_name, is_cross_site, is_host_allowed

__all__ = ["Handler", "Limits", "Request", "Response", "Route", "Server"]

logger = logging.getLogger(__name__)

Handler = Callable[[Request], "Response | Future[Response]"]
_Reply = Callable[[Response], None]

DEFAULT_LIMITS = Limits()
_BACKLOG = 1024
_SEND_BUFFER = 212_992
"""Bytes: the most that Linux grants without further settings."""
_CROWD = 100
"""So many clients fewer than there were, and memory is returned."""
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Route:
    """What answers a path. HEAD comes with GET. A ``threaded`` handler may compute, one that waits returns a future."""

    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    threaded: bool = False


def parse_address(text: str) -> tuple[str | None, int]:
    """Return host (None for all interfaces) and port of a listen address; raises UsageError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"listen address {text!r}: write HOST:PORT, [IPV6]:PORT or :PORT, with a port from 0 to 65535")
    return match["v6"] or match["host"] or None, int(match["port"])


def _listen(address: str) -> socket.socket:
    """Return a listening socket; raise UsageError or StartError, which name the address."""
    host, port = parse_address(address)
    try:
        if host is None:
            return _listen_everywhere(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # As other exporters do: of a name's addresses the first IPv4 one.
        family, _, _, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
        return _bound(family, where)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"cannot listen on {address}: {reason}") from None


def _listen_everywhere(port: int) -> socket.socket:
    try:
        return _bound(socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104  asked for, by a listen address without a host


def _bound(family: int, where: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
        sock.bind(where)
        # With SO_REUSEADDR it is only here that a taken port is noticed for certain.
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class _Site:
    """What is served on a listener: routes, and who may have them."""

    def __init__(self, routes: Mapping[str, Route], allowed_hosts: Iterable[str] = ()) -> None:
        self.web: WebConfigFile | None = None
        self._routes = dict(routes)
        self._logger = ThrottledLog(logger)
        self._allowed_hosts = frozenset(map(host_name, allowed_hosts))

    def config(self) -> WebConfig:
        """Return what the web configuration says now."""
        return WebConfig() if self.web is None else self.web.current()

    def answer(self, request: Request, reply: _Reply, gate: Gate, pool: Executor) -> None:
        """Call ``reply`` with the answer, at once or later."""
        config = self.config()
        send = _with_headers(reply, config.headers) if config.headers else reply
        if not is_host_allowed(request.headers.get("host", ""), self._allowed_hosts):
            send(text_response(421, "421 Misdirected Request: --web.allowed-hosts does not have this host"))
        elif is_cross_site(request):
            send(text_response(403, "403 Forbidden: a page of another site cannot send this"))
        else:
            gate.ask(config, request, send, lambda: self._route(request, send, pool))

    def _route(self, request: Request, reply: _Reply, pool: Executor) -> None:
        route = self._routes.get(request.path)
        if route is None:
            reply(text_response(404, "404 Not Found"))
            return
        methods = (*route.methods, "HEAD") if "GET" in route.methods else route.methods
        if request.method not in methods:
            allow = ", ".join(methods)
            reply(text_response(405, f"405 Method Not Allowed: use {allow}", ("allow", allow)))
        elif route.threaded:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(pool, self._call, route.handler, request)
            future.add_done_callback(lambda done: None if done.cancelled() else _deliver(done.result(), reply))
        else:
            _deliver(self._call(route.handler, request), reply)

    def _call(self, handler: Handler, request: Request) -> Response | Future[Response]:
        try:
            response = handler(request)
            if not isinstance(response, (Response, Future)):
                raise TypeError(f"a handler returned {type(response).__name__}, not a Response")
        except Exception:
            self._logger.exception("the answer to %s %s failed", request.method, request.path)
            return text_response(500, FAILED)
        return response


def _with_headers(reply: _Reply, headers: tuple[tuple[str, str], ...]) -> _Reply:
    def send(response: Response) -> None:
        given = {name.lower() for name, _ in response.headers}
        more = tuple((name, value) for name, value in headers if name not in given)
        reply(replace(response, headers=(*response.headers, *more)))

    return send


def _deliver(response: Response | Future[Response], reply: _Reply) -> None:
    if isinstance(response, Response):
        reply(response)
    else:
        asyncio.wrap_future(response).add_done_callback(lambda done: reply(done.result()))


class Server:
    """Serves ``routes`` on every address of ``listen`` and ``health_routes`` on ``health_address``.

    Raises UsageError for an entry of ``allowed_hosts`` that is none; the health address answers any host.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        listen: Sequence[str],
        *,
        web_config: Path | None = None,
        health_routes: Mapping[str, Route] | None = None,
        health_address: str | None = None,
        allowed_hosts: Iterable[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._site = _Site(routes, allowed_hosts)
        self._health = _Site(health_routes or {})
        self._listen = tuple(listen)
        self._health_address = health_address
        self._web_config = web_config
        self._limits = limits
        self._listeners: list[tuple[socket.socket, _Site]] = []
        self._logger = ThrottledLog(logger)
        self._connections: set[Connection] = set()
        self._most = 0
        self._gate = Gate(limits.password_checks)
        self._pool = ThreadPoolExecutor(1, "http-handler")
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._grace = 0.0
        self._failure: Exception | None = None
        self._emptied: asyncio.Event | None = None
        self.addresses: tuple[str, ...] = ()
        self.health_addresses: tuple[str, ...] = ()

    def bind(self) -> None:
        """Take every address; raise UsageError, StartError or ConfigError, and then hold none."""
        for address in (*self._listen, *filter(None, [self._health_address])):
            parse_address(address)
        if self._web_config is not None:
            self._site.web = WebConfigFile(self._web_config, os.environ)
        try:
            for address in self._listen:
                self._listeners.append((_listen(address), self._site))
            if self._health_address is not None:
                self._listeners.append((_listen(self._health_address), self._health))
        except BaseException:
            self._close_listeners()
            raise
        scheme = "https" if self._site.config().tls else "http"
        self.addresses = tuple(_url(scheme, sock) for sock, site in self._listeners if site is self._site)
        self.health_addresses = tuple(_url("http", sock) for sock, site in self._listeners if site is self._health)

    def start(self) -> None:
        """Begin to serve, in a thread of its own; return when clients are served. Raises StartError."""
        serving = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(serving,), name="http", daemon=True)
        self._thread.start()
        serving.wait()
        if self._failure is not None:
            raise StartError(f"the HTTP server cannot start: {self._failure}")
        if self._site.web is not None:
            self._site.web.follow()

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def stop(self, grace: float) -> None:
        """Take no more clients, let answers under way go out for ``grace`` seconds, then cut them."""
        if self._site.web is not None:
            self._site.web.stop()
        thread, self._thread = self._thread, None
        if thread is None:
            self._close_listeners()
            return
        self._grace = grace
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._gate.close()

    def _close_listeners(self) -> None:
        for listener, _ in self._listeners:
            listener.close()
        self._listeners.clear()

    def _run(self, serving: threading.Event) -> None:
        try:
            asyncio.run(self._serve(serving))
        except Exception as error:
            self._failure = error
            logger.exception("the HTTP server ended")
        finally:
            serving.set()

    def _log_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Log what nobody was there to be told: a client's doing quietly, a mistake of ours with its traceback."""
        error = context.get("exception")
        if isinstance(error, OSError):
            logger.debug("a connection failed: %s", error)
        else:
            exc_info = error if isinstance(error, Exception) else None
            self._logger.error("unexpected error in the HTTP server: %s", context.get("message"), exc_info=exc_info)

    async def _serve(self, serving: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._log_loop_error)
        self._stopping = asyncio.Event()
        tasks = [asyncio.create_task(self._accept(listener, site)) for listener, site in self._listeners]
        tasks.append(asyncio.create_task(self._sweep()))
        serving.set()
        await self._stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close_listeners()
        await self._drain()

    async def _drain(self) -> None:
        for connection in tuple(self._connections):
            connection.finish()
        await self._wait_until_empty(self._grace)
        for connection in tuple(self._connections):
            connection.abort()
        await self._wait_until_empty(1.0)

    async def _wait_until_empty(self, seconds: float) -> None:
        if self._connections:
            self._emptied = asyncio.Event()
            try:
                await asyncio.wait_for(self._emptied.wait(), seconds)
            except asyncio.TimeoutError:
                return

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._emptied is not None:
            self._emptied.set()

    async def _accept(self, listener: socket.socket, site: _Site) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._logger.warning(
                        "closed the client that has waited longest, because another one came and %s", _shortage(error)
                    )
                    # A client that was cut gives its descriptor back within a turn of the loop or two.
                    pause = 0.001 if self._connections else 0.1
                    self._make_room()
                    await asyncio.sleep(pause)
                continue
            if len(self._connections) >= self._limits.connections:
                self._make_room()
            try:
                self._take(sock, address[0], site)
            except Exception:
                # One client that cannot be served must not end the service to all.
                self._logger.exception("a client could not be served")
                sock.close()

    def _take(self, sock: socket.socket, client: str, site: _Site) -> None:
        # asyncio does this only for sockets that name their protocol. Without it the end of an answer waits 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Left alone the kernel takes in 4 MB for each reader that stops; with less it is also faster.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # The kernel may hold all of an answer: this bounds the time that it waits for a reader.
            milliseconds = int(self._limits.response * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        config = site.config()
        connection = Connection(
            asyncio.get_running_loop(),
            self._limits,
            lambda request, reply: site.answer(request, reply, self._gate, self._pool),
            lambda tls: self._is_allowed(tls, config.allowed_sans),
            self._lost,
            self._logger,
        )
        self._connections.add(connection)
        self._most = max(self._most, len(self._connections))
        connection.open(sock, config.tls, client)

    def _is_allowed(self, tls: ssl.SSLObject, sans: frozenset[str]) -> bool:
        """Return whether the client's certificate has one of the names, or none is asked for."""
        if not sans:
            return True
        names: Iterable[Any] = (tls.getpeercert() or {}).get("subjectAltName", ())
        found = {_as_go_writes(kind, name) for kind, name in names}
        if found & sans:
            return True
        self._logger.warning("refused a client certificate: client_allowed_sans has none of %s", sorted(found))
        return False

    def _make_room(self) -> None:
        """Close the client that has waited longest: one that takes in an answer only if no other is left."""
        if self._connections:
            oldest = min(self._connections, key=lambda each: (each.phase is Phase.RESPONSE, each.since))
            oldest.abort()
            self._lost(oldest)

    async def _sweep(self) -> None:
        limits = self._limits
        loop = asyncio.get_running_loop()
        pause = min(1.0, limits.request / 4, limits.idle / 4, limits.response / 4)
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            if self._most - len(self._connections) >= _CROWD:
                self._most = len(self._connections)
                _return_memory()
            for connection in [each for each in self._connections if each.deadline < now]:
                try:
                    connection.expire()
                except Exception:
                    self._logger.exception("a connection could not be ended")


def _return_memory() -> None:
    """Have glibc return what it holds free: of 500 TLS clients that is 27 MB. Other C libraries have no such call."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _as_go_writes(kind: str, name: str) -> str:
    return str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name


def _url(scheme: str, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _shortage(error: OSError) -> str:
    """Return what there is too little of, and where an operator raises it."""
    if error.errno == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"all {limit} file descriptors are in use; raise LimitNOFILE= of the systemd unit, or `ulimit -n`"
    if error.errno == errno.ENFILE:
        return "the machine has no file descriptor left; raise its fs.file-max"
    return f"the kernel has too little memory ({error.strerror})"
