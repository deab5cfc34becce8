"""The charts of an account's page, each with its values as a table, and the small chart of its row in the overview."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple

from exporter.charts.axes import date_text
from exporter.charts.curves import LAYERS, Layer, Point, bar_chart, line_chart, sparkline
from exporter.charts.plot import Frame, LevelLine, Mark
from exporter.readings import Series
from exporter.state.base import DAY, Balance
from exporter.status.movements import Movement
from exporter.status.summary import Fill, Summary
from exporter.status.words import amount, percent

OPERATIONS = LAYERS - 1
"""Operations that have a colour of their own. All others share one."""
_TREND_POINTS = 42
UNSPLIT = "not split by operation"


class Figure(NamedTuple):
    """A chart as SVG, and the same as the body of a table in HTML, the newest first."""

    title: str
    svg: str
    columns: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Stretch:
    """The readings of hours or of days (``span``) until ``now``, and what happened between them."""

    name: str
    words: str
    span: int
    begin: float
    now: float
    series: Series
    changes: Sequence[Movement]

    def time(self, at: float) -> str:
        """Return a time as a row of a table has it."""
        return date_text(at, exact=self.span < DAY)


def trend(account: Summary, balances: Sequence[Balance], begin: float, now: float) -> str:
    """Return a small chart of the balance since ``begin``, or an empty text if there are no two figures."""
    points: list[Point] = [point for point in balances if begin <= point[0] <= now]
    present = account.credits.balance
    if present is not None and isfinite(present):
        points = [*points[:: len(points) // _TREND_POINTS + 1], (now, present)]
    if len(points) < 2:
        return ""
    text = f"Balance in the last week: from {amount(points[0][1])} to {amount(points[-1][1])}"
    return sparkline(points, begin, now, text)


def balance(part: Stretch, account: Summary) -> Figure | None:
    """Return the balance with its thresholds, top-ups, resets and the end of the period."""
    credits, end = account.credits, account.period_end
    points = _points(part, part.series.balance)
    if not points:
        return None
    # A period's end that is far away would leave no room for what was.
    end = end if end is not None and part.now < end < part.now + (part.now - part.begin) / 3 else None
    title, last = f"Balance, {part.words}", points[-1][1]
    frame = Frame(f"balance-{part.name}", title, _told(part, points, amount), part.begin, end or part.now, amount)
    levels = [
        LevelLine(value, kind, f"{kind} below {amount(value)}")
        for kind, value in (("warning", credits.warning_below), ("critical", credits.critical_below))
        if value > 0
    ]
    marks = [*_marks(part), *([Mark(end, "end", "the period ends")] if end else [])]
    ahead = _ahead(part.now, end, last, credits.runway_seconds) if end else ()
    svg = line_chart(frame, points, gap=_gap(part, account), levels=levels, marks=marks, ahead=ahead)
    return Figure(title, svg, ("Time", f"Balance in {credits.unit}"), _body(part, points, amount))


def spend(part: Stretch, operations: Sequence[str]) -> Figure | None:
    """Return what was spent in each hour or day, split by these operations, of which ``OPERATIONS`` have a colour."""
    changes = [change for change in part.changes if change.start + part.span > part.begin]
    if not changes:
        return None
    layers = _layers(changes, operations)
    each = "day" if part.span == DAY else "hour"
    title = f"Spend of each {each}, {part.words}"
    begin = part.begin // part.span * part.span
    end = part.now // part.span * part.span + part.span
    whole = [_whole(change) for change in changes]
    frame = Frame(f"spend-{part.name}", title, f"{amount(sum(whole))} in all.", begin, end, amount)
    svg = bar_chart(frame, [change.start for change in changes], part.span, layers, marks=list(_marks(part)))
    body = [
        f"{_head(part, change.start)}<td>{amount(spent)}</td>"
        f"<td>{amount(change.added)}</td><td>{amount(change.lapsed)}</td></tr>"
        for change, spent in zip(reversed(changes), reversed(whole), strict=True)
    ]
    return Figure(title, svg, (each.capitalize(), "Spent", "Added", "Lapsed"), "".join(body))


def share(
    part: Stretch, account: Summary, name: str, fill: Fill | None, column: Sequence[float | None]
) -> Figure | None:
    """Return the used share of storage or channels with its thresholds."""
    points = _points(part, column)
    if fill is None or fill.limit == inf or not points:
        return None
    title = f"{name}, {part.words}"
    frame = Frame(f"{name.lower()}-{part.name}", title, _told(part, points, percent), part.begin, part.now, percent)
    levels = [
        LevelLine(value, kind, f"{kind} from {percent(value)}")
        for kind, value in (("warning", fill.warning_from), ("critical", fill.critical_from))
    ]
    svg = line_chart(frame, points, gap=_gap(part, account), levels=levels)
    return Figure(title, svg, ("Time", "Used"), _body(part, points, percent))


def _body(part: Stretch, points: Sequence[Point], write: Callable[[float], str]) -> str:
    """Return the rows of a table. A template would take several times as long for a thousand of them."""
    return "".join(f"{_head(part, at)}<td>{write(value)}</td></tr>" for at, value in reversed(points))


def _head(part: Stretch, at: float) -> str:
    return f'<tr><th scope="row">{part.time(at)}</th>'


def _points(part: Stretch, column: Sequence[float | None]) -> list[Point]:
    pairs = zip(part.series.at, column, strict=True)
    return [(at, value) for at, value in pairs if at >= part.begin and value is not None and isfinite(value)]


def _gap(part: Stretch, account: Summary) -> float:
    """Return for how many seconds nothing may be known before the line is broken."""
    return 2.5 * max(part.span, account.interval)


def _told(part: Stretch, points: Sequence[Point], write: Callable[[float], str]) -> str:
    (first, before), (last, after) = points[0], points[-1]
    low, high = min(value for _, value in points), max(value for _, value in points)
    return (
        f"From {write(before)} on {part.time(first)} to {write(after)} on {part.time(last)}, "
        f"between {write(low)} and {write(high)}."
    )


def _marks(part: Stretch) -> Iterator[Mark]:
    for change in part.changes:
        if change.reset:
            lapsed = f", {amount(change.lapsed)} lapsed" if change.lapsed else ""
            yield Mark(change.start, "reset", f"new period, {amount(change.added)} added{lapsed}")
        elif change.added:
            yield Mark(change.start, "added", f"{amount(change.added)} added")


def _ahead(now: float, end: float, last: float, runway: float | None) -> Sequence[Point]:
    """Return where the balance goes at the mean spend of this period, until it or the period ends."""
    if runway is None or not 0 < runway < float("inf"):
        return ()
    until = min(end, now + runway)
    return [(now, last), (until, last * max(0.0, 1 - (until - now) / runway))]


def _whole(change: Movement) -> float:
    """Return the spend by the ledger, or the use where that is more, as with an unlimited balance."""
    return max(change.spent, sum(change.used.values()))


def _layers(changes: Sequence[Movement], operations: Sequence[str]) -> list[Layer]:
    """Return the use by these operations, and what remains of the spend."""
    split = [[change.used.get(name, 0.0) for change in changes] for name in operations]
    whole = [_whole(change) for change in changes]
    rest = [each - sum(column[number] for column in split) for number, each in enumerate(whole)]
    # Sums of fractions leave a dust of difference.
    rest = [value if value > 1e-9 * each else 0.0 for value, each in zip(rest, whole, strict=True)]
    layers = [
        Layer(name, number + 1, values) for number, (name, values) in enumerate(zip(operations, split, strict=True))
    ]
    if any(rest) or not layers:
        layers.append(Layer("others" if layers else "spent", LAYERS if layers else 1, rest))
    return layers
