"""What a report says, whatever it is written as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.report.booking import Booked
from exporter.report.coverage import Coverage, Note
from exporter.report.rows import Grouping, Inflow, Inflows, ReportRow, Table
from exporter.report.span import Span


@dataclass(frozen=True, slots=True)
class Spending:
    """A report, made ``at`` a Unix time. ``accounts`` is the number of those that have numbers."""

    span: Span
    by: str
    at: float
    accounts: int
    rows: Sequence[ReportRow]
    totals: Sequence[ReportRow]
    inflows: Sequence[Inflow]
    notes: Sequence[Note]

    @property
    def title(self) -> str:
        """Return what a row is."""
        return self.by.partition(":")[2] or self.by

    @property
    def is_in_time(self) -> bool:
        """Tell whether rows are days or months."""
        return self.by in ("day", "month")

    @property
    def is_open(self) -> bool:
        """Tell whether the span has not ended, so that there are forecasts."""
        return self.span.end > self.at

    @property
    def is_known(self) -> bool:
        """Tell whether there is any number."""
        return any(row.spent is not None for row in self.totals)


def spending(accounts: Iterable[Booked], grouping: Grouping, span: Span, now: float) -> Spending:
    """Return the report on these accounts at a time in Unix seconds. It keeps no account, because there may be many."""
    table, coverage, inflows, count = Table(grouping, span, now), Coverage(grouping, span, now), Inflows(grouping), 0
    for booked in accounts:
        table.add(booked)
        coverage.add(booked)
        inflows.add(booked)
        count += bool(booked.steps)
    rows = table.rows()
    return Spending(
        span=span,
        by=grouping.by,
        at=now,
        accounts=count,
        rows=rows,
        totals=table.totals(),
        inflows=inflows.in_order(),
        notes=coverage.notes(rows),
    )
