"""What an account's ledger booked in a span, from its readings. Pure.

A reading has the totals of the ledger since it began. So what was spent from one reading to the next is the
difference of the totals. Where the state was lost, the ledger began anew, and the later totals count from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from exporter.readings import AccountKey, Series
from exporter.state.base import DAY

ZERO = Decimal(0)
WEEK = 7 * DAY


class Step(NamedTuple):
    """What was booked from one reading to another, which are numbers in the series.

    ``before`` is None if the ledger began inside the span. ``anew`` tells that it began again after ``before``.
    """

    before: int | None
    now: int
    spent: Decimal
    added: Decimal
    lapsed: Decimal
    anew: bool = False


@dataclass(slots=True)
class Booked:
    """The readings of an account from the last one before the span on, and what was booked in the span."""

    account: AccountKey
    series: Series
    steps: list[Step] = field(default_factory=list)

    def since(self, step: Step) -> float:
        """Return when a step began, in Unix seconds."""
        if step.before is not None:
            return self.series.at[step.before]
        return self.series.began[step.now] or self.series.at[step.now]

    def day(self, step: Step) -> int:
        """Return the day on which a step is booked, in days since 1970. It is the day of the later reading."""
        return self.series.at[step.now] // DAY

    def pace(self) -> float:
        """Return what was spent a second in the last week of the readings, in the unit of the last one."""
        spent, seconds = ZERO, 0.0
        for step in reversed(self.steps):
            if self.series.unit[step.now] != self.series.unit[-1] or seconds >= WEEK:
                break
            spent += step.spent
            seconds = self.series.at[self.steps[-1].now] - self.since(step)
        return float(spent) / max(seconds, DAY)  # what was spent in an hour says nothing about a day


def book(account: AccountKey, series: Series, begin: float, *, daily: bool) -> Booked:
    """Return what an account's ledger booked from ``begin`` on. Without ``daily`` steps may be of many days."""
    found = Booked(account, series)
    for step in _steps(series, begin):
        last = found.steps[-1] if found.steps else None
        if last is None or daily or step.anew or series.unit[last.now] != series.unit[step.now]:
            found.steps.append(step)
        else:
            sums = (last.spent + step.spent, last.added + step.added, last.lapsed + step.lapsed)
            found.steps[-1] = Step(last.before, step.now, *sums, last.anew)
    return found


def _steps(series: Series, begin: float) -> Iterator[Step]:
    before: int | None = None
    for now, (at, spent, added, lapsed) in enumerate(
        zip(series.at, series.spent, series.added, series.lapsed, strict=True)
    ):
        if spent is None or added is None or lapsed is None:
            continue
        if at >= begin:
            if before is None:
                if (series.began[now] or 0) >= begin:
                    yield Step(None, now, spent, added, lapsed)
            elif _anew(series, before, now):
                yield Step(before, now, spent, added, lapsed, anew=True)
            else:
                yield Step(
                    before,
                    now,
                    spent - (series.spent[before] or ZERO),
                    added - (series.added[before] or ZERO),
                    lapsed - (series.lapsed[before] or ZERO),
                )
        before = now


def _anew(series: Series, before: int, now: int) -> bool:
    """Tell whether the ledger began again between two readings, because a total never falls otherwise."""
    began, was = series.began[now], series.began[before]
    if began is not None and was is not None and began != was:
        return True
    return any(
        (column[now] or ZERO) < (column[before] or ZERO) for column in (series.spent, series.added, series.lapsed)
    )
