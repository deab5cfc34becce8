from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.charts.axes import date_text, short, time_ticks, value_ticks

HOUR, DAY = 3600.0, 86_400.0


def unix(*date: int) -> float:
    return datetime(*date, tzinfo=timezone.utc).timestamp()  # type: ignore[misc, arg-type]  # year, month, day, hour


@given(st.floats(-1e12, 0), st.floats(0, 1e12))
def test_the_ticks_of_values_are_few_and_enclose_every_value(low: float, high: float) -> None:
    ticks = value_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    near = 1e-6 * (high - low)
    assert ticks[0] <= low + near and ticks[-1] >= high - near


def test_ticks_are_round_numbers_and_0_is_one_of_them() -> None:
    assert value_ticks(0, 812) == [0, 250, 500, 750, 1000]
    assert value_ticks(-30, 95) == [-50, 0, 50, 100]
    assert value_ticks(0, 0) == [0, 1]


@pytest.mark.parametrize(
    ("days", "labels"),
    [
        (1, ["00:00", "06:00", "12:00", "18:00"]),
        (4, ["1 Oct", "2 Oct", "3 Oct", "4 Oct"]),
        (20, ["2 Oct", "4 Oct", "6 Oct", "8 Oct", "10 Oct", "12 Oct", "14 Oct", "16 Oct", "18 Oct", "20 Oct"]),
        (31, ["5 Oct", "12 Oct", "19 Oct", "26 Oct"]),
        (150, ["Oct", "Nov", "Dec", "2027", "Feb"]),
    ],
)
def test_the_ticks_of_time_fit_the_span(days: int, labels: list[str]) -> None:
    begin = unix(2026, 10, 1)
    assert [label for _, label in time_ticks(begin, begin + days * DAY)] == labels


@given(st.integers(0, 4_000_000_000), st.integers(3600, 20_000 * 86_400))
def test_no_span_has_more_ticks_than_there_is_room_for(begin: int, seconds: int) -> None:
    ticks = time_ticks(begin, begin + seconds)
    assert len(ticks) <= 15
    assert all(begin <= tick.at < begin + seconds for tick in ticks)


def test_large_values_are_written_with_a_letter() -> None:
    assert [short(value) for value in (2_500_000, -1e9, 12.5)] == ["2.5M", "\N{MINUS SIGN}1G", "12.5"]


def test_a_date_has_its_time_only_on_request() -> None:
    at = unix(2026, 11, 3, 14)
    assert date_text(at, exact=True) == "3 Nov 2026, 14:00 UTC"
    assert date_text(at, exact=False) == "3 Nov 2026"
