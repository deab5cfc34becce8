"""Measures the CPU time of a poll of a provider in code and of the same provider as data.

Both get the same responses over loopback, and take turns after every few accounts. So other programs disturb both
alike.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.daemon import Daemon
from bench.fleet import Fleet
from bench.processes import workplace
from exporter.transport.transports import Transports

TURN = 100
"""Accounts that one kind polls before the other does."""
PASSES = 3
"""How often each account is polled after its first poll."""
WIDEST = 0.1
"""Share of the median up to which the middle half of the ratios may lie apart."""


def compare(count: int) -> dict[str, Any]:
    """Return the median CPU milliseconds of both kinds, the median of their ratios, and how far the ratios differ."""
    turn = min(TURN, count)
    with workplace() as coded, workplace() as declared, ExitStack() as stack:
        fleets = [_fleet(count, coded, stack, declared=False), _fleet(count, declared, stack, declared=True)]
        for fleet in fleets:
            fleet.poll()
        gc.collect()
        gc.freeze()
        turns: list[tuple[float, float]] = []
        for number in range(PASSES * (count // turn)):
            first = number * turn % count
            part, order = slice(first, first + turn), fleets if number % 2 else fleets[::-1]
            cost = {id(fleet): _cost(fleet, part) / turn for fleet in order}
            turns.append((cost[id(fleets[0])], cost[id(fleets[1])]))
    return {"accounts": count, **summary(turns)}


def summary(turns: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the medians of pairs of milliseconds, and the quartiles of their ratios."""
    low, ratio, high = statistics.quantiles([data / code for code, data in turns], n=4)
    return {
        "turns": len(turns),
        "code_ms": statistics.median(code for code, _ in turns),
        "data_ms": statistics.median(data for _, data in turns),
        "ratio": ratio,
        "spread": [low, high],
    }


def doubt(result: dict[str, Any]) -> str | None:
    """Return why the ratio is not to be trusted, or None."""
    low, high = result["spread"]
    width = (high - low) / result["ratio"]
    return f"the middle half of the ratios lies {width:.0%} apart" if width > WIDEST else None


def _fleet(count: int, directory: Path, stack: ExitStack, *, declared: bool) -> Fleet:
    daemon = Daemon(count, "concurrency: 1", 0.0, directory, stack, declared=declared)
    return stack.enter_context(Fleet(daemon.config, Transports().of))


def _cost(fleet: Fleet, part: slice) -> float:
    begin = time.thread_time()
    fleet.poll(part)
    return 1e3 * (time.thread_time() - begin)
