"""The length of the cool-down that a response starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from exporter.polling.cooldown import cooldown_seconds

NOW = 1_800_000_000.0


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move the machine to a zone far from Greenwich."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-9")
        time.tzset()
        yield
    time.tzset()


def in_seconds(seconds: float) -> str:
    return formatdate(NOW + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "body", "cooldown"),
    [
        ({}, None, 60),
        ({"Retry-After": "5"}, None, 60),
        ({"Retry-After": "90"}, None, 90),
        ({"retry-after": "90"}, {"retry_after_seconds": 120}, 120),
        ({"Retry-After": " 120 "}, {"retry_after_seconds": 90}, 120),
        ({"Retry-After": "30, 120"}, None, 120),
        ({"Retry-After": "90.5"}, None, 90.5),
        ({}, {"retry_after_seconds": 61.5}, 61.5),
        ({}, {"retry_after_seconds": "75"}, 75),
        ({"Retry-After": in_seconds(300)}, None, 300),
        ({"Retry-After": in_seconds(-300)}, None, 60),
        ({"Retry-After": "999999999"}, None, 6 * 3600),
        ({"Retry-After": in_seconds(86400 * 365)}, None, 6 * 3600),
    ],
)
def test_a_429_starts_a_cooldown_of_the_longest_wait_that_is_named(
    headers: dict[str, str], body: object, cooldown: float
) -> None:
    assert cooldown_seconds(429, headers, body, NOW) == cooldown


@pytest.mark.parametrize("number", ["-5", "nan", "inf", "1e9", "0x10", "soon", "", "٣٠٠", "9" * 400, "5;6"])
def test_a_retry_after_that_cannot_be_read_counts_as_not_sent(number: str) -> None:
    assert cooldown_seconds(429, {"Retry-After": number}, None, NOW) in {60, 6 * 3600}
    if number != "9" * 400:
        assert cooldown_seconds(503, {"Retry-After": number}, None, NOW) is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "busy",
        {"retry_after_seconds": True},
        {"retry_after_seconds": -5},
        {"retry_after_seconds": 0},
        {"retry_after_seconds": float("nan")},
        {"retry_after_seconds": float("inf")},
        {"retry_after_seconds": 10**400},
        {"retry_after_seconds": "soon"},
        {"retry_after_seconds": {"value": 5}},
        {"retry_after_seconds": None},
    ],
)
def test_a_body_that_names_no_readable_wait_counts_as_none(body: object) -> None:
    assert cooldown_seconds(429, {}, body, NOW) == 60
    assert cooldown_seconds(503, {}, body, NOW) is None


@pytest.mark.parametrize(
    ("headers", "body", "cooldown"),
    [
        ({}, None, None),
        ({"Retry-After": "5"}, None, 5),
        ({}, {"retry_after_seconds": 7}, 7),
        ({"Retry-After": "5"}, {"retry_after_seconds": 7}, 7),
        ({"Retry-After": in_seconds(-5)}, None, None),
        ({"Retry-After": "0"}, None, None),
        ({"Retry-After": "86400"}, None, 6 * 3600),
    ],
)
def test_a_503_starts_a_cooldown_of_the_wait_that_it_names_if_any(
    headers: dict[str, str], body: object, cooldown: float | None
) -> None:
    assert cooldown_seconds(503, headers, body, NOW) == cooldown


@pytest.mark.parametrize("status", [200, 301, 401, 404, 500, 502])
def test_other_responses_start_no_cooldown(status: int) -> None:
    assert cooldown_seconds(status, {"Retry-After": "90"}, {"retry_after_seconds": 90}, NOW) is None


def test_a_retry_after_date_is_read_by_the_clock_of_the_vendor() -> None:
    headers = {"Retry-After": in_seconds(3600 + 90), "Date": in_seconds(3600)}
    assert cooldown_seconds(429, headers, None, NOW) == 90
    headers["Date"] = "today"
    assert cooldown_seconds(429, headers, None, NOW) == 3690


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 -0000",
    ],
)
def test_every_form_of_an_http_date_is_read_wherever_we_are(date: str, far_away: None) -> None:
    now = 784_111_777.0  # the moment in all of them
    assert cooldown_seconds(503, {"Retry-After": date}, None, now - 100) == 100


@pytest.mark.parametrize("date", ["Sun, 99 Nov 2026 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT", ",,,"])
def test_an_impossible_date_counts_as_not_sent(date: str) -> None:
    assert cooldown_seconds(503, {"Retry-After": date}, None, NOW) is None
