"""Where an axis has its ticks, and what stands beside them. Times are Unix seconds in UTC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_INTERVALS = 4
"""The most intervals of an axis of values."""
_LABELS = 14
"""The most labels of an axis of time."""
DAY = 86_400.0
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LETTERS = ("", "k", "M", "G", "T", "P", "E")


class Tick(NamedTuple):
    """A place on an axis of time, and its label."""

    at: float
    label: str


def value_ticks(low: float, high: float) -> list[float]:
    """Return evenly spaced round values from ``low`` or below it to ``high`` or above it."""
    rough = (high - low) / _INTERVALS
    if rough < 1e-12:
        return [low, low + 1.0]
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(step * scale for step in _STEPS if step * scale >= rough * (1 - 1e-9))
    return [step * number for number in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]


def time_ticks(begin: float, end: float) -> list[Tick]:
    """Return the starts of hours, days, weeks, months or years in a span, as many as there is room for."""
    days = (end - begin) / DAY
    if days <= 2:
        return [Tick(at, f"{_date(at):%H:%M}") for at in _every(begin, end, 6 * 3600.0)]
    for step in (1, 2, 7):
        if days / step <= _LABELS:
            # From a Monday on, because the first day of the epoch was a Thursday.
            origin = 4 * DAY if step > 2 else 0.0
            return [Tick(at, _day(at)) for at in _every(begin, end, step * DAY, origin)]
    months = next((step for step in (1, 3, 12) if days / 30.4 / step <= _LABELS), 12 * math.ceil(days / 365 / _LABELS))
    return [Tick(at, _month(at, months)) for at in _months(begin, end, months)]


def short(value: float) -> str:
    """Return a large value with a letter for its thousands, such as 2.5M."""
    letter = 0
    while abs(value) >= 1000 and letter < len(_LETTERS) - 1:
        value, letter = value / 1000, letter + 1
    return f"{value:.4g}{_LETTERS[letter]}".replace("-", "\N{MINUS SIGN}")


def date_text(at: float, *, exact: bool) -> str:
    """Return a date, with the time of the day if ``exact``."""
    day, second = divmod(math.floor(at), int(DAY))
    if not exact:
        return _date_of_day(day)
    return f"{_date_of_day(day)}, {second // 3600:02}:{second // 60 % 60:02} UTC"


@lru_cache(1024)
def _date_of_day(day: int) -> str:
    """Return the date of a day since 1970. A page has thousands of times, of a few hundred days."""
    date = _date(day * DAY)
    return f"{date.day} {_MONTHS[date.month]} {date.year}"


def _every(begin: float, end: float, step: float, origin: float = 0.0) -> Iterator[float]:
    at = origin + math.ceil((begin - origin) / step) * step
    while at < end:
        yield at
        at += step


def _months(begin: float, end: float, step: int) -> Iterator[float]:
    first = _date(begin)
    number = first.year * 12 + first.month - 1
    while (at := _start(number)) < end:
        if at >= begin and number % step == 0:
            yield at
        number += 1


def _start(number: int) -> float:
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=timezone.utc).timestamp()


def _day(at: float) -> str:
    date = _date(at)
    return f"{date.day} {_MONTHS[date.month]}"


def _month(at: float, step: int) -> str:
    date = _date(at)
    return str(date.year) if step >= 12 or date.month == 1 else _MONTHS[date.month]


def _date(at: float) -> datetime:
    return _EPOCH + timedelta(seconds=at)
