"""A report as JSON, as CSV and as a table for a terminal."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal

from exporter.account_id import AccountId, full_name
from exporter.report.figures import Writer
from exporter.report.rows import ReportRow, bills
from exporter.report.span import day_of, in_words
from exporter.report.spending import Spending
from exporter.runtime.redaction import escape
from exporter.state.base import DAY

_NAMED = 3
COLUMNS = ("name", "unit", "spent", "added", "lapsed", "money", "currency")


def as_json(report: Spending) -> str:
    """Return the report as JSON. Its numbers have every digit."""
    texts = []
    for row in report.rows:
        values = [json.dumps(text) if text else "null" for text in (row.name, row.kind.unit)]
        values += [_digits(amount) or "null" for amount in (row.spent, row.added, row.lapsed, row.money)]
        values.append(json.dumps(row.kind.currency or None))
        texts.append("{" + ", ".join(f'"{name}": {value}' for name, value in zip(COLUMNS, values, strict=True)) + "}")
    head = json.dumps({"from": report.span.first.isoformat(), "to": report.span.last.isoformat()})
    return f'{head[:-1]}, "rows": [' + ",".join(f"\n  {text}" for text in texts) + "\n]}\n"


def as_csv(report: Spending) -> str:
    """Return the report as CSV by RFC 4180. An unknown number is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in report.rows:
        numbers = [_digits(amount) for amount in (row.spent, row.added, row.lapsed, row.money)]
        writer.writerow([_inert(row.name), _inert(row.kind.unit), *numbers, row.kind.currency])
    return text.getvalue()


def as_table(report: Spending) -> str:
    """Return the report for a terminal."""
    write = Writer((*report.rows, *report.totals))
    head = [report.title.upper(), "SPENT", "ADDED", "LAPSED", "UNIT", "MONEY"]
    if report.is_open:
        head.append(f"EXPECTED BY {in_words(report.span.last).upper()}")
    kinds = Counter(row.kind for row in report.rows)
    forecast_apart = report.is_open and all(row.coming is None for row in report.rows)
    lines = [head]
    for row in (*report.rows, *(total for total in report.totals if kinds[total.kind] > 1 or forecast_apart)):
        amounts = [write.amount(row.kind.unit, row.spent)]
        amounts += ["-" if each is None else write.amount(row.kind.unit, each) for each in (row.added, row.lapsed)]
        cells = [escape(row.name) or "total", *amounts, escape(row.kind.unit), write.money(row)]
        lines.append(cells + [_expected(write, row)] * report.is_open)
    for bill in bills(report.totals):
        if sum(total.kind.currency == bill.kind.currency for total in report.totals) > 1:
            cells = [f"total {bill.kind.currency}", "", "", "", "", write.money(bill)]
            lines.append(cells + [write.expected(bill)] * report.is_open)
    parts = [f"{report.span}, in UTC", "", *_columns(lines, right=(1, 2, 3, 5, 6))]
    if report.inflows:
        lines = [["DAY", "ADDED", "LAPSED", "UNIT", "ACCOUNTS"]]
        for inflow in report.inflows:
            amounts = [write.amount(inflow.kind.unit, amount) for amount in (inflow.added, inflow.lapsed)]
            lines.append(
                [in_words(day_of(inflow.day * DAY)), *amounts, escape(inflow.kind.unit), named(inflow.accounts)]
            )
        parts += ["", "Top-ups, refills and lapses", "", *_columns(lines, right=(1, 2))]
    parts += [""] * bool(report.notes) + [f"Note: {note}" for note in report.notes]
    return "\n".join(parts) + "\n"


def _expected(write: Writer, row: ReportRow) -> str:
    text = write.expected(row)
    return f"{text} {escape(row.kind.unit)}" if text and row.expected_money is None else text


def named(accounts: Sequence[AccountId]) -> str:
    """Return the names of the first accounts, and how many more there are."""
    names = ", ".join(escape(full_name(account)) for account in accounts[:_NAMED])
    return names + (f" and {len(accounts) - _NAMED:,} more" if len(accounts) > _NAMED else "")


def _columns(lines: Sequence[Sequence[str]], right: Collection[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        padded = (cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(cells))
        yield "  ".join(padded).rstrip()


def _digits(amount: Decimal | None) -> str:
    """Return a number with every digit, an empty text for None."""
    if amount is None:
        return ""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _inert(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula, because vendors name operations."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
