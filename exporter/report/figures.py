"""Writes the numbers of a report for people."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from exporter.report.rows import Kind, ReportRow

UNKNOWN = "not known"


class Writer:
    """Writes amounts with two decimals where any amount of their unit has a fraction, and without otherwise."""

    def __init__(self, rows: Iterable[ReportRow]) -> None:
        self._fractional = {
            row.kind.unit
            for row in rows
            for amount in (row.spent, row.added, row.lapsed)
            if amount is not None and amount != amount.to_integral_value()
        }

    def amount(self, unit: str, amount: Decimal | float | None) -> str:
        """Return an amount in a unit."""
        return UNKNOWN if amount is None else figure(amount, 2 if unit in self._fractional else 0)

    def booked(self, unit: str, amount: Decimal | None) -> str:
        """Return an amount that is usually 0 or has no place in a row, which both are an empty text."""
        return self.amount(unit, amount) if amount else ""

    def share(self, row: ReportRow, total: ReportRow) -> str:
        """Return the share of a row in a total, in money where there is a price."""
        part, whole = (row.money, total.money) if row.money is not None else (row.spent, total.spent)
        return "" if part is None or not whole else f"{float(part / whole):.1%}"

    def money(self, row: ReportRow) -> str:
        """Return what a row cost, an empty text without a price."""
        return money(row.money, row.kind)

    def expected(self, row: ReportRow) -> str:
        """Return what a row will come to, in money where it has a price."""
        if row.expected_money is not None:
            return money(row.expected_money, row.kind)
        return "" if row.expected is None else self.amount(row.kind.unit, row.expected)


def money(amount: Decimal | float | None, kind: Kind) -> str:
    """Return an amount of money with its currency, an empty text for None."""
    return "" if amount is None else f"{figure(amount, 2)} {kind.currency}"


def figure(amount: Decimal | float, decimals: int) -> str:
    """Return a number with separated thousands. A tiny one is not rounded to 0."""
    if amount and -0.005 < amount < 0.005:
        return "less than 0.01" if amount > 0 else "just below 0"
    if isinstance(amount, Decimal):
        # Half a cent is rounded up, as on invoices. The format alone rounds it to the even digit.
        amount = amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return f"{amount:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")
