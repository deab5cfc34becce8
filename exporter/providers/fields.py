"""Reads the fields of a vendor's JSON. A field has a value, is absent, or is rejected.

A field is absent (None) if the vendor did not send it or sent null. It is rejected if it has a wrong type. Then
its path is noted, and the rest of the response is used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from math import inf, isfinite

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_TIME = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_MAX_CHARACTERS = 256
MAX_REJECTED = 1000
"""Rejected fields of a response that are noted. A response of 1 MiB may have a quarter of a million."""


def label(value: str) -> str:
    """Return a text as a label value, cut to 256 characters and safe to encode as UTF-8.

    It is interned, because thousands of accounts have the same few services and plans.
    """
    text = value[:_MAX_CHARACTERS]
    return sys.intern(text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8"))


def parse_number(value: object) -> float | None:
    """Return a JSON number, or a string with one, as a float. Return None for anything else or if not finite."""
    if isinstance(value, str):
        if value == "unlimited":
            return inf
        if len(value) > 400 or not _NUMBER.fullmatch(value):
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def exact_sum(*amounts: float) -> float:
    """Add as decimals, so that 0.1 + 0.2 is 0.3. ``inf`` stays ``inf``."""
    return float(sum(Decimal(repr(amount)) for amount in amounts))


def parse_time(text: str) -> float | None:
    """Return an ISO 8601 time as Unix seconds, or None for another text. A time without an offset is UTC."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            min(int(second or 0), 59),
            tzinfo=timezone(_offset(offset or "Z")),
        )
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    leap = 1 if second == "60" else 0
    if int(second or 0) > 60:
        return None
    return seconds + leap + (float("0." + fraction) if fraction else 0.0)


def _offset(text: str) -> timedelta:
    if text in "Zz":
        return timedelta(0)
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -offset if text[0] == "-" else offset


class FieldReader:
    """An object of a response. All blocks of a response note the paths of rejected fields in one list."""

    def __init__(self, values: Mapping[str, object], path: str, rejected: list[str]) -> None:
        self._values = values
        self._path = path
        self._rejected = rejected

    def sent(self, name: str) -> bool:
        """Return whether the vendor sent the field with a value other than null."""
        return self._values.get(name) is not None

    def _first(self, names: tuple[str, ...]) -> tuple[str, object]:
        """Return the first of these fields that was sent, and its value."""
        for name in names:
            value = self._values.get(name)
            if value is not None:
                return name, value
        return names[0], None

    def reject(self, name: str) -> None:
        """Note that a field could not be read."""
        if len(self._rejected) < MAX_REJECTED:
            self._rejected.append(f"{self._path}.{label(name)}" if self._path else label(name))

    def number(self, *names: str) -> float | None:
        """Return the first of these fields that was sent, as a number. ``"unlimited"`` is ``inf``."""
        name, value = self._first(names)
        if value is None:
            return None
        number = parse_number(value)
        if number is None:
            self.reject(name)
        return number

    def text(self, name: str) -> str | None:
        """Return a field that is a string."""
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        self.reject(name)
        return None

    def flag(self, name: str) -> bool | None:
        """Return a field that is true or false."""
        value = self._values.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.reject(name)
        return None

    def time(self, *names: str) -> float | None:
        """Return the first of these fields that was sent, an ISO 8601 time, as Unix seconds."""
        name, value = self._first(names)
        if value is None:
            return None
        moment = parse_time(value) if isinstance(value, str) else None
        if moment is None:
            self.reject(name)
        return moment

    def nested(self, name: str) -> FieldReader | None:
        """Return a field that is an object."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.reject(name)
            return None
        return FieldReader(value, f"{self._path}.{name}" if self._path else name, self._rejected)

    def names(self) -> Iterator[str]:
        """Return the names of all fields, for objects whose names are not known in advance."""
        return iter(self._values)
