"""How the credits that were spent split by operation. Pure.

A vendor counts the use of each operation from the begin of a period, which it may not name. What the counts do not
explain is left in one sum, so that all parts add up to what was spent.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import inf, isfinite

from exporter.readings import Series
from exporter.report.booking import Booked, Step
from exporter.state.bookings import ZERO

NOT_SPLIT = "(not split)"
_FOLDED = "(other)"
"""The sum of the smallest operations. It falls when one of them grows out of it."""
_DUST = Decimal("0.005")


def split(booked: Booked) -> Iterator[tuple[int, str, Decimal]]:
    """Yield parts of what was spent as the number of the step, the operation and the credits.

    What a step spent beside its operations is ``NOT_SPLIT``. It is negative where the vendor's counts are larger.
    """
    counts: dict[str, Decimal] = {}
    for number, step in enumerate(booked.steps):
        if step.before is not None:
            counts |= _counts(booked.series, step.before)
        now = _counts(booked.series, step.now)
        begins = _begins(counts, now) if step.before is not None else True
        if is_unlimited(booked.series, step):
            parts, counts = {}, counts | now  # the ledger books nothing that the counts could be a part of
        elif begins and sum(now.values(), ZERO) <= step.spent + _DUST:
            parts, counts = now, now  # the vendor's counts began after the reading before
        elif step.before is None or not counts:
            parts, counts = {}, now  # they began before the readings, at an unknown time
        else:
            # A count that falls in another way was corrected by the vendor.
            parts = {name: max(ZERO, used - counts.get(name, ZERO)) for name, used in now.items()}
            counts = counts | now
        yield from ((number, name, spent) for name, spent in parts.items() if spent)
        yield number, NOT_SPLIT, step.spent - sum(parts.values(), ZERO)


def is_unlimited(series: Series, step: Step) -> bool:
    """Tell whether the balance had no limit at either end of a step."""
    return series.balance[step.now] == inf or (step.before is not None and series.balance[step.before] == inf)


def _begins(before: dict[str, Decimal], now: dict[str, Decimal]) -> bool:
    return not before or any(name != _FOLDED and used < before.get(name, used) for name, used in now.items())


def _counts(series: Series, number: int) -> dict[str, Decimal]:
    known = ((name, column[number]) for name, column in series.used.items())
    return {name: Decimal(repr(used)) for name, used in known if used is not None and isfinite(used)}
