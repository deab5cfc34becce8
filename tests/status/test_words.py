"""Figures in words."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.status.words import amount, duration, iso, past, percent, size
from tests.conftest import START


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (inf, "unlimited"),
        (0.0, "0"),
        (0.004, "less than 0.01"),
        (-0.004, "just below 0"),
        (62.5, "62.5"),
        (100.0, "100"),
        (1234.567, "1,234.57"),
        (98765.4, "98,765"),
        (-3.25, "\N{MINUS SIGN}3.25"),
        (1e20, "1e+20"),
    ],
)
def test_amounts(value: float | None, text: str) -> None:
    assert amount(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_a_tiny_amount_is_not_written_as_0(value: float) -> None:
    assert amount(value).strip("\N{MINUS SIGN}") != "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (inf, "unlimited"),
        (0.0, "0 bytes"),
        (1000.0, "1,000 bytes"),
        (2684354560.0, "2.5 GiB"),
        (536870912000.0, "500 GiB"),
        (1023 * 1024.0**3, "1,023 GiB"),
    ],
)
def test_sizes(value: float | None, text: str) -> None:
    assert size(value).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (3599, "1 h"),
        (3600 * 3 + 60 * 12, "3 h 12 min"),
        (86_399, "1 d"),
        (86_400 * 2 + 3600 * 4, "2 d 4 h"),
        (86_400 * 40, "40 d"),
        (86_400 * 1000, "over 2 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_a_time_in_the_future_is_just_now() -> None:
    assert past(-3600) == "just now"


@pytest.mark.parametrize(
    ("ratio", "digits", "text"),
    [(0.0, 3, "0 %"), (0.333, 3, "33.3 %"), (0.33333, 4, "33.33 %"), (1.0, 3, "100 %"), (12.5, 3, "1,250 %")],
)
def test_ratios(ratio: float, digits: int, text: str) -> None:
    assert percent(ratio, digits, space=" ") == text
    assert percent(ratio, digits) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_a_time_is_in_utc_and_to_the_second() -> None:
    assert iso(START + 0.9) == "2027-01-15T08:00:00Z"
