"""Reading numbers, times and responses of any shape."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import InvalidResponseError
from exporter.providers import videodb, vidnavigator
from exporter.providers.base import ParseOptions
from exporter.providers.fields import exact_sum, label, parse_number, parse_time
from exporter.providers.operations import OTHER
from tests.providers.responses import VOYAGER

EARLIEST = datetime(1971, 1, 1)  # noqa: DTZ001 - Hypothesis wants bounds without a zone
LATEST = datetime(9998, 1, 1)  # noqa: DTZ001 - the same

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("unlimited"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01T00:00:00Z", 1772323200),
        ("2026-03-01T01:00:00+01:00", 1772323200),
        ("2026-02-28T19:30:00.250-0430", 1772323200.25),
        ("2026-03-01 00:00:00", 1772323200),
        ("2026-03-01T00:00:00,123456789Z", 1772323200.123456789),
        ("20260301T000000Z", 1772323200),
        ("2026-03-01", 1772323200),
        ("2016-12-31T23:59:60Z", 1483228800),
    ],
)
def test_iso_8601_in_its_usual_spellings_is_a_time(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-03-01T25:00:00Z", "1772323200", "2026-03-01T00:00:61Z"]
)
def test_another_text_is_not_a_time(text: str) -> None:
    assert parse_time(text) is None


@given(
    st.datetimes(min_value=EARLIEST, max_value=LATEST),
    st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)),
)
def test_every_time_that_python_writes_is_read_back(moment: datetime, offset: timedelta) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1))))
    assert parse_time(aware.isoformat()) == pytest.approx(aware.timestamp(), abs=1e-6)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_and_its_text_are_the_same_number(number: float) -> None:
    assert parse_number(number) == parse_number(json.dumps(number)) == number


@given(st.text(max_size=20))
def test_a_text_is_a_number_only_in_json_syntax(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    number = isinstance(expected, (int, float)) and not isinstance(expected, bool) and isfinite(expected)
    is_bare = text == text.strip() and text != "unlimited"
    if is_bare:
        assert (parse_number(text) is not None) == number


@given(st.text())
def test_a_label_is_short_and_can_be_encoded(text: str) -> None:
    assert len(label(text)) <= 256
    label(text).encode("utf-8")


def test_sums_are_exact_decimals() -> None:
    assert exact_sum(0.1, 0.2) == 0.3


@given(JSON)
def test_a_parser_raises_only_invalid_response_errors(document: Any) -> None:
    for parse in (vidnavigator.parse_usage, videodb.parse_usage):
        with suppress(InvalidResponseError):
            parse(document, ParseOptions())


@given(st.dictionaries(st.sampled_from(list(json.loads(VOYAGER)["data"])), JSON), st.integers(1, 5))
def test_figures_are_numbers_and_operations_are_bounded_for_any_data(data: Any, most: int) -> None:
    usage = vidnavigator.parse_usage({"status": "success", "data": data}, ParseOptions(max_operations=most))
    for value in (usage.balance, usage.monthly_limit, usage.generated_at):
        assert value is None or value == value
    assert len({use.operation for use in usage.services} - {OTHER}) <= most
    assert len({(use.operation, use.unit) for use in usage.services}) == len(usage.services)


@given(st.dictionaries(st.text(max_size=5), st.floats(0, 1e6), max_size=30), st.integers(1, 10))
def test_folding_loses_no_credit(breakdown: dict[str, float], most: int) -> None:
    usage = videodb.parse_usage({"success": True, "data": {"breakdown": breakdown}}, ParseOptions(max_operations=most))
    assert sum(usage.used_by_operation.values()) == pytest.approx(sum(breakdown.values()))
    kept = [name for name in usage.used_by_operation if name != OTHER]
    assert usage.folded_operations == len(breakdown) - len(kept) or OTHER in breakdown
