"""The composition root: makes every object, starts and stops them in order, owns signals and reload."""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import FrameType

from exporter import __version__
from exporter.config.load import Account, Config, load
from exporter.errors import ConfigError
from exporter.metrics.catalogue import FAMILIES, account_key
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.options import Options
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.scheduler import Scheduler
from exporter.polling.shards import accounts_of_shard
from exporter.polling.slots import Slots
from exporter.providers import PROVIDERS
from exporter.readings import AccountKey, AccountState
from exporter.runtime.clock import Clock, SystemClock
from exporter.runtime.redaction import Redactor
from exporter.runtime.systemd import Notifier
from exporter.state.sqlite import StateFile
from exporter.status.page import StatusPage
from exporter.transport.client import Transport
from exporter.web.server import Request, Response, Route, Server

logger = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # malloc.h
HEARTBEAT_MISSED = 120.0
"""Seconds without a sign of life from the scheduler after which the exporter is not healthy."""
GRACE = 2.0
"""Seconds that polls under way have to end by themselves when the exporter stops; then they are cut."""


class Transports:
    """One transport for each base URL and authority, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._transports: dict[tuple[str, Path | None], Transport] = {}

    def of(self, account: Account) -> Transport:
        """Return the connections to the account's vendor."""
        where = account.base_url, account.ca_file
        with self._lock:
            if where not in self._transports:
                agent = f"video-api-exporter/{__version__}"
                self._transports[where] = Transport(account.base_url, agent, account.ca_file)
            return self._transports[where]

    def abort(self) -> None:
        """Cut every call in flight."""
        with self._lock:
            for transport in self._transports.values():
                transport.abort()


def serve(
    options: Options,
    environ: Mapping[str, str],
    redactor: Redactor,
    announce: Callable[[Sequence[str]], None],
) -> int:
    """Poll and serve until told to stop; return the exit status. Raises UsageError, ConfigError, StartError.

    ``announce`` is called with the addresses that are served, with their real ports.
    """
    _share_malloc_arenas()
    config = _load(options, environ)
    clock = SystemClock()
    state = StateFile.open(config.state_path, clock, exclusive=True) if config.state_path else None
    try:
        return App(options, environ, redactor, clock, config, state).run(announce)
    finally:
        if state is not None:
            state.close()


def _share_malloc_arenas() -> None:
    """Have all threads allocate from one arena.

    By default glibc gives each thread one of its own, which keeps what the thread once needed: with 64 of them
    and 10,000 accounts that was 100 MB. Other C libraries have no mallopt, or no arenas.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _load(options: Options, environ: Mapping[str, str]) -> Config:
    config = load(options.config_file, PROVIDERS, environ)
    for warning in config.warnings:
        logger.warning("%s", warning)
    return config


class App:
    """The daemon: what polls, what serves, and the main thread that waits for signals."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        redactor: Redactor,
        clock: Clock,
        config: Config,
        state: StateFile | None,
    ) -> None:
        self._options = options
        self._environ = environ
        self._clock = clock
        self._config = config
        self._state = state
        self._events: queue.SimpleQueue[_Stop | _Reload] = queue.SimpleQueue()
        self._polling = threading.Event()
        self._stopping = threading.Event()
        self._notifier = Notifier(environ)
        self._metrics = SelfMetrics(
            __version__, environ.get("VIDEO_API_EXPORTER_REVISION", ""), options.shard_index, options.shard_count
        )
        self._metrics.count_state_write_failures(lambda: state.write_failures if state is not None else 0)
        self._exposition = Exposition(FAMILIES, self._metrics.registry, clock)
        self._store = Store(self._exposition, clock)
        self._transports = Transports()
        self._poller = Poller(
            providers=PROVIDERS,
            connect=self._transports.of,
            limits=Limits(clock, state),
            store=self._store,
            save=state.save if state is not None else _save_nothing,
            slots=Slots(clock),
            clock=clock,
            redactor=redactor,
            metrics=self._metrics,
            pause=self._stopping.wait,
            is_stopping=self._stopping.is_set,
        )
        self._scheduler = Scheduler(
            lambda account: self._poller.poll(account).next_due, clock, self._metrics.poll_lag.observe
        )

    def run(self, announce: Callable[[Sequence[str]], None]) -> int:
        """Bind, then serve and poll until told to stop; return the exit status."""
        routes = self._routes()
        server = Server(
            routes,
            self._options.listen_addresses,
            web_config=self._options.web_config_file,
            health_routes={path: routes[path] for path in _HEALTH_PATHS},
            health_address=self._options.health_address,
        )
        server.bind()
        handlers = _handle_signals(self._events)
        try:
            # Who connects meanwhile waits in the backlog: a first scrape without the restored accounts would
            # end all of their series.
            self._apply(self._config)
            server.start()
            for address in server.addresses:
                logger.info("listening on %s", address)
            for address in server.health_addresses:
                logger.info("serving health alone on %s", address)
            announce(server.addresses)
            logger.info(
                "version %s, accounts to poll: %d, from %s",
                __version__,
                len(self._config.accounts),
                self._options.config_file,
            )
            self._scheduler.start()
            self._polling.set()
            self._notifier.send("READY=1", f"STATUS=accounts polled: {len(self._config.accounts)}")
            self._wait()
            self._stop()
            return 0
        finally:
            server.stop(0.5)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _apply(self, config: Config) -> None:
        """Make this configuration the one that is polled and served."""
        mine = accounts_of_shard(config.accounts, self._options.shard_index, self._options.shard_count)
        # An account that is as before stays the same object, by which store and scheduler know it.
        served = ((account, self._store.account(account_key(account))) for account in mine)
        accounts = [before if before == account else account for account, before in served]
        new = [key for key in map(account_key, accounts) if self._store.account(key) is None]
        self._store.replace(accounts, config.label_names, self._state.load(new) if self._state is not None else {})
        if self._state is not None:
            self._state.forget(map(account_key, accounts))
        self._poller.forget(lambda key: self._store.account(key) is not None)
        self._scheduler.replace(accounts, config.concurrency, self._poller.first_due)
        self._metrics.set_accounts(account.provider for account in accounts)
        self._metrics.reload_successful.set(1)
        self._metrics.reload_success_time.set(self._clock.wall())
        self._config = config

    def _wait(self) -> None:
        """Serve events until one says stop; the main thread, so that reloads never overlap."""
        while True:
            try:
                # Not for ever: a signal that comes just before the wait begins would not end it.
                event = self._events.get(timeout=0.5)
            except queue.Empty:
                if self._notifier.wants_watchdog and self._is_healthy():
                    self._notifier.send("WATCHDOG=1")
                continue
            if isinstance(event, _Stop):
                return
            event.result.set_result(self._reload())

    def _reload(self) -> str:
        """Load the configuration again; return the errors as text, empty where it was taken."""
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")
        try:
            config = _load(self._options, self._environ)
        except ConfigError as error:
            self._metrics.reload_successful.set(0)
            logger.error("the configuration was not taken, nothing has changed: %s", error)
            return str(error)
        except Exception:
            # A reload that meets a bug must not end the polls.
            self._metrics.reload_successful.set(0)
            logger.exception("the configuration was not taken")
            return "a bug in the exporter; see its log"
        else:
            if config.state_path != self._config.state_path:
                logger.warning("state.path has changed: it is taken at the next start")
            self._poller.lift_refusals()
            self._apply(config)
            logger.info("the configuration was loaded again, accounts: %d", len(config.accounts))
            return ""
        finally:
            self._exposition.expire_own()
            self._notifier.send("READY=1")

    def _stop(self) -> None:
        logger.info("stopping")
        self._stopping.set()
        self._notifier.send("STOPPING=1")
        if not self._scheduler.stop(GRACE):
            self._transports.abort()
            self._scheduler.stop(1.0)

    def _is_healthy(self) -> bool:
        return self._scheduler.heartbeat_age() < HEARTBEAT_MISSED

    def _routes(self) -> dict[str, Route]:
        return {
            **StatusPage(self._store.views, self._clock, self._options, __version__).routes(),
            self._options.telemetry_path: Route(self._serve_metrics),
            "/-/healthy": Route(self._serve_healthy),
            "/-/ready": Route(self._serve_ready),
            "/-/reload": Route(self._serve_reload, methods=("POST",), threaded=True),
        }

    def _serve_metrics(self, request: Request) -> Response:
        self._store.withdraw_stale()
        body = self._exposition.body(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))
        headers = tuple((name, value) for name, value in body.headers if name != "Content-Type")
        return Response(200, body.data, body.content_type, headers)

    def _serve_healthy(self, _request: Request) -> Response:
        if self._is_healthy():
            return _text(200, "healthy")
        return _text(503, "the scheduler has given no sign of life for two minutes")

    def _serve_ready(self, _request: Request) -> Response:
        if self._stopping.is_set():
            return _text(503, "stopping")
        if not self._polling.is_set() or not self._store.all_settled():
            return _text(503, "the first round of polls is under way")
        return _text(200, "ready")

    def _serve_reload(self, _request: Request) -> Response:
        if not self._options.enable_lifecycle:
            return _text(403, "start the exporter with --web.enable-lifecycle to allow this, or send it SIGHUP")
        event = _Reload()
        self._events.put(event)
        errors = event.result.result()
        return _text(500, errors) if errors else _text(200, "reloaded")


_HEALTH_PATHS = ("/-/healthy", "/-/ready")


class _Stop:
    """Asks the main thread to stop."""


class _Reload:
    """Asks the main thread to reload; ``result`` becomes the errors as text."""

    def __init__(self) -> None:
        self.result: Future[str] = Future()


def _handle_signals(
    events: queue.SimpleQueue[_Stop | _Reload],
) -> dict[int, Callable[[int, FrameType | None], object] | int | None]:
    """Turn signals into events; return the handlers that were there before."""
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if asked:
            # Everything that was learnt is committed; what still runs is a vendor that does not answer.
            os._exit(1)
        asked.append(number)
        events.put(_Stop())

    def reload(_number: int, _frame: FrameType | None) -> None:
        events.put(_Reload())

    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    return {number: signal.signal(number, handler) for number, handler in wanted.items()}


def _save_nothing(_account: AccountKey, _state: AccountState) -> None:
    """Stand in for the state file where none is configured."""


def _text(status: int, message: str) -> Response:
    return Response(status, (message + "\n").encode(), "text/plain; charset=utf-8")
