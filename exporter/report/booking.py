"""What an account's ledger booked in a span, from its readings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from exporter.account_id import AccountId
from exporter.readings import Series
from exporter.state.base import DAY
from exporter.state.bookings import ZERO, began_anew, between, totals

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
    """The readings of an account from the last one before the span on, and what was booked in the span.

    ``known`` are the times of the readings that have a ledger, in Unix seconds.
    """

    account: AccountId
    series: Series
    known: list[int] = field(default_factory=list)
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


def book(account: AccountId, series: Series, begin: float, *, daily: bool) -> Booked:
    """Return what an account's ledger booked from ``begin`` on. Without ``daily`` steps may be of many days."""
    known = [number for number, spent in enumerate(series.spent) if spent is not None]
    booked = Booked(account, series, [series.at[number] for number in known])
    if not daily and known and _is_one(series, known):
        known = [known[0], known[-1]]
    before: int | None = None
    for now in known:
        if series.at[now] >= begin:
            if before is not None:
                anew = began_anew(series, before, now)
                booked.steps.append(Step(before, now, *between(series, before, now), anew=anew))
            elif (series.began[now] or 0) >= begin:
                booked.steps.append(Step(None, now, *totals(series, now)))
        before = now
    return booked


def _is_one(series: Series, known: Sequence[int]) -> bool:
    """Tell whether one ledger made all readings in one unit, so that the first and the last one tell everything."""
    made = {(series.began[number], series.unit[number]) for number in known}
    return len(made) == 1 and series.began[known[0]] is not None
