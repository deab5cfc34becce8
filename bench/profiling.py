"""Profiles the CPU time of a scrape and of a poll."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.daemon import Daemon
from bench.fleet import Fleet
from bench.page import Page
from bench.processes import workplace
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
    fleet = stack.enter_context(Fleet(daemon.config, Transports().of))
    profile = cProfile.Profile(time.thread_time)
    fleet.poll()
    profile.enable()
    fleet.poll()
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
