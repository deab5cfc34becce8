"""Makes two days of the demo in a few minutes, with a simulated clock, and writes them as TSDB blocks.

The simulated vendors answer over loopback as in the demo. The exporter's poller, ledger, store and exposition work as
usual. Only the clock jumps from poll to poll and from scrape to scrape. promtool evaluates the recording rules. The
alerts come from the queries of the rule files, so that the pictures show when an alert began.
"""

from __future__ import annotations

import heapq
import json
import logging
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from exporter.config.accounts import Account
from exporter.config.load import load
from exporter.demo.vendors import Vendors
from exporter.demo.world import make_world
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.providers.base import Provider
from exporter.runtime.redaction import Redactor
from exporter.transport.client import Transport
from grafana.server import Prometheus

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules"
SCRAPE_SECONDS = 120.0
POLL_SECONDS = 290.0  # not whole minutes like the demo's faults, so that polls meet them now and then
TARGET = 'job="video-api-exporter",instance="exporter-0:10390"'
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class DrivenClock:
    """A clock that is set to a time and then runs on, so that polls take real time."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._set_to = 0.0
        self._set_at = time.monotonic()

    def set(self, seconds: float) -> None:
        """Jump to this many seconds after the start, but never back."""
        self._set_to = max(seconds, self.monotonic())
        self._set_at = time.monotonic()

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return self._set_to + time.monotonic() - self._set_at

    def wall(self) -> float:
        """Return Unix time in seconds."""
        return self._start + self.monotonic()


def backfill(folder: Path, start: float, end: float) -> None:
    """Write the blocks that a Prometheus would have at `end` if it had scraped since `start`."""
    logging.getLogger("exporter").setLevel(logging.CRITICAL)  # the demo's faults are intended
    (folder / "prometheus.yml").write_text("global: {}\n")
    _blocks(folder, _scrapes(folder, start, end))
    # promtool reads stored blocks, so rules that read other rules come second.
    for reads_rules in (False, True):
        rules = [rule for rule in _rules("record") if ("video_api:" in rule["expr"]) == reads_rules]
        file = folder / "rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "preview", "rules": rules}]}))
        with Prometheus(folder) as prometheus:
            _run(
                "promtool", "tsdb", "create-blocks-from", "rules", f"--start={start:.0f}", f"--end={end:.0f}",
                f"--url={prometheus.url}", f"--output-dir={prometheus.data}", f"--eval-interval={SCRAPE_SECONDS:.0f}s",
                str(file),
            )  # fmt: skip
    with Prometheus(folder) as prometheus:
        alerts = list(_alerts(prometheus, start, end))
    _blocks(folder, alerts)


def _rules(kind: str) -> list[dict[str, Any]]:
    """Return the recording rules or the alerting rules."""
    groups = (group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"])
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def _run(*command: str) -> None:
    """Run a program, and show its output only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _scrapes(folder: Path, start: float, end: float) -> Iterator[str]:
    """Yield the sample lines of all scrapes, polling in between as the scheduler would."""
    clock = DrivenClock(start)
    with Vendors(log_limit=0) as vendors:
        config = load(make_world(vendors, clock=clock.wall).write_config(folder), PROVIDERS, {})
        accounts = [
            account._replace(interval=POLL_SECONDS, stale_after=3 * POLL_SECONDS) for account in config.accounts
        ]
        metrics = _self_metrics(accounts, clock)
        exposition = Exposition(FAMILIES, metrics.registry, clock)
        store = Store(exposition, clock)
        store.replace(accounts, config.label_names, {})
        poller = _poller(config.providers, accounts, store, metrics, clock)
        due = [(number * POLL_SECONDS / len(accounts), number) for number in range(len(accounts))]
        scrape = SCRAPE_SECONDS
        while scrape <= end - start:
            while due[0][0] <= scrape:
                at, number = heapq.heappop(due)
                clock.set(at)
                metrics.poll_lag.observe(max(0.0, clock.monotonic() - at))
                result = poller.poll(accounts[number])
                heapq.heappush(due, (result.next_due, number))
            clock.set(scrape)
            store.withdraw_stale()
            began = time.perf_counter()
            text = exposition.body("", "").data.decode()
            took = time.perf_counter() - began
            moment = start + scrape
            yield f"up{{{TARGET}}} 1 {moment:.3f}\n"
            yield f"scrape_duration_seconds{{{TARGET}}} {took:.6f} {moment:.3f}\n"
            for line in text.splitlines():
                if not line.startswith("#"):
                    yield _with_target(line, moment)
            scrape += SCRAPE_SECONDS


def _self_metrics(accounts: Sequence[Account], clock: DrivenClock) -> SelfMetrics:
    metrics = SelfMetrics("0.1.0", "preview", 0, 1)
    metrics.set_accounts(account.provider for account in accounts)
    metrics.reload_successful.set(1)
    metrics.reload_success_time.set(clock.wall())
    return metrics


def _poller(
    providers: Mapping[str, Provider],
    accounts: Sequence[Account],
    store: Store,
    metrics: SelfMetrics,
    clock: DrivenClock,
) -> Poller:
    transports = {account.base_url: Transport(account.base_url, "preview") for account in accounts}
    return Poller(
        providers=providers,
        sender=Sender(
            lambda account: transports[account.base_url],
            Limits(clock, None),
            Redactor(),
            clock,
            lambda seconds: clock.set(clock.monotonic() + seconds),
        ),
        store=store,
        save=lambda key, state: state,
        metrics=metrics,
    )


def _with_target(line: str, moment: float) -> str:
    """Return a sample line as Prometheus would store it, with the labels of its target and its time."""
    series, value = line.rsplit(" ", 1)
    name, _, labels = series.partition("{")
    return f"{name}{{{TARGET}{',' + labels if labels else '}'} {value} {moment:.3f}\n"


def _blocks(folder: Path, lines: Iterable[str]) -> None:
    """Write sample lines as blocks."""
    samples = folder / "samples.om"
    with samples.open("w") as file:
        file.writelines(lines)
        file.write("# EOF\n")
    _run("promtool", "tsdb", "create-blocks-from", "openmetrics", str(samples), str(folder / "data"))
    samples.unlink()


def _alerts(prometheus: Prometheus, start: float, end: float) -> Iterator[str]:
    """Yield the series that Prometheus stores for its alerts, from the expressions of the rule files."""
    for rule in _rules("alert"):
        wait = _seconds(rule.get("for", "0s"))
        for series in prometheus.range(rule["expr"], start, end, SCRAPE_SECONDS):
            labels = {name: value for name, value in series["metric"].items() if name != "__name__"}
            labels |= {"alertname": rule["alert"], **rule.get("labels", {})}
            for began, at in _runs([moment for moment, _ in series["values"]]):
                state = "firing" if at - began >= wait else "pending"
                yield f"ALERTS{_braces(labels | {'alertstate': state})} 1 {at:.3f}\n"
                yield f"ALERTS_FOR_STATE{_braces(labels)} {began:.3f} {at:.3f}\n"


def _runs(moments: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Yield each time with the time since which there was no gap."""
    began = last = moments[0]
    for moment in moments:
        if moment - last > SCRAPE_SECONDS:
            began = moment
        last = moment
        yield began, moment


def _braces(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items())) + "}"


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * _SECONDS[duration[-1]]
