"""The days of a report, in UTC, as the command line names them."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from exporter.errors import UsageError
from exporter.state.base import DAY

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days from midnight to midnight, with both ``first`` and ``last``."""

    first: date
    last: date

    @property
    def begin(self) -> int:
        """Return the first moment of the span in Unix seconds."""
        return (self.first - _EPOCH).days * DAY

    @property
    def end(self) -> int:
        """Return the first moment after the span in Unix seconds."""
        return ((self.last - _EPOCH).days + 1) * DAY

    def __len__(self) -> int:
        """Return the number of days."""
        return (self.last - self.first).days + 1

    def days(self, until: float) -> list[date]:
        """Return the days of the span that began at ``until`` or before."""
        last = min(self.last, day_of(until))
        return [self.first + timedelta(days) for days in range((last - self.first).days + 1)]

    def __str__(self) -> str:
        if (self.first.day, self.last) == (1, _last_of_month(self.first)):
            return f"{self.first:%B %Y}"
        return in_words(self.first) if self.first == self.last else f"{in_words(self.first)} to {in_words(self.last)}"


def day_of(at: float) -> date:
    """Return the day of a Unix time."""
    return _EPOCH + timedelta(at // DAY)


def in_words(day: date) -> str:
    """Return a day as people write it, such as 5 Oct 2026."""
    return f"{day.day} {day:%b %Y}"


def moment(at: float) -> str:
    """Return a Unix time as people write it."""
    return f"{in_words(day_of(at))}, {datetime.fromtimestamp(at, timezone.utc):%H:%M} UTC"


def span_of(month: str | None, first: str | None, last: str | None, now: float) -> Span:
    """Return the span that the flags name, this month without one. Raises UsageError."""
    today = day_of(now)
    if month is not None:
        if first is not None or last is not None:
            raise UsageError("report: give either --month or --from and --to")
        begin = _day("--month", f"{month}-01", "a month such as 2026-10")
        span = Span(begin, _last_of_month(begin))
    elif first is not None:
        begin = _day("--from", first, "a day such as 2026-10-01")
        span = Span(begin, max(begin, today) if last is None else _day("--to", last, "a day such as 2026-10-31"))
    elif last is not None:
        raise UsageError("report: --to needs --from, the first day")
    else:
        span = Span(today.replace(day=1), _last_of_month(today))
    if span.last < span.first:
        raise UsageError("report: --to is before --from. --from is the first day and --to the last one")
    if span.first > today:
        raise UsageError(f"report: the span has not begun. Today is {today} in UTC")
    if span.last > today + timedelta(366):
        raise UsageError("report: --to is more than a year ahead")
    return span


def _day(flag: str, text: str, example: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            day = date.fromisoformat(text)
            if 1970 <= day.year < 9999:
                return day
    except ValueError:
        pass
    raise UsageError(f"report: {flag} must be {example}")


def _last_of_month(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])
