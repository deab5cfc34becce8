"""Figures in words, and what is called worth a look."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.view import View
from exporter.readings import AccountState, Failure, Invoices, Period, Quota, Subscription, Usage
from exporter.status.summary import summary
from exporter.status.words import amount, duration, past, percent, runway, size
from tests.conftest import START, MakeAccount
from tests.status.conftest import usage


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        ("unlimited", "unlimited"),
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
def test_amounts(value: float | str | None, text: str) -> None:
    assert amount(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_a_tiny_amount_is_not_written_as_0(value: float) -> None:
    assert amount(value).strip("\N{MINUS SIGN}") != "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        ("unlimited", "unlimited"),
        (0.0, "0 bytes"),
        (1000.0, "1,000 bytes"),
        (2684354560.0, "2.5 GiB"),
        (536870912000.0, "500 GiB"),
        (1023 * 1024.0**3, "1,023 GiB"),
    ],
)
def test_sizes(value: float | str | None, text: str) -> None:
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


def test_ratios() -> None:
    assert percent(0.333) == "33.3\N{NO-BREAK SPACE}%"
    assert percent(None) == "not known"


@pytest.mark.parametrize(
    ("credits", "text"),
    [
        ({"balance": None, "monthly_used": 5.0, "runway_seconds": None}, "not known"),
        ({"balance": "unlimited", "monthly_used": 5.0, "runway_seconds": None}, "unlimited"),
        ({"balance": 5.0, "monthly_used": 0.0, "runway_seconds": None}, "nothing spent yet"),
        ({"balance": 5.0, "monthly_used": None, "runway_seconds": None}, "not known"),
        ({"balance": 0.0, "monthly_used": 5.0, "runway_seconds": 0.0}, "used up"),
        ({"balance": 5.0, "monthly_used": 5.0, "runway_seconds": 7200.0}, "2\N{NO-BREAK SPACE}h"),
    ],
)
def test_runways(credits: dict[str, Any], text: str) -> None:
    assert runway({"credits": credits}) == text


DAY = 86_400.0


@pytest.mark.parametrize(
    ("reading", "changes", "severity", "text"),
    [
        (usage(60.0), {}, "ok", None),
        (usage(inf), {}, "ok", None),
        (usage(15.9), {}, "warning", "Credits are below the warning level of 16."),
        (usage(3.9), {}, "critical", "Credits are below the critical level of 4."),
        (usage(0.0), {}, "critical", "No credits are left."),
        (usage(None), {}, "warning", "The vendor's answer has no balance."),
        (Usage(subscribed=False), {}, "critical", "There is no subscription."),
        (
            usage(subscription=Subscription(status="past_due", active=False)),
            {},
            "critical",
            "The subscription is not active (past_due).",
        ),
        (usage(storage=Quota(8.0, 10.0, 2.0, 0.8)), {}, "warning", "Storage: 80 % of the limit used."),
        (usage(storage=Quota(9.5, 10.0, 0.5, 0.95)), {}, "critical", "Storage: 95 % of the limit used."),
        (usage(channels=Quota(15.0, 15.0, 0.0, 1.0)), {}, "critical", "Channels: 100 % of the limit used."),
        (usage(generated_at=START - 3601), {}, "warning", "The vendor's figures are more than an hour old."),
        (usage(rejected=("credits.purchased",)), {}, "warning", "1 field of the last answer could not be read"),
        (
            usage(
                subscription=Subscription(status="active", active=True, cancel_at_period_end=True),
                billing_period=Period(START - 25 * DAY, START + 6 * DAY),
            ),
            {},
            "warning",
            "The plan was cancelled and ends with this period.",
        ),
        (
            usage(
                subscription=Subscription(status="active", active=True, cancel_at_period_end=True),
                billing_period=Period(START - 20 * DAY, START + 8 * DAY),
            ),
            {},
            "ok",
            None,
        ),
        (usage(60.0), {"failure": Failure("timeout", "slow")}, "warning", "The vendor did not answer in time."),
        (usage(60.0), {"failure": Failure("credential", "no file")}, "critical", "The key cannot be read."),
        (None, {"polls": 0}, "unknown", "Not polled yet."),
    ],
)
def test_each_problem_has_its_severity_and_text(
    make_account: MakeAccount, reading: Usage | None, changes: dict[str, Any], severity: str, text: str | None
) -> None:
    state = AccountState({} if reading is None else {"usage": reading}, polls=1, last_success=START)
    row = summary(View(make_account(), replace(state, **changes), reading, None, None), START)
    assert row["severity"] == severity
    assert [item["severity"] for item in row["attention"]] == ([] if text is None else [severity])
    assert text is None or row["attention"][0]["text"].startswith(text)


def test_the_worst_of_several_problems_comes_first_and_sets_the_severity(make_account: MakeAccount) -> None:
    reading = usage(3.0, storage=Quota(8.0, 10.0, 2.0, 0.8))
    state = AccountState({"usage": reading}, polls=1, failure=Failure("timeout", "slow"))
    row = summary(View(make_account(), state, reading, None, None), START)
    assert row["severity"] == "critical"
    assert [item["severity"] for item in row["attention"]] == ["critical", "warning", "warning"]


def test_an_unpaid_invoice_is_a_warning(make_account: MakeAccount) -> None:
    reading, invoices = Usage(balance=100.0), Invoices({"failed": 1}, 12.0, "usd", "failed", START)
    state = AccountState({"usage": reading, "invoices": invoices}, polls=1)
    row = summary(View(make_account("videodb"), state, reading, invoices, None), START)
    assert row["attention"] == [{"severity": "warning", "text": "The newest invoice was not paid."}]


def test_a_vendor_without_storage_shows_none_and_not_unknown(make_account: MakeAccount) -> None:
    state = AccountState()
    assert summary(View(make_account("videodb"), state, None, None, None), START)["storage"] is None
    assert summary(View(make_account(), state, None, None, None), START)["storage"]["ratio"] is None
