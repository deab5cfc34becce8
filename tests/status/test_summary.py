"""The summary of an account, with its figures and problems."""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from exporter.errors import REASONS
from exporter.metrics.view import View
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Failure, Invoices, NamedQuota, Period, Quota, Subscription, Usage
from exporter.status.summary import EXPLANATIONS, Attention, Fill, Summary, summary
from tests.conftest import START, MakeAccount
from tests.providers.responses import voyager
from tests.status.conftest import usage

DAY = 86_400.0


def pack(left: float | None, expires_in: float | None) -> NamedQuota:
    """Return a pack of minutes of which all but ``left`` is used."""
    used = None if left is None else 10.0 - left
    ratio = None if used is None else used / 10.0
    ends = None if expires_in is None else START + expires_in
    return NamedQuota("gift", "minutes", Quota(used, 10.0, left, ratio), None, ends)


def brief(make_account: MakeAccount, reading: Usage | None, wall: float = START, **changes: Any) -> Summary:
    """Return an account in brief that was polled once and brought this reading."""
    state = AccountState({} if reading is None else {"usage": reading}, polls=1, last_success=START)
    return summary(View(make_account(), replace(state, **changes), reading, None, None), wall)


def test_an_unknown_value_is_none_and_never_0(make_account: MakeAccount) -> None:
    account = brief(make_account, None, polls=0, last_success=None)
    assert account.up is None
    assert account.credits.balance is None and account.credits.level is None and account.credits.runway_seconds is None
    assert account.storage == Fill(None, None, None, None, 0.8, 0.95)
    assert account.last_poll is None and account.last_success is None and account.failure is None


def test_unlimited_credits_never_run_out(make_account: MakeAccount) -> None:
    credits = brief(make_account, Usage(balance=inf, monthly_limit=inf, monthly_used=5.0)).credits
    assert (credits.balance, credits.level, credits.runway_seconds, credits.warning_below) == (inf, "ok", inf, 20)


@pytest.mark.parametrize(("remaining", "level"), [(-50, "exhausted"), (-47, "critical"), (-40, "warning"), (10, "ok")])
def test_the_balance_is_put_beside_its_thresholds(make_account: MakeAccount, remaining: float, level: str) -> None:
    credits = {"monthly_total": 80, "monthly_remaining": remaining, "purchased": 50}
    assert brief(make_account, parse_usage(voyager(credits=credits), ParseOptions())).credits.level == level


def test_the_runway_is_the_balance_at_the_periods_mean_spend(make_account: MakeAccount) -> None:
    start = 1773532800.0
    account = brief(make_account, parse_usage(voyager(), ParseOptions()), start + 17_500)
    assert account.credits.runway_seconds == pytest.approx(112_500)


@pytest.mark.parametrize("period", [None, Period(end=START + 9 * DAY)])
def test_without_a_start_of_the_period_no_runway_is_known(make_account: MakeAccount, period: Period | None) -> None:
    reading = Usage(balance=5.0, monthly_used=10.0, billing_period=period)
    assert brief(make_account, reading).credits.runway_seconds is None


def test_times_are_in_whole_seconds_and_one_that_no_calendar_has_is_none(make_account: MakeAccount) -> None:
    account = brief(make_account, None, last_poll=START + 0.9, next_poll=inf, last_success=1e30)
    assert (account.last_poll, account.next_poll, account.last_success) == (START, None, None)


@pytest.mark.parametrize(("cooldown", "shown"), [(START, None), (START + 9, START + 9)])
def test_a_cooldown_is_shown_only_while_it_lasts(
    make_account: MakeAccount, cooldown: float, shown: float | None
) -> None:
    assert brief(make_account, None, cooldown_until=cooldown).cooldown_until == shown


def test_every_reason_has_an_explanation() -> None:
    assert tuple(EXPLANATIONS) == tuple(sorted(EXPLANATIONS, key=REASONS.index))
    assert set(EXPLANATIONS) == set(REASONS)


def test_no_explanation_names_a_status_because_a_provider_may_refuse_with_another() -> None:
    assert not [words for words in EXPLANATIONS.values() if re.search("[0-9]", words)]


@pytest.mark.parametrize(
    ("reading", "changes", "severity", "text"),
    [
        (usage(60.0), {}, "ok", None),
        (usage(inf), {}, "ok", None),
        (usage(15.9), {}, "warning", "Credits are below the warning level of 16."),
        (usage(3.9), {}, "critical", "Credits are below the critical level of 4."),
        (usage(9e5, monthly_limit=5e6), {}, "warning", "Credits are below the warning level of 1,000,000."),
        (usage(0.0), {}, "critical", "No credits are left."),
        (usage(0.0, unit="characters"), {}, "critical", "No characters are left."),
        (usage(0.0, unit="USD"), {}, "critical", "No USD is left."),
        (usage(None), {}, "warning", "The vendor's response has no balance."),
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
        (usage(quotas=(pack(0.5, 2 * DAY),)), {}, "warning", "gift: up to 0.5 minutes expire in 2\N{NO-BREAK SPACE}d."),
        (usage(quotas=(pack(0.5, 7 * DAY),)), {}, "ok", None),
        (usage(quotas=(pack(0.5, -60.0),)), {}, "ok", None),
        (usage(quotas=(pack(0.0, 2 * DAY),)), {}, "ok", None),
        (usage(quotas=(pack(None, 2 * DAY),)), {}, "ok", None),
        (usage(quotas=(pack(0.0, None),)), {}, "critical", "Quota gift: 100 % of the limit used."),
        (usage(generated_at=START - 3601), {}, "warning", "The vendor's figures are more than an hour old."),
        (usage(rejected=("credits.purchased",)), {}, "warning", "1 field of the last response could not be read"),
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
        (usage(60.0), {"failure": Failure("timeout", "slow")}, "warning", "The vendor did not respond in time."),
        (usage(60.0), {"failure": Failure("credential", "no file")}, "critical", "The key cannot be read."),
        (None, {"polls": 0}, "unknown", "Not polled yet."),
    ],
)
def test_each_problem_has_its_severity_and_text(
    make_account: MakeAccount, reading: Usage | None, changes: dict[str, Any], severity: str, text: str | None
) -> None:
    account = brief(make_account, reading, **changes)
    assert account.severity == severity
    assert [each.severity for each in account.attention] == ([] if text is None else [severity])
    assert text is None or account.attention[0].text.startswith(text)


def test_the_worst_of_several_problems_comes_first_and_sets_the_severity(make_account: MakeAccount) -> None:
    reading = usage(3.0, storage=Quota(8.0, 10.0, 2.0, 0.8))
    account = brief(make_account, reading, failure=Failure("timeout", "slow"))
    assert account.severity == "critical"
    assert [each.severity for each in account.attention] == ["critical", "warning", "warning"]


def test_an_unpaid_invoice_is_a_warning(make_account: MakeAccount) -> None:
    reading, invoices = Usage(balance=100.0), Invoices({"failed": 1}, 12.0, "usd", "failed", START)
    state = AccountState({"usage": reading, "invoices": invoices}, polls=1)
    account = summary(View(make_account("videodb"), state, reading, invoices, None), START)
    assert account.attention == (Attention("warning", "The newest invoice was not paid.", "VideoApiInvoiceFailed"),)


def test_a_vendor_without_storage_has_none_of_it(make_account: MakeAccount) -> None:
    account = summary(View(make_account("videodb"), AccountState(), None, None, None), START)
    assert account.storage is None and account.channels is None
