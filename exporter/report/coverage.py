"""Sentences about what the history does not have of a span, so that no number looks more complete than it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from exporter.report.booking import Booked
from exporter.report.operations import NOT_SPLIT
from exporter.report.rows import Grouping, ReportRow
from exporter.report.span import Span, day_of, in_words, moment
from exporter.runtime.redaction import escape
from exporter.state.base import DAY

_NAMED = 5
"""The most accounts that a sentence names."""

Fact = Callable[[Booked], str | None]
"""Returns what a sentence says of an account, None where the sentence is not about it."""


def notes(
    accounts: Sequence[Booked], grouping: Grouping, span: Span, now: float, rows: Sequence[ReportRow]
) -> list[str]:
    """Return a sentence for everything that a reader of the numbers has to know."""
    found = []
    if span.end > now:
        latest = max((booked.series.at[-1] for booked in accounts if len(booked.series)), default=None)
        until = f"The numbers are those until {moment(latest)}." if latest is not None else "There are no numbers yet."
        found.append(f"{in_words(span.last)} has not ended. {until}")
    priced = any(grouping.price(booked.account) for booked in accounts)
    facts: tuple[tuple[Fact, str], ...] = (
        (
            lambda booked: _first(booked, span),
            "{was} first read after the report begins, so what was spent before is not in the numbers",
        ),
        (_gaps, "{was} not read on some days, so what was spent then counts on the next day with a reading"),
        (
            lambda booked: _last(booked, span, now),
            "{was} not read up to the end, so what was spent after the last reading is not in the numbers",
        ),
        (_units, "{was} counted in a new unit from a day on. What was spent on that day counts in the new unit"),
        (
            _anew,
            "{has} a ledger that began anew because the state was lost. What was spent meanwhile is not in the numbers",
        ),
        (
            lambda booked: None if booked.steps or _first(booked, span) else "",
            "{has} no two readings to compare, so there are no numbers",
        ),
        (
            lambda booked: None if grouping.account(booked.account) else "",
            "{was} removed from the configuration, which has labels and price",
        ),
        (
            lambda booked: "" if priced and booked.steps and grouping.price(booked.account) is None else None,
            "{has} no price, so the cost is not known",
        ),
    )
    found += filter(None, (_sentence(accounts, *fact) for fact in facts))
    if any(row.name == NOT_SPLIT and (row.spent or 0) < 0 for row in rows):
        found.append(
            "The operations are larger than what was spent, because vendors estimate them or count them later."
        )
    return found


def _sentence(accounts: Sequence[Booked], fact: Fact, what: str) -> str | None:
    told = [(booked, detail) for booked in accounts if (detail := fact(booked)) is not None]
    if not told:
        return None
    named = [escape("/".join(booked.account)) + (f" ({detail})" if detail else "") for booked, detail in told[:_NAMED]]
    more = f" and {len(told) - _NAMED:,} more" if len(told) > _NAMED else ""
    one = len(told) == 1
    which = what.format(was="was" if one else "were", has="has" if one else "have")
    return f"{len(told):,} account{'' if one else 's'} {which}: {', '.join(named)}{more}."


def _known(booked: Booked) -> list[int]:
    """Return the times of the readings that have a ledger."""
    return [at for at, spent in zip(booked.series.at, booked.series.spent, strict=True) if spent is not None]


def _first(booked: Booked, span: Span) -> str | None:
    known = _known(booked)
    return f"from {in_words(day_of(known[0]))}" if known and known[0] >= span.begin else None


def _gaps(booked: Booked) -> str | None:
    gaps = [
        _days(before // DAY + 1, now // DAY - 1)
        for before, now in pairwise(_known(booked))
        if now // DAY - before // DAY > 1
    ]
    return None if not gaps else gaps[0] if len(gaps) == 1 else f"{gaps[0]} and {len(gaps) - 1} more times"


def _days(first: int, last: int) -> str:
    begin, end = in_words(day_of(first * DAY)), in_words(day_of(last * DAY))
    return begin if first == last else f"{begin} to {end}"


def _last(booked: Booked, span: Span, now: float) -> str | None:
    known = _known(booked)
    # Today's first reading may be yet to come.
    if not booked.steps or known[-1] // DAY >= min(span.end - DAY, now - DAY) // DAY:
        return None
    return f"last on {in_words(day_of(known[-1]))}"


def _units(booked: Booked) -> str | None:
    for step in booked.steps:
        if step.before is not None and booked.series.unit[step.before] != booked.series.unit[step.now]:
            return in_words(day_of(booked.series.at[step.now]))
    return None


def _anew(booked: Booked) -> str | None:
    return next((in_words(day_of(booked.series.at[step.now])) for step in booked.steps if step.anew), None)
