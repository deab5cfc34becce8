"""Makes every object of the daemon, starts and stops them in order, and reloads the configuration."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from exporter import __version__
from exporter.account_id import AccountId
from exporter.config.accounts import Config
from exporter.config.load import load
from exporter.errors import ConfigError
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.scrapes import Scrapes
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.options import Options
from exporter.polling.holding import Holding
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.polls import Polls
from exporter.polling.requests import Sender
from exporter.polling.shards import accounts_of_shard
from exporter.polling.slots import poll_order
from exporter.providers import PROVIDERS
from exporter.readings import AccountState
from exporter.runtime import garbage
from exporter.runtime.clock import Clock, SystemClock
from exporter.runtime.logs import LogWriter
from exporter.runtime.mainloop import MainLoop
from exporter.runtime.malloc import return_memory, share_arenas
from exporter.runtime.redaction import Redactor
from exporter.runtime.systemd import Notifier
from exporter.state.base import State
from exporter.state.opening import open_history, open_state
from exporter.status.routes import routes as pages
from exporter.transport.transports import Transports
from exporter.web.messages import Request, Response, Route, text_response
from exporter.web.server import Server

logger = logging.getLogger(__name__)


def serve(
    options: Options,
    environ: Mapping[str, str],
    redactor: Redactor,
    log: LogWriter,
    announce: Callable[[Sequence[str]], None],
) -> int:
    """Poll and serve until a signal stops it. Return the exit status. Raise UsageError, ConfigError or StartError.

    ``announce`` is called with the addresses that are served, with their real ports.
    """
    share_arenas()
    config = _load(options, environ)
    clock = SystemClock()
    state = open_state(config.state, clock, exclusive=True) if config.state else None
    try:
        ended = App(options, environ, redactor, state.clock if state else clock, config, state, log).run(announce)
    finally:
        if state is not None:
            state.accounts.close()
    if not ended:
        # The interpreter would wait for the threads of those polls.
        log.close(1.0)
        os._exit(0)
    return 0


def _self_metrics(
    options: Options, environ: Mapping[str, str], state: State | None, holding: Holding | None, log: LogWriter
) -> SelfMetrics:
    metrics = SelfMetrics(
        __version__,
        environ.get("VIDEO_API_EXPORTER_REVISION", ""),
        options.shard_index,
        options.shard_count,
        state_up=(lambda: state.accounts.is_up) if state is not None else None,
        state_write_failures=lambda: state.accounts.write_failures if state is not None else 0,
        log_lines_dropped=lambda: log.dropped,
    )
    if holding is not None:
        metrics.tell_replicas(holding)
    return metrics


def _load(options: Options, environ: Mapping[str, str]) -> Config:
    config = load(options.config_file, PROVIDERS, environ)
    for warning in config.warnings:
        logger.warning("%s", warning)
    return config


class App:
    """The daemon, with its polls, its HTTP server, and the main thread that waits for signals."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        redactor: Redactor,
        clock: Clock,
        config: Config,
        state: State | None,
        log: LogWriter,
    ) -> None:
        self._options = options
        self._environ = environ
        self._clock = clock
        self._config = config
        self._state = state
        # A reload changes the configuration, but not the state that this process uses.
        self._history = partial(open_history, config.state) if config.state is not None else None
        self._main_loop = MainLoop(self._load_again, self._finish_reload, self._feed_watchdog)
        self._polling = threading.Event()
        self._stopping = threading.Event()
        self._notifier = Notifier(environ)
        holding = _holding(options, clock, state)
        self._metrics = _self_metrics(options, environ, state, holding, log)
        self._exposition = Exposition(FAMILIES, self._metrics.registry, clock)
        self._store = Store(self._exposition, clock, poll_order)
        self._scrapes = Scrapes(self._exposition, self._store)
        self._transports = Transports()
        self._poller = Poller(
            providers=config.providers,
            sender=Sender(
                self._transports.of,
                _limits(clock, state),
                redactor,
                clock,
                self._stopping.wait,
            ),
            store=self._store,
            save=state.accounts.save if state is not None else _save_nothing,
            metrics=self._metrics,
            is_stopping=self._stopping.is_set,
            note_key=holding.note_key if holding is not None else None,
        )
        self._polls = Polls(self._poller, clock, self._metrics.poll_lag.observe, holding)

    def run(self, announce: Callable[[Sequence[str]], None]) -> bool:
        """Bind, then serve and poll until a signal stops it. Return whether every poll has ended."""
        routes = self._routes()
        server = Server(
            routes,
            self._options.listen_addresses,
            web_config=self._options.web_config_file,
            health_routes={path: routes[path] for path in _HEALTH_PATHS},
            health_address=self._options.health_address,
            allowed_hosts=self._options.allowed_hosts,
        )
        server.bind()
        handlers = self._main_loop.handle_signals()
        try:
            # Do not accept clients yet. A scrape before the state is restored would show no accounts, and Prometheus
            # would mark their series stale.
            self._apply(self._config)
            server.start()
            for address in server.addresses:
                logger.info("listening on %s", address)
            for address in server.health_addresses:
                logger.info("serving only health checks on %s", address)
            announce(server.addresses)
            logger.info(
                "version %s, accounts to poll: %d, from %s",
                __version__,
                len(self._config.accounts),
                self._options.config_file,
            )
            garbage.collect()
            self._polls.start()
            self._polling.set()
            self._notifier.send("READY=1", f"STATUS=accounts polled: {len(self._config.accounts)}")
            self._main_loop.run()
            return self._stop()
        finally:
            server.stop(0.5)
            self._scrapes.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _apply(self, config: Config) -> None:
        """Poll and serve this configuration from now on."""
        # An unchanged account stays the same object, because store and scheduler compare the objects. The configuration
        # takes them too, because it would keep all accounts a second time.
        served = ((account, self._store.account(account.id)) for account in config.accounts)
        same = tuple(before if before is not None and before == account else account for account, before in served)
        config = replace(config, accounts=same)
        accounts = accounts_of_shard(same, self._options.shard_index, self._options.shard_count)
        new = [account.id for account in accounts if self._store.account(account.id) is None]
        with self._scrapes.waiting():
            self._store.replace(
                accounts, config.label_names, self._state.accounts.load(new) if self._state is not None else {}
            )
        self._polls.use(config, accounts)
        self._metrics.set_accounts(account.provider for account in accounts)
        if self._state is not None:
            # Last, because it cannot be undone.
            self._state.accounts.kept = config.history
            self._state.accounts.forget(account.id for account in accounts)
        self._metrics.reload_successful.set(1)
        self._metrics.reload_success_time.set(self._clock.wall())
        self._config = config
        return_memory()  # of 1.5 GB after a reload of 100,000 accounts it is 260 MB

    def _feed_watchdog(self) -> None:
        if self._notifier.wants_watchdog and self._polls.scheduler.trouble() is None:
            self._notifier.send("WATCHDOG=1")

    def _load_again(self) -> Config:
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")
        return _load(self._options, self._environ)

    def _finish_reload(self, loaded: Future[Config]) -> str:
        """Apply the loaded configuration, or keep the old one. Return the errors as text, empty if it was applied."""
        before = self._config
        try:
            config = loaded.result()
            if config.state != before.state:
                logger.warning("state has changed; restart the exporter to use the new one")
            self._apply(config)
            self._poller.lift_refusals()
        except ConfigError as error:
            self._metrics.reload_successful.set(0)
            logger.error("configuration reload failed; keeping the old configuration: %s", error)
            return str(error)
        except Exception:
            logger.exception("configuration reload failed; keeping the old configuration")
            self._restore(before)
            self._metrics.reload_successful.set(0)
            return "unexpected exception; see the exporter's log"
        else:
            logger.info("configuration reloaded, accounts: %d", len(config.accounts))
            return ""
        finally:
            self._exposition.expire_own()
            self._notifier.send("READY=1")

    def _restore(self, config: Config) -> None:
        try:
            self._apply(config)
        except Exception:
            logger.exception("the old configuration could not be put back; restart the exporter")

    def _stop(self) -> bool:
        """Stop polling. Return whether every poll has ended."""
        logger.info("stopping")
        self._stopping.set()
        self._notifier.send("STOPPING=1")
        if self._polls.stop(self._transports.abort):
            return True
        logger.warning("stopping, although some polls have not ended")
        return False

    def _routes(self) -> dict[str, Route]:
        return {
            **pages(self._store, self._history, self._clock, self._options, __version__, lambda: self._config.history),
            self._options.telemetry_path: Route(self._scrapes.serve),
            "/-/healthy": Route(self._serve_healthy),
            "/-/ready": Route(self._serve_ready),
            "/-/reload": Route(self._serve_reload, methods=("POST",)),
        }

    def _serve_healthy(self, _request: Request) -> Response:
        trouble = self._polls.scheduler.trouble()
        return text_response(503, trouble) if trouble else text_response(200, "healthy")

    def _serve_ready(self, _request: Request) -> Response:
        if self._stopping.is_set():
            return text_response(503, "stopping")
        if self._polls.waits_for_database:
            return text_response(503, "the state database has not been reached yet")
        if (
            not self._polling.is_set()
            or not self._polls.is_current
            or not self._store.first_polls_done(self._polls.waiting)
        ):
            return text_response(503, "the first round of polls is under way")
        return text_response(200, "ready")

    def _serve_reload(self, _request: Request) -> Response | Future[Response]:
        if not self._options.enable_lifecycle:
            return text_response(403, "start the exporter with --web.enable-lifecycle to allow this, or send it SIGHUP")
        response: Future[Response] = Future()
        self._main_loop.reload().add_done_callback(lambda done: response.set_result(_reload_response(done.result())))
        return response


_HEALTH_PATHS = ("/-/healthy", "/-/ready")


def _reload_response(errors: str | None) -> Response:
    if errors is None:
        return text_response(503, "the exporter is stopping")
    return text_response(500, errors) if errors else text_response(200, "reloaded")


def _holding(options: Options, clock: Clock, state: State | None) -> Holding | None:
    if state is None or state.replicas is None:
        return None
    return Holding(state.replicas, (options.shard_index, options.shard_count), clock)


def _limits(clock: Clock, state: State | None) -> Limits:
    if state is None:
        return Limits(clock, None)
    if state.replicas is None:
        return Limits(clock, state.keys)
    return Limits(clock, state.keys, state.replicas.share)


def _save_nothing(_account: AccountId, state: AccountState) -> AccountState:
    """Stand in for the state file where none is configured."""
    return state
