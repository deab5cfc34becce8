"""The JSON of an account, which other programs read."""

from __future__ import annotations

import json
from math import inf

from exporter.metrics.view import View
from exporter.readings import AccountState, Failure, NamedQuota, Period, Quota, Subscription, Usage
from exporter.status.json import as_json
from exporter.status.summary import summary
from tests.conftest import START, MakeAccount


def test_every_field_has_its_name_place_and_form(make_account: MakeAccount) -> None:
    reading = Usage(
        balance=62.5,
        monthly_limit=80.0,
        monthly_remaining=12.5,
        monthly_used=67.5,
        purchased=50.0,
        storage=Quota(9e8, 1e9, 1e8, 0.9),
        channels=Quota(3.0, inf),
        quotas=(NamedQuota("voices", "slots", Quota(5.0, 20.0, 15.0, 0.25), START),),
        subscription=Subscription("p1", "Voyager", status="active", active=True),
        billing_period=Period(START - 5400.0, START + 86_400.9),
    )
    state = AccountState(
        {"usage": reading},
        last_poll=START - 1.5,
        last_success=START - 61.0,
        next_poll=START + 58.5,
        cooldown_until=START + 30.0,
        polls=2,
        failure=Failure("rate_limited", "HTTP 429: Too many requests."),
    )
    account = make_account(name="media", labels={"team": "search"})
    assert json.dumps(as_json(summary(View(account, state, reading, None, None), START))) == (
        '{"provider": "vidnavigator", "account": "media", "labels": {"team": "search"}, "severity": "warning", '
        '"attention": [{"severity": "warning", "text": "The key made too many requests and is in cool-down."}, '
        '{"severity": "warning", "text": "Storage: 90 % of the limit used."}], "up": false, "stale": false, '
        '"plan": "Voyager", "subscription": "active", "unit": "credits", '
        '"credits": {"balance": 62.5, "monthly_limit": 80.0, '
        '"monthly_remaining": 12.5, "monthly_used": 67.5, "purchased": 50.0, "level": "ok", "warning_below": 16.0, '
        '"critical_below": 4.0, "runway_seconds": 5000.0}, "storage": {"used": 900000000.0, "limit": 1000000000.0, '
        '"ratio": 0.9, "level": "warning", "warning_from": 0.8, "critical_from": 0.95}, "channels": {"used": 3.0, '
        '"limit": "unlimited", "ratio": null, "level": null, "warning_from": 0.8, "critical_from": 1.0}, '
        '"quotas": [{"name": "voices", "unit": "slots", "used": 5.0, "limit": 20.0, "ratio": 0.25, "level": "ok", '
        '"warning_from": 0.8, "critical_from": 0.95, "remaining": 15.0, "resets_at": "2027-01-15T08:00:00Z", '
        '"expires_at": null}], '
        '"period_end": "2027-01-16T08:00:00Z", "poll_interval_seconds": 60.0, "last_poll": "2027-01-15T07:59:58Z", '
        '"last_success": "2027-01-15T07:58:59Z", "next_poll": "2027-01-15T08:00:58Z", '
        '"cooldown_until": "2027-01-15T08:00:30Z", "failure": {"reason": "rate_limited", "explanation": '
        '"The key made too many requests and is in cool-down.", "message": "HTTP 429: Too many requests."}}'
    )


def test_unlimited_is_a_word_and_a_runway_without_an_end_is_null(make_account: MakeAccount) -> None:
    reading = Usage(balance=inf, monthly_limit=inf, monthly_used=5.0)
    account = as_json(summary(View(make_account("videodb"), AccountState(), reading, None, None), START))
    assert account["credits"] == {
        "balance": "unlimited",
        "monthly_limit": "unlimited",
        "monthly_remaining": None,
        "monthly_used": 5.0,
        "purchased": None,
        "level": "ok",
        "warning_below": 20,
        "critical_below": 5,
        "runway_seconds": None,
    }
    assert account["storage"] is account["channels"] is account["period_end"] is account["failure"] is None


def test_a_runway_too_long_for_a_number_is_not_an_error(make_account: MakeAccount) -> None:
    reading = Usage(balance=1e300, monthly_used=1e-300, billing_period=Period(start=START - 9))
    account = as_json(summary(View(make_account(), AccountState(), reading, None, None), START))
    assert '"runway_seconds": null' in json.dumps(account, allow_nan=False)
