"""The vendors on loopback. `Vendors` serves any number of accounts.

    with Vendors() as vendors:
        key = vendors.add(vidnavigator_account(monthly_remaining=3))
        ...                                                     # call vendors.vidnavigator_url with that key
        vendors.accounts[key].fault = faults.status(503).times(2)
        vendors.accounts[key].responses["/usage"]["credits"]["purchased"] = 40
        assert len(vendors.requests_of(key)) == 3

An unknown path gets 404, an unknown key 401, and a key over its limit 429. Then the account's fault or its response
follows. Every account is found by its key, so the cost of a request does not grow with their number.
"""

from __future__ import annotations

import math
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from exporter.demo import apis
from exporter.demo.apis import VIDEODB, VIDNAVIGATOR, Api, Json
from exporter.demo.faults import Fault, ReceivedRequest
from exporter.demo.loopback import Exchange, LoopbackServer

Clock = Callable[[], float]
WINDOW_SECONDS = 60.0
BAN_SECONDS = 60.0


class LoggedRequest(NamedTuple):
    """A request as the vendor saw it, with its time (by the Vendors' clock), its key and its path."""

    time: float
    key: str
    path: str


class KeyLimit:
    """A limit of requests for a key in any sliding minute. One request more bans the key for a minute.

    During a ban, requests are refused and not counted, and do not lengthen the ban. Then the count starts at 0.
    """

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
        self.per_minute = per_minute
        self.bans = 0
        self._clock = clock
        self._recent: deque[float] = deque()
        self._banned_until = -math.inf

    def ban_left(self) -> float:
        """Count a request. Return the seconds for which its key stays banned, or 0 if it is allowed."""
        now = self._clock()
        if now < self._banned_until:
            return self._banned_until - now
        while self._recent and self._recent[0] <= now - WINDOW_SECONDS:
            self._recent.popleft()
        if len(self._recent) < self.per_minute:
            self._recent.append(now)
            return 0.0
        self.bans += 1
        self._recent.clear()
        self._banned_until = now + BAN_SECONDS
        return BAN_SECONDS


@dataclass
class SimulatedAccount:
    """The responses of a vendor to one key. You can assign to any field at any time.

    `responses` has the `data` of the response for each path (a list for a path with pages). It may also be a function
    without arguments that returns the `data` or a `Fault`, for accounts that change over time.
    """

    api: Api
    responses: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    rate_limit: KeyLimit | None = None


def videodb_account(
    *, invoices: list[Json] | None = None, auto_recharge: Json | None = None, **usage: Any
) -> SimulatedAccount:
    """Make a VideoDB account whose figures do not change. `usage` is as for `apis.videodb_usage`."""
    if invoices is None:
        invoices = [apis.videodb_invoice(1, time.time() - apis.DAY)]
    responses = {
        "/billing/usage": apis.videodb_usage(**usage),
        "/billing/invoices": invoices,
        "/billing/auto_recharge": auto_recharge or apis.videodb_auto_recharge(),
    }
    return SimulatedAccount(VIDEODB, responses)


def vidnavigator_account(**usage: Any) -> SimulatedAccount:
    """Make a VidNavigator account whose figures do not change. `usage` is as for `apis.vidnavigator_usage`."""
    return SimulatedAccount(VIDNAVIGATOR, {"/usage": apis.vidnavigator_usage(**usage)})


class Vendors:
    """All vendors, each on its own port. It is a context manager that starts and stops them.

    `accounts` maps keys to accounts and may change at any time. Hold `lock` to change several things together.
    `latency_seconds` pass before each response. `clock` times the request log, which keeps the latest `log_limit`
    requests (none with 0).
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        latency_seconds: float = 0.0,
        clock: Clock = time.monotonic,
        log_limit: int = 100_000,
    ) -> None:
        self.accounts: dict[str, SimulatedAccount] = {}
        self.latency_seconds = latency_seconds
        self.lock = threading.RLock()
        self.request_count = 0
        self._clock = clock
        self._log: deque[LoggedRequest] = deque(maxlen=log_limit)
        self._logged = threading.Condition(self.lock)
        self._servers = {
            api.provider: LoopbackServer(lambda exchange, api=api: self._respond(exchange, api), tls)  # type: ignore[misc]  # the default binds the loop variable
            for api in apis.APIS
        }

    def __enter__(self) -> Vendors:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve on free ports of 127.0.0.1."""
        for server in self._servers.values():
            server.start()

    def stop(self) -> None:
        """Stop serving at once, and cut responses that hang."""
        for server in self._servers.values():
            server.stop()

    def url_of(self, api: Api) -> str:
        """Return the base URL of an API."""
        return self._servers[api.provider].origin + api.base_path

    @property
    def videodb_url(self) -> str:
        """Return the base URL of VideoDB's API."""
        return self.url_of(VIDEODB)

    @property
    def vidnavigator_url(self) -> str:
        """Return the base URL of VidNavigator's API, `/v1` included."""
        return self.url_of(VIDNAVIGATOR)

    @property
    def connections_accepted(self) -> int:
        """Return how many connections all vendors have accepted so far."""
        return sum(server.connections_accepted for server in self._servers.values())

    @property
    def connections_open(self) -> int:
        """Return how many connections all vendors hold open now."""
        return sum(server.connections_open for server in self._servers.values())

    def add(self, account: SimulatedAccount, key: str | None = None) -> str:
        """Add an account under this key, or under a new random one, and return the key."""
        key = key or secrets.token_hex(16)
        with self.lock:
            self.accounts[key] = account
        return key

    @property
    def requests(self) -> list[LoggedRequest]:
        """Return the logged requests, oldest first, with those for unknown keys and unknown paths."""
        with self.lock:
            return list(self._log)

    def requests_of(self, key: str) -> list[LoggedRequest]:
        """Return the logged requests with one key, oldest first."""
        return [request for request in self.requests if request.key == key]

    def wait_for_requests(self, count: int, key: str | None = None, timeout: float = 10.0) -> bool:
        """Wait until this many requests, with the key if given, are logged. Return False after `timeout` s."""

        def enough() -> bool:
            return sum(key is None or request.key == key for request in self._log) >= count

        with self._logged:
            return self._logged.wait_for(enough, timeout)

    def _respond(self, exchange: Exchange, api: Api) -> None:
        url = urlsplit(exchange.path)
        path = url.path.removeprefix(api.base_path)
        key = exchange.headers.get(api.key_header, "").removeprefix(api.key_prefix)
        with self.lock:
            self.request_count += 1
            self._log.append(LoggedRequest(self._clock(), key, path))
            self._logged.notify_all()
        if self.latency_seconds:
            exchange.pause(self.latency_seconds)
        if path in api.open_paths:
            exchange.send_json(200, api.open_paths[path])
            return
        if path != api.usage_path and path not in api.other_paths:
            exchange.send_json(404, api.refusal(404, f"There is nothing at {path}."))
            return
        with self.lock:
            account = self.accounts.get(key)
            known = account is not None and account.api is api
            banned = account.rate_limit.ban_left() if account and known and account.rate_limit else 0.0
            fault = self._take_fault(account, path) if account and known and not banned else None
        if account is None or not known:
            exchange.send_json(401, api.refusal(401, "The API key is not valid."))
        elif banned:
            wait = math.ceil(banned)
            refusal = {**api.refusal(429, "Too many requests."), "retry_after_seconds": wait}
            exchange.send_json(429, refusal, {"Retry-After": str(wait)})
        else:
            self._respond_for_account(exchange, account, key, path, url.query, fault)

    def _take_fault(self, account: SimulatedAccount, path: str) -> Fault | None:
        fault = account.fault
        if fault is None or (fault.path is not None and fault.path != path):
            return None
        if fault.remaining is not None:
            account.fault = replace(fault, remaining=fault.remaining - 1) if fault.remaining > 1 else None
        return fault

    def _respond_for_account(
        self,
        exchange: Exchange,
        account: SimulatedAccount,
        key: str,
        path: str,
        query: str,
        fault: Fault | None,
    ) -> None:
        api = account.api
        if path not in account.responses:
            exchange.send_json(404, api.refusal(404, f"This account has nothing at {path}."))
            return
        data = account.responses[path]
        if callable(data):
            data = data()
        if isinstance(data, Fault):
            fault, data = fault or data, None
        if isinstance(data, list):
            try:
                data = apis.page(data, parse_qs(query))
            except ValueError:
                exchange.send_json(400, api.refusal(400, "limit and offset must be numbers of 0 or more."))
                return
        if fault:
            fault.act(ReceivedRequest(exchange, api, key, path, lambda: api.success(data)))
        else:
            exchange.send_json(200, api.success(data))
