"""Six days of an account, polled by the real poller on simulated time, as samples for Prometheus.

A `Life` is the account at its vendor, a `Run` an exporter that polls it for a while. `scrape` brings both together
and returns every series that the rules read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.config.credentials import KeySource
from exporter.config.thresholds import DEFAULTS
from exporter.demo import apis
from exporter.errors import PollError
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.readings import AccountState
from exporter.runtime.redaction import Redactor
from exporter.transport.client import RawResponse
from tests.alerts.programs import RULES

HOURS = 144
STEP = 600
"""Seconds between two scrapes, and between two polls."""
MONTH = 720.0
"""Hours of a billing period, so that a limit of 720 is a credit an hour."""

READ = {name for path in RULES.glob("*.yml") for name in re.findall(r"\bvideo_api_\w+", path.read_text())}
SCRAPED = [family for family in FAMILIES if family.name in READ]

Series = dict[str, list[float | None]]
"""By name and labels, one value a scrape; None where the series is not there."""


@dataclass
class Life:
    """An account at its vendor; times are hours since the beginning, `rate` gives credits an hour."""

    provider: str = "vidnavigator"
    rate: Callable[[float], float] = lambda hour: 0.0
    monthly: float = 600
    limit: float | None = 720
    purchased: float = 0
    period_ends: float = 480
    events: dict[float, Callable[[Life], None]] = field(default_factory=dict)
    trouble: Callable[[float], RawResponse | PollError | None] = lambda hour: None
    change: Callable[[apis.Json, float], Any] = lambda data, hour: data
    """What is different in the response."""
    billing: Mapping[str, Callable[[float], Any]] = field(default_factory=dict)
    now: float = 0.0

    def advance(self, hour: float) -> None:
        """Spend until then, monthly credits first; what happens on the way happens on time."""
        while self.now < hour:
            stops = [hour, self.period_ends, *self.events]
            until = min(stop for stop in stops if stop > self.now)
            cost = self.rate((self.now + until) / 2) * (until - self.now) if self.limit is not None else 0.0
            from_month = min(cost, self.monthly)
            self.monthly -= from_month
            self.purchased = max(0.0, self.purchased - (cost - from_month))
            self.now = until
            if until == self.period_ends and self.provider == "vidnavigator":
                self.monthly, self.period_ends = self.limit or 0.0, until + MONTH
            if until in self.events:
                self.events[until](self)

    def data(self, path: str) -> Any:
        """Return the `data` of a response."""
        if path in self.billing:
            return self.billing[path](self.now)
        if self.provider == "videodb":
            return self.change(apis.videodb_usage(balance=round(self.monthly + self.purchased, 6)), self.now)
        ends = self.period_ends * 3600
        plan = apis.Plan("pro", "Voyager", None if self.limit is None else int(self.limit), 500 * apis.GIB, 15)
        usage = apis.vidnavigator_usage(
            plan=plan,
            monthly_remaining=round(self.monthly, 6),
            purchased=round(self.purchased, 6),
            period=(ends - MONTH * 3600, ends),
            generated_at=self.now * 3600,
        )
        return self.change(usage, self.now)


@dataclass(frozen=True)
class Run:
    """One exporter process, from one hour to another; a restart is a second one of the same instance."""

    instance: str
    begins: float = 0
    ends: float = HOURS + 1
    keeps_state: bool = True
    zone: str = "a"
    """A label that its targets have."""


class _Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class _Vendor:
    """The connection to one life."""

    def __init__(self, life: Life, clock: _Clock) -> None:
        self.life, self.clock = life, clock

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float, body: object = None
    ) -> RawResponse:
        hour = self.clock.now / 3600
        self.life.advance(hour)
        trouble = self.life.trouble(hour)
        if isinstance(trouble, PollError):
            raise trouble
        if trouble is not None:
            return trouble
        api = apis.VIDEODB if self.life.provider == "videodb" else apis.VIDNAVIGATOR
        return RawResponse(200, {}, api.success(self.life.data(path)))


class _Exporter:
    """The exporter's own poller and store over one life."""

    def __init__(self, account: Account, life: Life, now: float, state: AccountState | None) -> None:
        self.clock = _Clock(now)
        metrics = SelfMetrics("1", "", 0, 1)
        self.store = Store(Exposition(FAMILIES, metrics.registry, self.clock), self.clock)
        key: AccountId = (account.provider, account.name)
        self.account, self.state = account, state
        self.store.replace([account], sorted(account.labels), {key: state} if state else {})
        self.poller = Poller(
            providers=PROVIDERS,
            sender=Sender(
                lambda _account: _Vendor(life, self.clock),
                Limits(self.clock, None),
                Redactor(),
                self.clock,
                lambda seconds: None,
            ),
            store=self.store,
            save=self._save,
            metrics=metrics,
        )
        self.due = self.poller.first_due(account)

    def _save(self, _key: AccountId, state: AccountState) -> AccountState:
        self.state = state
        return state

    def scrape(self, now: float) -> Iterator[tuple[str, dict[str, str], float]]:
        """Poll what is due by now; yield name, labels and value of what is exported."""
        while self.due <= now:
            self.clock.now = self.due
            self.due = self.poller.poll(self.account).next_due
        self.clock.now = now
        view = self.store.views()[0]
        own = {"provider": self.account.provider, "account": self.account.name, **self.account.labels}
        for family in SCRAPED:
            for values, value in family.samples(view):
                yield family.name, {**own, **dict(zip(family.labels, values, strict=True))}, value
        yield "video_api_exporter_build_info", {"version": "1"}, 1.0
        yield "video_api_exporter_config_last_reload_successful", {}, 1.0


def scrape(name: str, life: Life, runs: Sequence[Run]) -> Series:
    """Live six days from Unix second 0 on; return all series, one value for every `STEP` seconds."""
    life = replace(life)
    account = Account(
        provider=life.provider,
        name=name,
        key=KeySource("literal", secret="a-key"),
        base_url=PROVIDERS[life.provider].base_url,
        ca_file=None,
        common_ca_file=None,
        max_requests_per_minute=50,
        collect=("usage", *(path.rpartition("/")[2] for path in life.billing)),
        credit_rates={},
        max_operations=100,
        interval=float(STEP),
        timeout=10.0,
        stale_after=3.0 * STEP,
        thresholds=DEFAULTS.of(("storage", "channels") if life.provider == "vidnavigator" else ()),
        labels={"team": "video"},
    )
    count = HOURS * 3600 // STEP + 1
    series: Series = {}
    exporters: dict[Run, _Exporter] = {}
    saved: dict[str, AccountState | None] = {}

    def put(n: int, metric: str, labels: Mapping[str, str], value: float) -> None:
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        series.setdefault(f"{metric}{{{inside}}}", [None] * count)[n] = value

    for n in range(count):
        now = float(n * STEP)
        for instance in dict.fromkeys(run.instance for run in runs):
            mine = [run for run in runs if run.instance == instance]
            if not mine[0].begins <= now / 3600 < mine[-1].ends:
                continue
            running = [run for run in mine if run.begins <= now / 3600 < run.ends]
            zone = [run.zone for run in mine if run.begins <= now / 3600][-1]
            target = {"job": "video-api-exporter", "instance": instance, "topology_zone": zone}
            put(n, "up", target, float(bool(running)))
            for run in running:
                if run not in exporters:
                    state = saved.get(instance) if run.keeps_state else None
                    exporters[run] = _Exporter(account, life, now, state)
                for metric, labels, value in exporters[run].scrape(now):
                    put(n, metric, {**labels, **target}, value)
                saved[instance] = exporters[run].state
    return series


def number(value: float) -> str:
    """Write a value as both text formats do."""
    return "+Inf" if value == math.inf else f"{value:.15g}"
