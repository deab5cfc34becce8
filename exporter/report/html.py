"""A report as one HTML file without outside requests, to be sent by mail."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from exporter.charts import stylesheet
from exporter.charts.curves import LAYERS, Layer, bar_chart
from exporter.charts.plot import Frame, Mark
from exporter.report.figures import Writer, figure
from exporter.report.rows import NO_LABEL, Kind, ReportRow, bills
from exporter.report.span import Span, day_of, in_words, moment
from exporter.report.spending import Spending
from exporter.report.texts import named
from exporter.runtime.redaction import escape
from exporter.state.base import DAY
from exporter.state.bookings import ZERO

_MOST_DAYS = 124
"""Longer spans have a bar for each month."""
_MOST_MARKS = 12


@dataclass(frozen=True, slots=True)
class Section:
    """The part of the page about one kind of amount. ``layers`` are the colours of its bars and their names."""

    kind: Kind
    total: ReportRow
    rows: Sequence[ReportRow]
    chart: str
    layers: Sequence[Layer]
    first: int | None

    @property
    def since(self) -> str:
        """Return the first day with numbers, an empty text if that is the first day of the span."""
        return in_words(day_of(self.first * DAY)) if self.first is not None else ""


class Share(NamedTuple):
    """What a name cost in each currency, and what it spent ``beside`` that without a price."""

    name: str
    costs: Sequence[str]
    beside: Sequence[str]


def as_html(report: Spending) -> str:
    """Return the page."""
    here = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = escape
    write = Writer((*report.rows, *report.totals))
    in_all = bills(report.totals)
    return environment.get_template("report.html").render(
        report=report,
        sections=[_section(report, total, write) for total in report.totals],
        write=write,
        has_unlabelled=any(row.name == NO_LABEL for row in report.rows),
        has_forecasts=any(row.coming is not None for row in report.rows),
        inflows=[(in_words(day_of(each.day * DAY)), each, named(each.accounts)) for each in report.inflows],
        made=moment(report.at),
        first=in_words(report.span.first),
        last=in_words(report.span.last),
        bills=in_all,
        figure=figure,
        shares=_shares(report, in_all, write),
        styles=stylesheet() + (here / "report.css").read_text(encoding="utf-8"),
    )


def _shares(report: Spending, in_all: Sequence[ReportRow], write: Writer) -> list[Share]:
    """Return the money of each name in each currency, unless there is only one table that has it anyway."""
    money: dict[str, dict[str, Decimal]] = {}
    for row in report.rows:
        if row.money is not None:
            sums = money.setdefault(row.name, {})
            sums[row.kind.currency] = sums.get(row.kind.currency, ZERO) + row.money
    beside: dict[str, list[str]] = {}
    for row in report.rows:
        if row.name in money and not row.kind.currency and row.spent:
            amount = f"{write.amount(row.kind.unit, row.spent)} {row.kind.unit} without a price"
            beside.setdefault(row.name, []).append(amount)
    if sum(bool(total.kind.currency) for total in report.totals) < 2 and not beside:
        return []
    currencies = [bill.kind.currency for bill in in_all]

    def rank(name: str) -> tuple[object, ...]:
        return () if report.is_in_time else (*(-money[name].get(each, ZERO) for each in currencies),)

    return [
        Share(
            name,
            [figure(money[name][each], 2) if each in money[name] else "" for each in currencies],
            beside.get(name, []),
        )
        for name in sorted(money, key=lambda name: (*rank(name), name))
    ]


def _section(report: Spending, total: ReportRow, write: Writer) -> Section:
    kind = total.kind
    rows = [row for row in report.rows if row.kind == kind]
    starts = _starts(report.span)
    layers = list(_layers([total] if report.is_in_time else rows, starts))
    each, width = ("month", 28 * DAY) if len(report.span) > _MOST_DAYS else ("day", DAY)
    frame = Frame(
        name=f"chart-{report.totals.index(total)}",
        title=f"Spent each {each} in {kind.currency or escape(kind.unit)}, {report.span}",
        description=f"{write.amount(kind.unit, total.spent)} {escape(kind.unit)} in all. The table has the numbers.",
        begin=report.span.begin,
        end=report.span.end,
        write=lambda value: figure(value, 0 if value == int(value) else 2),
    )
    first = min(total.by_day, default=None)
    if first is not None and first * DAY <= report.span.begin:
        first = None
    chart = bar_chart(frame, starts, width, layers, marks=_marks(report, kind, write))
    return Section(kind, total, rows, chart, layers, first)


def _layers(rows: Sequence[ReportRow], starts: Sequence[int]) -> Iterator[Layer]:
    """Yield the largest rows, and the rest as one."""
    ranked = sorted((row for row in rows if any(row.by_day.values())), key=lambda row: -sum(row.by_day.values()))
    shown = len(ranked) if len(ranked) <= LAYERS else LAYERS - 1
    for colour, row in enumerate(ranked[:shown], 1):
        yield Layer(escape(row.name) or "spent", colour, _heights([row], starts))
    if rest := ranked[shown:]:
        yield Layer(f"{len(rest):,} others", LAYERS, _heights(rest, starts))


def _heights(rows: Sequence[ReportRow], starts: Sequence[int]) -> list[float]:
    heights = [0.0] * len(starts)
    for row in rows:
        for day, amount in row.by_day.items():
            heights[bisect_right(starts, day * DAY) - 1] += float(amount)
    return heights


def _starts(span: Span) -> list[int]:
    """Return when each bar begins, in Unix seconds."""
    days = range(span.begin, span.end, DAY)
    return [at for at in days if len(span) <= _MOST_DAYS or at == span.begin or day_of(at).day == 1]


def _marks(report: Spending, kind: Kind, write: Writer) -> list[Mark]:
    inflows = [inflow for inflow in report.inflows if inflow.kind == kind]
    if len(inflows) > _MOST_MARKS or len(report.span) > _MOST_DAYS:
        return []
    return [
        Mark(
            inflow.day * DAY + DAY / 2,
            "added" if inflow.added else "reset",
            f"{write.amount(kind.unit, inflow.added)} added, {write.amount(kind.unit, inflow.lapsed)} lapsed",
        )
        for inflow in inflows
    ]
