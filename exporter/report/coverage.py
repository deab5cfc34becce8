"""Sentences about what the history does not have of a span, so that no number looks more complete than it is. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from exporter.account_id import full_name
from exporter.report.booking import Booked
from exporter.report.operations import NOT_SPLIT, is_unlimited
from exporter.report.rows import Grouping, Kind, ReportRow
from exporter.report.span import Span, day_of, in_words, moment
from exporter.runtime.redaction import escape
from exporter.state.base import DAY

_NAMED = 5
"""The most accounts that a sentence names."""

Fact = Callable[[Booked], str | None]
"""Returns what a sentence says of an account, None where the sentence is not about it."""


@dataclass(frozen=True, slots=True)
class Note:
    """A thing to know. ``others`` are the accounts that the text has no room for."""

    text: str
    others: Sequence[str] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class _Told:
    """A sentence, and the names of the accounts that it is about."""

    what: str
    fact: Fact
    named: list[str] = field(default_factory=list)

    def add(self, booked: Booked) -> None:
        detail = self.fact(booked)
        if detail is not None:
            self.named.append(escape(full_name(booked.account)) + (f" ({detail})" if detail else ""))

    def note(self) -> Note:
        """Return the sentence with the first names."""
        count = len(self.named)
        one = count == 1
        what = self.what.format(was="was" if one else "were", has="has" if one else "have")
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        text = f"{count:,} account{'' if one else 's'} {what}: {', '.join(self.named[:_NAMED])}{more}."
        return Note(text, self.named[_NAMED:])


class Coverage:
    """Collects what a reader of the numbers has to know. ``now`` is the time in Unix seconds."""

    def __init__(self, grouping: Grouping, span: Span, now: float) -> None:
        self._is_priced = grouping.is_priced
        self._span = span
        self._now = now
        self._grouping = grouping
        self._latest: int | None = None
        self._mixed: defaultdict[Kind, set[str]] = defaultdict(set)
        self._told = (
            _Told(
                "{has} damaged readings in the state, so what was spent then counts on a later day or is not in the"
                " numbers",
                _damaged,
            ),
            _Told(
                "{was} first read after the report begins, so what was spent before is not in the numbers", self._first
            ),
            _Told("{was} not read on some days, so what was spent then counts on the next day with a reading", _gaps),
            _Told(
                "{was} not read up to the end, so what was spent after the last reading is not in the numbers",
                self._last,
            ),
            _Told(
                "{was} counted in a new unit from a day on. What was spent on that day counts in the new unit", _units
            ),
            _Told(
                "{has} a ledger that began anew because the state was lost, and what was spent meanwhile is unknown",
                _anew,
            ),
            _Told("{has} fewer than two readings with a balance, so there are no numbers", self._unread),
            _Told(
                "{was} unlimited, and nothing is booked as spent then, so what operations used is not in the numbers",
                self._unlimited,
            ),
            _Told("{was} removed from the configuration, which has labels and price", self._removed),
            _Told("{has} no price, so the cost is not known", self._unpriced),
        )

    def add(self, booked: Booked) -> None:
        """Look at an account."""
        if booked.known:
            self._latest = max(self._latest or 0, booked.known[-1])
        for step in booked.steps:
            self._mixed[self._grouping.kind(booked, step)].add(booked.account[0])
        for told in self._told:
            told.add(booked)

    def notes(self, rows: Sequence[ReportRow]) -> list[Note]:
        """Return a sentence for each thing to know."""
        found = [told.note() for told in self._told if told.named]
        if self._span.end > self._now:
            until = (
                f"The numbers are those until {moment(self._latest)}." if self._latest else "There are no numbers yet."
            )
            found.insert(0, Note(f"{in_words(self._span.last)} has not ended. {until}"))
        mixed = [each for kind, each in self._mixed.items() if kind.unit == "credits" and len(each) > 1]
        if mixed:  # a minute of one vendor is that of another
            names = escape(", ".join(sorted(set().union(*mixed))))
            found.append(
                Note(f"Sums in credits are of several providers, whose credits are not worth the same: {names}.")
            )
        if any(row.name == NOT_SPLIT and (row.spent or 0) < 0 for row in rows):
            found.append(
                Note("The operations are more than what was spent, because vendors estimate them or count them late.")
            )
        return found

    def _first(self, booked: Booked) -> str | None:
        known = booked.known
        if not known or known[0] < self._span.begin or booked.series.damaged:
            return None
        return f"from {in_words(day_of(known[0]))}"

    def _last(self, booked: Booked) -> str | None:
        # Today's first reading may be yet to come.
        expected = min(self._span.end - DAY, self._now - DAY) // DAY
        if not booked.steps or booked.known[-1] // DAY >= expected or booked.series.damaged:
            return None
        return f"last on {in_words(day_of(booked.known[-1]))}"

    def _unread(self, booked: Booked) -> str | None:
        return None if booked.steps or booked.series.damaged or self._first(booked) else ""

    def _unlimited(self, booked: Booked) -> str | None:
        if self._grouping.by != "operation":
            return None
        return "" if any(is_unlimited(booked.series, step) for step in booked.steps) else None

    def _removed(self, booked: Booked) -> str | None:
        return None if self._grouping.account(booked.account) else ""

    def _unpriced(self, booked: Booked) -> str | None:
        return "" if self._is_priced and booked.steps and self._grouping.price(booked.account) is None else None


def _damaged(booked: Booked) -> str | None:
    return "" if booked.series.damaged else None


def _gaps(booked: Booked) -> str | None:
    days = [at // DAY for at in booked.known]
    # Damage is told by a sentence of its own. Otherwise there is one for each day.
    if booked.series.damaged or not days or days[-1] - days[0] == len(days) - 1:
        return None
    gaps = [_days(before + 1, now - 1) for before, now in pairwise(days) if now - before > 1]
    return None if not gaps else gaps[0] if len(gaps) == 1 else f"{gaps[0]} and {len(gaps) - 1} more times"


def _days(first: int, last: int) -> str:
    begin, end = in_words(day_of(first * DAY)), in_words(day_of(last * DAY))
    return begin if first == last else f"{begin} to {end}"


def _units(booked: Booked) -> str | None:
    for step in booked.steps:
        if step.before is not None and booked.series.unit[step.before] != booked.series.unit[step.now]:
            return in_words(day_of(booked.series.at[step.now]))
    return None


def _anew(booked: Booked) -> str | None:
    return next((in_words(day_of(booked.series.at[step.now])) for step in booked.steps if step.anew), None)
