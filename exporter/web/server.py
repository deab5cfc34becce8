"""Listens for HTTP clients and serves all of them in one thread.

``site`` chooses the response, ``connection`` limits one client, and ``clients`` limits all of them together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exporter.errors import StartError
from exporter.runtime.throttle import ThrottledLog
from exporter.web.clients import Clients
from exporter.web.connection import ClientLimits, Connection
from exporter.web.hang_ups import HangUps
from exporter.web.listen import listen, parse_address, set_options, shortage, url
from exporter.web.messages import Route
from exporter.web.site import Site
from exporter.web.tls import client_names

logger = logging.getLogger(__name__)

DEFAULT_LIMITS = ClientLimits()


class Server:
    """Serves ``routes`` on every address of ``listen`` and ``health_routes`` on ``health_address``.

    The health address serves any host. Raises UsageError for an entry of ``allowed_hosts`` that is not a host name.
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
        limits: ClientLimits = DEFAULT_LIMITS,
    ) -> None:
        self._site = Site(routes, allowed_hosts)
        self._health = Site(health_routes or {})
        self._listen = tuple(listen)
        self._health_address = health_address
        self._web_config = web_config
        self._limits = limits
        self._listeners: list[tuple[socket.socket, Site]] = []
        self._logger = ThrottledLog(logger)
        self._clients = Clients(limits, self._logger)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._grace = 0.0
        self._failure: Exception | None = None
        self.addresses: tuple[str, ...] = ()
        self.health_addresses: tuple[str, ...] = ()

    def bind(self) -> None:
        """Listen on every address, or on none if one fails. Raises UsageError, StartError or ConfigError."""
        for address in (*self._listen, *filter(None, [self._health_address])):
            parse_address(address)
        if self._web_config is not None:
            from exporter.web.config_file import WebConfigFile  # with models that no other start needs

            self._site.web = WebConfigFile(self._web_config, os.environ)
        try:
            for address in self._listen:
                self._listeners.append((listen(address), self._site))
            if self._health_address is not None:
                self._listeners.append((listen(self._health_address), self._health))
        except BaseException:
            self._close_listeners()
            raise
        scheme = "https" if self._site.config().tls else "http"
        self.addresses = tuple(url(scheme, sock) for sock, site in self._listeners if site is self._site)
        self.health_addresses = tuple(url("http", sock) for sock, site in self._listeners if site is self._health)

    def start(self) -> None:
        """Start the serving thread, and return when it serves. Raises StartError."""
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
        return len(self._clients)

    def stop(self, grace: float) -> None:
        """Accept no more clients, wait up to ``grace`` seconds for responses under way, then cut the rest."""
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
        self._site.close()
        self._health.close()

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
        """Log an uncaught exception. A client's is debug, a fault in the exporter an error with traceback."""
        error = context.get("exception")
        if isinstance(error, OSError):
            logger.debug("a connection failed: %s", error)
        else:
            exc_info = error if isinstance(error, Exception) else None
            self._logger.error("unexpected error in the HTTP server: %s", context.get("message"), exc_info=exc_info)

    async def _serve(self, serving: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._log_loop_error)
        self._loop.set_default_executor(ThreadPoolExecutor(1, "http-pieces"))
        self._stopping = asyncio.Event()
        hang_ups = HangUps(self._loop)
        tasks = [asyncio.create_task(self._accept(listener, site, hang_ups)) for listener, site in self._listeners]
        tasks.append(asyncio.create_task(self._clients.sweep()))
        serving.set()
        await self._stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close_listeners()
        await self._clients.drain(self._grace)
        hang_ups.close()

    async def _accept(self, listener: socket.socket, site: Site, hang_ups: HangUps) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                lacking = shortage(error)
                if lacking is not None:
                    await self._make_room(lacking)
                continue
            try:
                self._take(sock, address[0], site, hang_ups)
            except Exception:
                # A client that cannot be served must not stop the service for others.
                self._logger.exception("a client could not be served")
                sock.close()
            # sock_accept does not wait while clients are in the backlog. Without this no other task would run.
            await asyncio.sleep(0)

    async def _make_room(self, lacking: str) -> None:
        self._logger.warning("closed a client that waited, because another one came and %s", lacking)
        # The descriptor of a cut client is free after one or two turns of the loop.
        pause = 0.001 if len(self._clients) else 0.1
        self._clients.make_room()
        await asyncio.sleep(pause)

    def _take(self, sock: socket.socket, client: str, site: Site, hang_ups: HangUps) -> None:
        set_options(sock, self._limits.response_seconds)
        config = site.config()
        connection = Connection(
            asyncio.get_running_loop(),
            self._limits,
            site.handle,
            lambda tls: self._admits(tls, config.allowed_sans),
            self._clients.remove,
            self._logger,
            hang_ups.watch,
        )
        self._clients.add(connection, client)
        connection.open(sock, config.tls, client)

    def _admits(self, tls: ssl.SSLObject, sans: frozenset[str]) -> bool:
        """Return whether the client's certificate has one of the names. Without names every certificate is admitted."""
        names = client_names(tls) if sans else frozenset()
        if sans and not names & sans:
            self._logger.warning("refused a client certificate: client_allowed_sans has none of %s", sorted(names))
            return False
        return True
