"""What happened to the credits of an account from one reading of its history to the next."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from exporter.readings import Series
from exporter.state import bookings, chunks


class Movement(NamedTuple):
    """What happened between two readings, of Unix seconds ``after`` and ``until``. ``reset`` says that a period began.

    ``start`` is the beginning of the hour or day of the later reading. All of it counts there, also what happened
    while no poll succeeded.
    """

    start: float
    after: float
    until: float
    spent: float
    added: float
    lapsed: float
    reset: bool
    used: Mapping[str, float]


def finest(hours: Series, days: Series) -> Series:
    """Return the readings of all hours, after those of the days before them."""
    if not len(hours):
        return days
    return chunks.joined([chunks.part(days, 0, bisect_left(days.at, hours.at[0])), hours])


def movements(series: Series, span: int) -> list[Movement]:
    """Return what happened in each hour or day that has a reading, oldest first. ``span`` is its length in seconds."""
    readings = range(_first_of_unit(series), len(series))
    between = (_movement(series, before, now, span) for before, now in pairwise(readings))
    return [_sum(list(each)) for _, each in groupby(between, key=lambda movement: movement.start)]


def _movement(series: Series, before: int, now: int, span: int) -> Movement:
    period, last_period = series.period[now], series.period[before]
    reset = period is not None and last_period is not None and period != last_period
    used = {
        name: change
        for name, column in series.used.items()
        if (change := _used(column[before], column[now], reset)) > 0
    }
    has_ledger = series.spent[before] is not None and series.spent[now] is not None
    booked = bookings.between(series, before, now) if has_ledger else bookings.Amounts()
    spent, added, lapsed = map(float, booked)
    start = series.at[now] // span * span
    return Movement(start, series.at[before], series.at[now], spent, added, lapsed, reset, used)


def _sum(parts: Sequence[Movement]) -> Movement:
    if len(parts) == 1:
        return parts[0]
    first, last = parts[0], parts[-1]
    return Movement(
        first.start,
        first.after,
        last.until,
        sum(part.spent for part in parts),
        sum(part.added for part in parts),
        sum(part.lapsed for part in parts),
        any(part.reset for part in parts),
        by_operation(parts),
    )


def by_operation(changes: Iterable[Movement]) -> dict[str, float]:
    """Return the use by operation, the largest first."""
    sums: dict[str, float] = {}
    for movement in changes:
        for name, amount in movement.used.items():
            sums[name] = sums.get(name, 0.0) + amount
    return dict(sorted(sums.items(), key=lambda pair: -pair[1]))


def _first_of_unit(series: Series) -> int:
    """Return the index of the first reading in the present unit, because amounts in two units cannot be added up."""
    first = len(series)
    while first and series.unit[first - 1] == series.unit[-1]:
        first -= 1
    return first


def _used(before: float | None, now: float | None, reset: bool) -> float:
    """Return what was used since the last reading, of a figure that begins at 0 in each period."""
    if now is None:
        return 0.0
    begins_anew = reset or before is None or now < before
    return now if begins_anew else now - (before or 0.0)


def totals(changes: Iterable[Movement], since: float) -> tuple[float, float, float]:
    """Return what was spent, added and lapsed since a time. Of the movement that contains it, a share was spent."""
    spent = added = lapsed = 0.0
    for change in changes:
        if change.until > since:
            spent += change.spent * min(1.0, (change.until - since) / (change.until - change.after))
            added += change.added
            lapsed += change.lapsed
    return spent, added, lapsed
