"""How often each account was polled in each of its intervals, and what happened where it was not once."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from exporter.demo.vendors import LoggedRequest
from exporter.polling.slots import fraction

INTERVAL = 60
SLACK_SECONDS = 2.0
"""How much earlier than its time a poll may come, because replicas measure the database's clock each by itself."""
_LINE = re.compile(r'ts=(\S+) .*? msg="([^"]*)" .*account=(\w+)')
_AROUND = 5.0
"""Seconds before and after an interval of which lines of the log are told."""


@dataclass
class Interval:
    """An interval of an account, with its begin and the requests in it in Unix seconds."""

    account: str
    begin: float
    requests: list[float]

    @property
    def last(self) -> float:
        """Return the time of the last request, or the end if there was none."""
        return max(self.requests, default=self.begin + INTERVAL)


def intervals(
    requests: Iterable[LoggedRequest], names: Mapping[str, str], began: float, ended: float
) -> Iterator[Interval]:
    """Yield each account's intervals from the second one after ``began`` on. ``names`` has the accounts by key."""
    shift = time.time() - time.monotonic()
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in names.values()}
    for request in requests:
        name, at = names[request.key], request.time + shift
        found[name][int((at - _phase(name)) // INTERVAL)].append(at)
    for name, polls in found.items():
        phase = _phase(name)
        for number in range(int((began - phase) // INTERVAL) + 2, int((ended - phase) // INTERVAL)):
            yield Interval(name, phase + number * INTERVAL, polls[number])


def _phase(name: str) -> float:
    return fraction(("vidnavigator", name)) * INTERVAL - SLACK_SECONDS


def fault_before(interval: Interval, faults: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Return the fault that came last before the last request, and how many seconds before."""
    return next(((interval.last - at, what) for at, what in reversed(faults) if at < interval.last), (0.0, "no fault"))


def told(interval: Interval, faults: Sequence[tuple[float, str]], logs: Path, ahead: Mapping[str, float]) -> str:
    """Return the times of the requests, the last fault, and what the replicas logged about the account meanwhile.

    ``ahead`` are the seconds by which the clock of a replica is wrong, by the name of its log.
    """
    seconds, fault = fault_before(interval, faults)
    polls = " and ".join(f"{at - interval.begin:.1f}" for at in interval.requests) or "none"
    lines = [
        f"{log.stem} at {at:.1f}: {words}"
        for log in sorted(logs.glob("*.log"))
        for at, words in _logged(log, interval, ahead.get(log.stem, 0.0))
    ]
    begin = time.strftime("%H:%M:%S", time.localtime(interval.begin))
    return f"{interval.account} from {begin}: requests at {polls} s, {seconds:.1f} s after {fault} ({'; '.join(lines)})"


def _logged(log: Path, interval: Interval, ahead: float) -> Iterator[tuple[float, str]]:
    for stamp, words, account in _LINE.findall(log.read_text(errors="replace")):
        at = datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() - ahead - interval.begin
        if account == interval.account and -_AROUND < at < INTERVAL + _AROUND:
            yield at, words
