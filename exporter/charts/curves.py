"""The charts themselves: a line over time, bars for each hour or day, and a line for a row of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from exporter.charts.plot import HEIGHT, WIDTH, Frame, LevelLine, Mark, Scale, drawn, hits

LAYERS = 6
"""The colours that bars have. The last one is for the rest."""
_HITS = 100
"""The most points of a line that tell their value to a mouse."""
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 24

Point = tuple[float, float]


class Layer(NamedTuple):
    """A part of every bar, with the number of its colour from 1 to ``LAYERS``."""

    name: str
    colour: int
    values: Sequence[float]


def line_chart(
    frame: Frame,
    points: Sequence[Point],
    *,
    gap: float,
    levels: Sequence[LevelLine] = (),
    marks: Sequence[Mark] = (),
    ahead: Sequence[Point] = (),
) -> str:
    """Return a line through points of time and value. It is broken where nothing is known for ``gap`` seconds.

    ``ahead`` are points of what is expected, drawn as dashes.
    """
    values = [value for _, value in (*points, *ahead)]
    scale = Scale(frame, (*values, *(level.value for level in levels)))
    base = round(scale.y(0.0) * HEIGHT)
    areas, lines = [], []
    for piece in _pieces(points, gap):
        path = "L".join(scale.point(at, value) for at, value in piece)
        # A line that goes nowhere is drawn as a dot.
        lines.append(f"M{path}" if len(piece) > 1 else f"M{path}h0")
        first, last = (round(scale.x(at) * WIDTH) for at in (piece[0][0], piece[-1][0]))
        areas.append(f"M{first} {base}L{path}L{last} {base}z")
    curves = f'<path class="area" d="{"".join(areas)}"/><path class="line" d="{"".join(lines)}"/>'
    if ahead:
        curves += f'<path class="ahead" d="M{"L".join(scale.point(at, value) for at, value in ahead)}"/>'
    return drawn(frame, scale, curves, hits(frame, scale, _spots(frame, points, gap), exact=True), levels, marks)


def bar_chart(
    frame: Frame, starts: Sequence[float], width: float, layers: Sequence[Layer], *, marks: Sequence[Mark] = ()
) -> str:
    """Return bars that begin at ``starts`` and are ``width`` seconds wide. Each layer has a value for every bar."""
    totals = [sum(values) for values in zip(*(layer.values for layer in layers), strict=True)] or [0.0] * len(starts)
    scale = Scale(frame, totals)
    thick = max(1.0, scale.x(frame.begin + width) * WIDTH * 0.84)
    middles = [f"M{scale.x(start + width / 2) * WIDTH:.0f} {scale.y(0.0) * HEIGHT:.0f}V" for start in starts]
    tops = [0.0] * len(starts)
    paths: list[str] = []
    for layer in layers:
        tops = [top + value for top, value in zip(tops, layer.values, strict=True)]
        bars = (
            f"{middle}{scale.y(top) * HEIGHT:.0f}"
            for middle, top, value in zip(middles, tops, layer.values, strict=True)
            if value > 0
        )
        # A bar is a thick line, which takes half of the text of a rectangle. Later layers lie below, so all begin at 0.
        paths.insert(0, f'<path class="bars c{layer.colour}" stroke-width="{thick:.0f}" d="{"".join(bars)}"/>')
    places = (
        (start, start + width, _shares(frame, layers, number, totals[number])) for number, start in enumerate(starts)
    )
    return drawn(frame, scale, "".join(paths), hits(frame, scale, places, exact=width < 86_400), (), marks)


def sparkline(points: Sequence[Point], begin: float, end: float, text: str) -> str:
    """Return a small line without axes, from 0 to the largest value. ``text`` says what it shows."""
    low, high = min(0.0, *(value for _, value in points)), max(0.0, *(value for _, value in points))
    span, room = end - begin, high - low or 1.0
    path = "L".join(
        f"{(at - begin) / span * _SPARK_WIDTH:.0f} {_SPARK_HEIGHT - 2 - (value - low) / room * (_SPARK_HEIGHT - 4):.1f}"
        for at, value in points
    )
    return (
        f'<svg class="spark" viewBox="0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(text)}"><path d="M{path}{"" if len(points) > 1 else "h0"}"/></svg>'
    )


def _pieces(points: Sequence[Point], gap: float) -> Iterator[Sequence[Point]]:
    first = 0
    for number in range(1, len(points) + 1):
        if number == len(points) or points[number][0] - points[number - 1][0] > gap:
            yield points[first:number]
            first = number


def _spots(frame: Frame, points: Sequence[Point], gap: float) -> Iterator[tuple[float, float, str]]:
    """Yield places of at most ``_HITS`` points, each until the next one."""
    told = points[:: len(points) // _HITS + 1]
    for (at, value), after in zip(told, [*(after for after, _ in told[1:]), frame.end], strict=False):
        yield at, max(at, min(after, at + gap)) if len(told) == len(points) else after, frame.write(value)


def _shares(frame: Frame, layers: Sequence[Layer], number: int, total: float) -> str:
    parts = [f"{layer.name} {frame.write(layer.values[number])}" for layer in layers if layer.values[number]]
    return frame.write(total) + (f" ({', '.join(parts)})" if len(layers) > 1 and parts else "")
