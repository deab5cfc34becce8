"""What every chart has: its size, its grid, the levels and moments that are marked in it, and its words.

The drawing has no width of its own. Everything stands at a percentage of the width, so that letters keep their size
on a phone and on a wide screen. Only the curves are stretched, in an SVG of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from exporter.charts.axes import date_text, short, time_ticks, value_ticks

WIDTH, HEIGHT = 10_000, 1_000
"""The units in which curves are drawn."""
_TOP, _PLOT, _BOTTOM = 20, 150, 22
"""Pixels for the marks, the curves and the labels of the time."""
_LETTER = 12
"""Pixels from one line of text to the next."""
_LAST_LABEL, _LAST_LABEL_NARROW = 0.89, 0.82
"""Places after which a label of the time would not fit beside its tick, on the narrowest chart of a screen or phone."""
_LONG = 1e6
"""Values from here on are written in thousands of thousands, because the margin has room for seven digits."""


class LevelLine(NamedTuple):
    """A line across the chart. ``kind`` is ``warning`` or ``critical``."""

    value: float
    kind: str
    text: str


class Mark(NamedTuple):
    """A moment. ``kind`` is ``added``, ``reset`` or ``end``."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True)
class Frame:
    """The words and the span of a chart. ``name`` is unique on the page, times are Unix seconds.

    ``write`` turns a value into text.
    """

    name: str
    title: str
    description: str
    begin: float
    end: float
    write: Callable[[float], str]


class Scale:
    """The range of the values, from 0 or below it."""

    def __init__(self, frame: Frame, values: Iterable[float]) -> None:
        known = [0.0, *values]
        self.ticks = value_ticks(min(known), max(known))
        self._frame = frame

    def x(self, at: float) -> float:
        """Return the place of a time, from 0 to 1."""
        return (at - self._frame.begin) / (self._frame.end - self._frame.begin)

    def y(self, value: float) -> float:
        """Return the place of a value, from 0 at the top to 1."""
        return 1 - (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])

    def point(self, at: float, value: float) -> str:
        """Return a point of a curve."""
        return f"{self.x(at) * WIDTH:.0f} {self.y(value) * HEIGHT:.0f}"


def drawn(
    frame: Frame, scale: Scale, curves: str, hits: str, levels: Sequence[LevelLine] = (), marks: Sequence[Mark] = ()
) -> str:
    """Return a chart with these curves. They are elements in units of ``WIDTH`` and ``HEIGHT``."""
    height = _TOP + _PLOT + _BOTTOM
    name = escape(frame.name)
    words = f'<title id="{name}-title">{escape(frame.title)}</title>'
    words += f'<desc id="{name}-desc">{escape(frame.description)}</desc>'
    return (
        f'<svg class="chart" role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc" '
        f'width="100%" height="{height}">{words}{_grid(frame, scale)}'
        f'<svg y="{_TOP}" width="100%" height="{_PLOT}" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f"{curves}</svg>{_levels(scale, levels)}{_marks(frame, scale, marks)}{hits}</svg>"
    )


def hits(frame: Frame, scale: Scale, places: Iterable[tuple[float, float, str]], *, exact: bool) -> str:
    """Return places from a time to a time. Each shows its time and its text to a mouse."""
    return "".join(
        f'<rect class="hit" x="{_percent(scale.x(begin))}" width="{_percent(max(0.0, scale.x(end) - scale.x(begin)))}" '
        f'y="{_TOP}" height="{_PLOT}"><title>{date_text(begin, exact=exact)}: {escape(text)}</title></rect>'
        for begin, end, text in places
        if frame.begin <= begin <= frame.end
    )


def _grid(frame: Frame, scale: Scale) -> str:
    lines, labels = [], []
    for value in scale.ticks:
        y = _pixel(scale.y(value))
        lines.append(f'<line x2="100%" y1="{y}" y2="{y}"{_zero(value)}/>')
        text = short(value) if abs(value) >= _LONG else frame.write(value)
        labels.append(f'<text class="value" x="-8" y="{y + 4}">{escape(text)}</text>')
    for number, (at, label) in enumerate(time_ticks(frame.begin, frame.end)):
        place = scale.x(at)
        lines.append(
            f'<line x1="{_percent(place)}" x2="{_percent(place)}" y1="{_TOP + _PLOT}" y2="{_TOP + _PLOT + 5}"/>'
        )
        if place < _LAST_LABEL:
            dense = ' class="dense"' if number % 2 or place > _LAST_LABEL_NARROW else ""
            labels.append(f'<text x="{_percent(place)}" dx="3" y="{_TOP + _PLOT + 16}"{dense}>{label}</text>')
    return f'<g class="grid">{"".join(lines)}{"".join(labels)}</g>'


def _zero(value: float) -> str:
    return ' class="zero"' if value == 0 else ""


def _levels(scale: Scale, levels: Sequence[LevelLine]) -> str:
    parts, free = [], _TOP + _PLOT + _LETTER
    for level in sorted(levels):
        at = _pixel(scale.y(level.value))
        free = min(at - 3, free - _LETTER)
        parts.append(
            f'<line class="level {level.kind}" x2="100%" y1="{at}" y2="{at}"/>'
            f'<text class="level {level.kind}" x="4" y="{free}">{escape(level.text)}</text>'
        )
    return "".join(parts)


_SHAPES = {"added": "M-5 9L0 0L5 9z", "reset": "M-5 0H5L0 9z", "end": "M0 0V9"}


def _marks(frame: Frame, scale: Scale, marks: Sequence[Mark]) -> str:
    parts = []
    for mark in marks:
        if not frame.begin <= mark.at <= frame.end:
            continue
        at = _percent(scale.x(mark.at))
        parts.append(
            f'<g class="mark {mark.kind}"><line x1="{at}" x2="{at}" y1="{_TOP - 8}" y2="{_TOP + _PLOT}"/>'
            f'<svg x="{at}" y="4" overflow="visible"><path d="{_SHAPES[mark.kind]}"/></svg>'
            f"<title>{date_text(mark.at, exact=False)}: {escape(mark.text)}</title></g>"
        )
    return "".join(parts)


def _pixel(share: float) -> int:
    return round(_TOP + share * _PLOT)


def _percent(share: float) -> str:
    return f"{share * 100:.2f}%"
