"""Profiles the CPU time of a scrape and of a poll."""

from __future__ import annotations

import cProfile
import pstats
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.daemon import Daemon
from bench.page import Page
from bench.processes import workplace
from exporter.config.load import load
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.runtime.clock import SystemClock
from exporter.runtime.redaction import Redactor
from exporter.state.key_records import KeyRecords
from exporter.state.sqlite import StateFile
from exporter.transport.transports import Transports

ROUNDS = 20


def profiles(count: int) -> dict[str, Any]:
    """Profile scrapes of this many accounts with 1 % changed, and one poll of each account."""
    with workplace() as directory:
        scrape = _scrape(count, directory)
    with workplace() as directory, ExitStack() as stack:
        poll = _poll(min(count, 1000), directory, stack)
    return {"accounts": count, "scrape": scrape, "poll": poll}


def _scrape(count: int, directory: Path) -> dict[str, float]:
    page = Page(count, directory)
    profile = cProfile.Profile(time.thread_time)
    for _ in range(ROUNDS):
        page.change(0.01)
        profile.enable()
        page.exposition.body("text/plain", "gzip")
        profile.disable()
    return _functions(profile, ROUNDS)


def _poll(count: int, directory: Path, stack: ExitStack) -> dict[str, float]:
    daemon = Daemon(count, "concurrency: 1", 0.0, directory, stack)
    clock, config = SystemClock(), load(daemon.config, PROVIDERS, {})
    metrics = SelfMetrics("bench", "", 0, 1)
    state = StateFile.open(directory / "state.db", clock, exclusive=True)
    stack.callback(state.close)
    store = Store(Exposition(FAMILIES, metrics.registry, clock), clock)
    store.replace(config.accounts, config.label_names, {})
    poller = Poller(
        providers=PROVIDERS,
        sender=Sender(
            Transports().of,
            Limits(clock, KeyRecords(state, clock)),
            Redactor(),
            clock,
            threading.Event().wait,
        ),
        store=store,
        save=state.save,
        metrics=metrics,
    )
    profile = cProfile.Profile(time.thread_time)
    for account in config.accounts:
        poller.poll(account)
    profile.enable()
    for account in config.accounts:
        poller.poll(account)
    profile.disable()
    return _packages(profile, count)


def _functions(profile: cProfile.Profile, runs: int) -> dict[str, float]:
    """Return the ms per run of the most expensive functions, without the functions that they call."""
    found: Counter[str] = Counter()
    for key, entry in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # typeshed does not have it
        found[_name(key)] += 1e3 * entry[2] / runs
    return dict(found.most_common(8))


def _packages(profile: cProfile.Profile, runs: int) -> dict[str, float]:
    """Return the ms per run of each own module and each package. Builtins count for their caller."""
    found: Counter[str] = Counter()
    for key, (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # as above
        if key[0] != "~":
            found[_package(key[0])] += 1e3 * own / runs
            continue
        for caller, numbers in callers.items():
            found[_package(caller[0])] += 1e3 * numbers[2] / runs
    return dict(found.most_common(14))


def _name(key: tuple[str, int, str]) -> str:
    return key[2] if key[0] == "~" else f"{Path(key[0]).stem}.{key[2]}"


def _package(file: str) -> str:
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return "/".join(parts[-2:]) if "exporter" in parts else Path(file).stem
