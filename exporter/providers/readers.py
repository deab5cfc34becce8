"""The fields of a declared provider: an expression with how its value is to be read.

A field has a value, is absent, or is rejected. What is rejected is noted in the ``Reader``, and the rest is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Context, Decimal
from email.utils import parsedate_to_datetime
from math import inf, isfinite
from typing import TypeVar

from exporter.providers.expressions import Expression, UnreadableField, kind
from exporter.providers.fields import MAX_REJECTED, label, parse_number, parse_time

_T = TypeVar("_T")

LISTS = ("sum", "min", "max")
TIMES = ("iso", "date", "unix", "unix-ms", "http-date")
_DATE_LENGTHS = (8, 10)
_PRECISE = Context(prec=60, traps=[])  # what overflows becomes infinite
_NUMBERED = frozenset({"unix", "unix-ms"})
_EARLIEST_UNIX_SECONDS = 978_307_200.0  # the year 2001, because seconds that are read as milliseconds lie in 1970
_LATEST_UNIX_SECONDS = 253_402_300_800.0  # the year 10000


@dataclass(frozen=True, slots=True)
class ResponseField:
    """A field of the response. ``unlimited`` are the values that mean that there is no limit."""

    expression: Expression
    scale: float | None = None
    list_: str | None = None
    unlimited: tuple[object, ...] = ("unlimited",)
    time: str = "iso"
    _unlimited: frozenset[tuple[type, object]] = field(init=False, repr=False, compare=False)
    _factor: Decimal | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare what each reading needs."""
        object.__setattr__(self, "_unlimited", frozenset(_typed(self.unlimited)))
        object.__setattr__(self, "_factor", None if self.scale is None else Decimal(repr(self.scale)))

    def number_of(self, document: object) -> float | None:
        """Return the field as a number, None where it is absent. Raise UnreadableField."""
        value = self.expression.of(document)
        if isinstance(value, list) and self.list_ is not None:
            return self._of_list(value)
        if value is None and not self.expression.is_sent(document):
            return None  # also where null means unlimited, because a vendor that leaves a limit out does not say so
        return self._one(value)

    def time_of(self, document: object) -> float | None:
        """Return the field as Unix seconds, None where it is absent. Raise UnreadableField."""
        value = self.expression.of(document)
        if isinstance(value, list) and self.list_ is not None:
            found = (self._moment(item) for item in value)
            moments = [moment for moment in found if moment is not None]
            return (max if self.list_ == "max" else min)(moments) if moments else None
        return None if value is None else self._moment(value)

    def text_of(self, document: object) -> str | None:
        """Return the field as a text, None where it is absent. Raise UnreadableField."""
        value = self.expression.of(document)
        if value is None or isinstance(value, str):
            return value
        raise UnreadableField(f"must be a text, not {kind(value)}")

    def flag_of(self, document: object) -> bool | None:
        """Return the field as true or false, None where it is absent. Raise UnreadableField."""
        value = self.expression.of(document)
        if value is None or isinstance(value, bool):
            return value
        raise UnreadableField(f"must be true or false, not {kind(value)}")

    def _of_list(self, values: Sequence[object]) -> float | None:
        numbers: list[float] = []
        for value in values:
            number = self._one(value)
            if number is None:
                raise UnreadableField("has an item that is null")
            numbers.append(number)
        if not numbers:
            return None
        if self.list_ != "sum":
            return min(numbers) if self.list_ == "min" else max(numbers)
        total = inf if inf in numbers else float(sum(Decimal(repr(number)) for number in numbers))
        if total == inf and inf not in numbers:
            raise UnreadableField("has a sum that is too large")
        return total

    def _one(self, value: object) -> float | None:
        if not isinstance(value, (list, dict)) and (type(value), value) in self._unlimited:
            return inf
        if value is None:
            return None
        if value == "unlimited":
            raise UnreadableField("is the text unlimited, which `unlimited` does not list")
        number = parse_number(value)
        if number is not None and (float, number) in self._unlimited:
            return inf
        if number is None:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                raise UnreadableField("must be a number, not NaN or one that is too large")
            hint = ". Write `list: sum`, min or max" if isinstance(value, list) else ""
            raise UnreadableField(f"must be a number, not {kind(value)}{hint}")
        return number if self._factor is None else _scaled(number, self._factor)

    def _moment(self, value: object) -> float | None:
        moment = _MOMENTS[self.time](value)
        if moment == 0 and self.time in _NUMBERED:
            return None  # because vendors write 0 where there is no time
        earliest = _EARLIEST_UNIX_SECONDS if self.time in _NUMBERED else 0.0
        if moment is None or not isfinite(moment) or not earliest <= moment < _LATEST_UNIX_SECONDS:
            raise UnreadableField(f"must be a time in the form {self.time}, not {_instead(value, self.time)}")
        return moment


def _typed(words: Sequence[object]) -> Iterator[tuple[type, object]]:
    """Yield each value with its type, because true is no 1. A number is also yielded as it is after it was read."""
    for word in words:
        yield type(word), word
        number = parse_number(word)
        if number is not None and isfinite(number):
            yield float, number


def _instead(value: object, form: str) -> str:
    """Return in words what is there in place of a time, and which form would read it."""
    words = "one in another form" if isinstance(value, str) else kind(value)
    fits = [other for other in TIMES if other != form and _is_recent(_MOMENTS[other](value))]
    return f"{words}. It can be read as `time: {fits[0]}`" if fits else words


def _is_recent(moment: float | None) -> bool:
    """Return whether a time lies between 2001 and 2100, where seconds and milliseconds cannot be confused."""
    return moment is not None and 1e9 < moment < 4.1e9


def _scaled(number: float, factor: Decimal) -> float:
    """Multiply as decimals, so that 17231 * 0.01 is 172.31."""
    result = float(_PRECISE.multiply(Decimal(repr(number)), factor))
    if not isfinite(result):
        raise UnreadableField("is too large")
    return result


def _iso(value: object) -> float | None:
    return parse_time(value) if isinstance(value, str) else None


def _date(value: object) -> float | None:
    return parse_time(value) if isinstance(value, str) and len(value) in _DATE_LENGTHS else None


def _unix(value: object) -> float | None:
    number = parse_number(value)
    return number if number is not None and isfinite(number) else None


def _unix_ms(value: object) -> float | None:
    number = _unix(value)
    return None if number is None else number / 1000


def http_date(value: object) -> float | None:
    """Return the Unix seconds of a date as HTTP writes it, or None."""
    if not isinstance(value, str):
        return None
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # HTTP dates are in UTC, also where a zone of -0000 makes Python leave it out.
    return (date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)).timestamp()


_MOMENTS: Mapping[str, Callable[[object], float | None]] = {
    "iso": _iso,
    "date": _date,
    "unix": _unix,
    "unix-ms": _unix_ms,
    "http-date": http_date,
}


@dataclass(slots=True)
class FieldOutcome:
    """What became of one field, for ``try-provider``. A field without a value says why, if that is known."""

    name: str
    value: object = None
    rejected: str = ""
    absent: str = ""


@dataclass(slots=True)
class Reader:
    """Reads fields of one response. Each rejection is noted once under the vendor's path, or else the field's name."""

    document: object
    prefix: str = ""
    rejected: dict[str, None] = field(default_factory=dict)
    outcomes: list[FieldOutcome] | None = None
    is_item: bool = False

    def inside(self, document: object, prefix: str) -> Reader:
        """Return a reader of an item of a list."""
        return Reader(document, self.prefix + prefix, self.rejected, self.outcomes, is_item=True)

    def number(self, name: str, field_: ResponseField | None) -> tuple[float | None, bool]:
        """Return a number, and whether it was rejected."""
        return self._read(name, field_, ResponseField.number_of)

    def time(self, name: str, field_: ResponseField | None) -> float | None:
        """Return a time as Unix seconds. Its outcome is a date, which shows a wrong form at a glance."""
        moment = self._read(name, field_, ResponseField.time_of)[0]
        if moment is not None and self.outcomes is not None:
            self.outcomes[-1].value = f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        return moment

    def text(self, name: str, field_: ResponseField | None) -> tuple[str | None, bool]:
        """Return a text as a label value, and whether it was rejected."""
        value, rejected = self._read(name, field_, ResponseField.text_of)
        if self.is_item and field_ is not None and self.outcomes and self.outcomes[-1].absent:
            self.outcomes[-1].absent += ". A fixed text has quotes of its own, as in \"'pack'\""
        return None if value is None else label(value), rejected

    def flag(self, name: str, field_: ResponseField | None) -> tuple[bool | None, bool]:
        """Return true or false, and whether it was rejected."""
        return self._read(name, field_, ResponseField.flag_of)

    def items(self, name: str, expression: Expression) -> list[object]:
        """Return the items of a list; none where it is absent or rejected."""
        try:
            value = expression.of(self.document)
            if value is not None and not isinstance(value, list):
                raise UnreadableField(f"must be a list, not {kind(value)}")
        except UnreadableField as error:
            self._reject(name, error, expression)
            return []
        return value or []

    def reject(self, name: str, why: str) -> None:
        """Note a field that was read and cannot be used."""
        self._note(name)
        if self.outcomes is not None:
            self.outcomes.append(FieldOutcome(self.prefix + name, rejected=why))

    def _read(
        self, name: str, field_: ResponseField | None, read: Callable[[ResponseField, object], _T | None]
    ) -> tuple[_T | None, bool]:
        if field_ is None:
            return None, False
        try:
            value = read(field_, self.document)
        except UnreadableField as error:
            self._reject(name, error, field_.expression)
            return None, True
        if self.outcomes is not None:
            whole = "the item" if self.is_item else "the response"
            absent = field_.expression.why_absent(self.document, whole) if value is None else ""
            self.outcomes.append(FieldOutcome(self.prefix + name, value, absent=absent))
        return value, False

    def _reject(self, name: str, error: UnreadableField, expression: Expression) -> None:
        # A block of the wrong type is one mistake of the vendor, also where several fields lie in it.
        path = error.where or (".".join(expression.path) if expression.path else name)
        self._note(path)
        if self.outcomes is not None:
            self.outcomes.append(FieldOutcome(self.prefix + name, rejected=str(error)))

    def _note(self, path: str) -> None:
        if len(self.rejected) < MAX_REJECTED:
            self.rejected[self.prefix + path] = None
