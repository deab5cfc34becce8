from __future__ import annotations

import re
from xml.etree import ElementTree

from exporter.charts import stylesheet
from exporter.charts.curves import Layer, bar_chart, line_chart, sparkline
from exporter.charts.plot import Frame, LevelLine, Mark

SVG = "{http://www.w3.org/2000/svg}"
HOUR, DAY = 3600.0, 86_400.0
FRAME = Frame("balance", "Balance <1>", 'From "812" to 20.', 0.0, 10 * HOUR, "{:,.0f}".format)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314 # it is our own


def path(svg: str, name: str) -> str:
    return next(each.get("d") or "" for each in parsed(svg).iter(f"{SVG}path") if each.get("class") == name)


def titles(svg: str) -> list[str]:
    return [each.text or "" for each in parsed(svg).iter(f"{SVG}title")]


def test_a_chart_names_itself_to_a_screen_reader() -> None:
    root = parsed(line_chart(FRAME, [(0, 812), (HOUR, 20)], gap=2 * HOUR))
    assert root.get("role") == "img"
    named = {each.get("id"): each.text for each in root}
    assert named[root.get("aria-labelledby")] == "Balance <1>"
    assert named[root.get("aria-describedby")] == 'From "812" to 20.'


def test_a_line_has_a_gap_without_values() -> None:
    svg = line_chart(FRAME, [(0, 100), (HOUR, 50), (5 * HOUR, 25), (6 * HOUR, 0), (9 * HOUR, 75)], gap=2 * HOUR)
    assert path(svg, "line") == "M0 0L1000 500M5000 750L6000 1000M9000 250h0"


def test_a_chart_starts_at_0_and_has_room_for_its_levels() -> None:
    svg = line_chart(FRAME, [(0, 10), (HOUR, 5)], gap=HOUR, levels=[LevelLine(100, "warning", "warning below 100")])
    assert path(svg, "line") == "M0 900L1000 950"
    assert "warning below 100" in svg


def test_the_words_of_two_close_levels_do_not_cover_each_other() -> None:
    levels = [LevelLine(2, "warning", "warning"), LevelLine(1, "critical", "critical")]
    svg = line_chart(FRAME, [(0, 100)], gap=HOUR, levels=levels)
    heights = {each.text: int(each.get("y") or 0) for each in parsed(svg).iter(f"{SVG}text") if each.get("x") == "4"}
    assert heights["critical"] - heights["warning"] >= 12


def test_what_is_expected_is_drawn_apart() -> None:
    svg = line_chart(FRAME, [(0, 100)], gap=HOUR, ahead=[(0, 100), (10 * HOUR, 0)])
    assert path(svg, "ahead") == "M0 0L10000 1000"


def test_moments_outside_of_the_span_are_not_marked() -> None:
    marks = [Mark(HOUR, "added", "500 added"), Mark(11 * HOUR, "end", "period ends")]
    assert [title for title in titles(line_chart(FRAME, [(0, 1)], gap=HOUR, marks=marks)) if "ends" in title] == []
    assert "1 Jan 1970: 500 added" in titles(line_chart(FRAME, [(0, 1)], gap=HOUR, marks=marks))


def test_a_mouse_is_shown_each_value_with_its_time() -> None:
    assert "1 Jan 1970, 01:00 UTC: 20" in titles(line_chart(FRAME, [(0, 812), (HOUR, 20)], gap=HOUR))


def test_a_long_line_has_a_bounded_number_of_places_for_the_mouse() -> None:
    frame = Frame("long", "Long", "", 0, 1000 * HOUR, str)
    assert line_chart(frame, [(n * HOUR, 1.0) for n in range(1000)], gap=HOUR).count('class="hit"') <= 100


def test_layers_stand_on_each_other_in_one_bar() -> None:
    frame = Frame("spend", "Spend", "", 0, 4 * DAY, "{:g}".format)
    layers = [Layer("search", 1, [10, 0]), Layer("index", 2, [30, 20])]
    svg = bar_chart(frame, [0, 2 * DAY], DAY, layers)
    assert re.findall(r"M\d+ (\d+)V(\d+)", path(svg, "bars c1")) == [("1000", "750")]
    assert re.findall(r"M\d+ (\d+)V(\d+)", path(svg, "bars c2")) == [("1000", "0"), ("1000", "500")]
    assert svg.index("bars c2") < svg.index("bars c1"), "the first layer lies over the second"
    assert "1 Jan 1970: 40 (search 10, index 30)" in titles(svg)


def test_bars_without_a_layer_or_a_value_still_make_a_chart() -> None:
    frame = Frame("spend", "Spend", "", 0, DAY, str)
    assert parsed(bar_chart(frame, [0], DAY, [])) is not None
    assert parsed(bar_chart(frame, [], DAY, [Layer("spent", 1, [])])) is not None


def test_a_sparkline_says_what_it_shows_and_lies_within_its_box() -> None:
    svg = sparkline([(0, 5), (HOUR, 10), (2 * HOUR, 0)], 0, 2 * HOUR, "Balance & more")
    assert parsed(svg).get("aria-label") == "Balance & more"
    assert 'd="M0 12.0L60 2.0L120 22.0"' in svg
    assert 'd="M0 22.0h0"' in sparkline([(0, 0)], 0, HOUR, "")


def test_no_chart_needs_what_the_content_security_policy_forbids() -> None:
    svg = line_chart(FRAME, [(0, 812), (HOUR, 20)], gap=HOUR, levels=[LevelLine(1, "critical", "x")])
    assert not re.search(r"style=|<style|<script|href|url\(", svg + sparkline([(0, 1)], 0, 1, ""))
    assert "url(" not in stylesheet()
