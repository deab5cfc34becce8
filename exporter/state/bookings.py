"""What an account's ledger booked from one reading of its history to another. Pure.

A reading has the totals of the ledger since it began. So what was booked between two readings is the difference of
the totals. Where the state was lost, the ledger began anew, and the later totals count from 0.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from exporter.readings import Series

ZERO = Decimal(0)


class Amounts(NamedTuple):
    """Amounts of a ledger, in the unit of the account."""

    spent: Decimal = ZERO
    added: Decimal = ZERO
    lapsed: Decimal = ZERO


def totals(series: Series, number: int) -> Amounts:
    """Return the totals of a reading, by its number in the series."""
    return Amounts(series.spent[number] or ZERO, series.added[number] or ZERO, series.lapsed[number] or ZERO)


def between(series: Series, before: int, now: int) -> Amounts:
    """Return what was booked from one reading to a later one, by their numbers in the series."""
    last = totals(series, now)
    if began_anew(series, before, now):
        return last
    return Amounts(*(after - first for first, after in zip(totals(series, before), last, strict=True)))


def began_anew(series: Series, before: int, now: int) -> bool:
    """Tell whether the ledger began again between two readings, because a total never falls otherwise."""
    began, was = series.began[now], series.began[before]
    if began is not None or was is not None:
        return began != was
    return any(after < first for first, after in zip(totals(series, before), totals(series, now), strict=True))
