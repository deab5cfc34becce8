"""Writes the history of an account as CSV, a row for each reading."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from math import inf
from urllib.parse import quote

from exporter.account_id import AccountId
from exporter.readings import Series
from exporter.status.words import UNLIMITED, iso

_COLUMNS = ("unit", "balance", "spent", "added", "lapsed", "storage", "channels", "period")
_NAMES = (
    *("span", "time", "unit", "balance", "spent_total", "added_total", "lapsed_total"),
    *("storage_used_ratio", "channels_used_ratio", "period"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(hours: Series, days: Series) -> str:
    """Return the readings of all hours, then those of all days. What is not known is empty."""
    operations = sorted({**hours.used, **days.used})
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_NAMES, *(f"used {name}" for name in operations)])
    for span, series in (("hour", hours), ("day", days)):
        writer.writerows(_rows(span, series, operations))
    return text.getvalue()


def attachment(account: AccountId) -> tuple[str, str]:
    """Return the header that names the file in which a browser keeps the table."""
    name = quote(f"{'-'.join(account)}.csv", safe="", errors="replace")
    return "content-disposition", f"attachment; filename*=UTF-8''{name}"


def _rows(span: str, series: Series, operations: list[str]) -> Iterator[list[object]]:
    columns = [getattr(series, name) for name in _COLUMNS]
    used = [series.used.get(name, [None] * len(series)) for name in operations]
    for number, at in enumerate(series.at):
        unit, *values, period = (column[number] for column in columns)
        # A spreadsheet would run a unit that begins like a formula.
        unit = f"'{unit}" if unit.startswith(_FORMULA) else unit
        mark = None if period is None else iso(period)
        values = [UNLIMITED if value == inf else value for value in values]
        yield [span, iso(at), unit, *values, mark, *(column[number] for column in used)]
