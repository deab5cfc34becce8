"""Accounts as they are found and sorted, which must be as their summaries are, however long they are kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.metrics.view import View
from exporter.readings import AccountState, NamedQuota, Period, Quota, Subscription
from exporter.status import selection
from exporter.status.outline import Outlines
from exporter.status.selection import SORTS, Selection
from exporter.status.summary import SEVERITIES, Summary, summary
from tests.conftest import START, MakeAccount
from tests.status.conftest import usage

DAY = 86_400.0
KEYS: Mapping[str, Callable[[Summary], Any]] = {
    "attention": lambda each: (
        SEVERITIES.index(each.severity),
        inf if each.credits.runway_seconds is None else each.credits.runway_seconds,
        *(each.name.casefold(), each.name, each.provider),
    ),
    "account": lambda each: (each.name.casefold(), each.name, each.provider),
    "provider": lambda each: each.provider,
    "plan": lambda each: each.plan,
    "balance": lambda each: each.credits.balance,
    "runway": lambda each: each.credits.runway_seconds,
    "storage": lambda each: each.storage.ratio if each.storage else None,
    "channels": lambda each: each.channels.ratio if each.channels else None,
    "last": lambda each: each.last_poll,
    "next": lambda each: each.next_poll,
}


def in_order(accounts: list[Summary], chosen: Selection) -> list[str]:
    """Sort summaries at once: by attention, then by the chosen value, of which an unknown one comes last."""
    key = KEYS[chosen.column]
    accounts = sorted(accounts, key=KEYS["attention"])
    known = sorted((each for each in accounts if key(each) is not None), key=key, reverse=chosen.descending)
    return [each.name for each in [*known, *(each for each in accounts if key(each) is None)]]


def view(account: MakeAccount, name: str, state: AccountState, **changes: object) -> View:
    return View(account(name=name), replace(state, **changes), state.usage, None, None)  # type: ignore[arg-type]  # a test names what it changes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a pure function
@given(times=st.lists(st.integers(-9 * 24, 9 * 24), min_size=1), generated=st.integers(-24, 24), ends=st.integers(0, 9))
def test_an_outline_tells_at_every_time_what_the_summary_tells(
    make_account: MakeAccount, times: list[int], generated: int, ends: int
) -> None:
    reading = usage(
        generated_at=START + generated * 3600,
        quotas=(NamedQuota("gift", "minutes", Quota(2.0, 10.0, 8.0, 0.2), None, START + ends * DAY),),
        billing_period=Period(START - DAY, START + (9 - ends) * DAY),
        subscription=Subscription("p", "Plan", active=True, cancel_at_period_end=True),
    )
    one = view(make_account, "a", AccountState({"usage": reading}, polls=1, last_success=START))
    outlines = Outlines(lambda: [one])
    for hours in times:
        now = START + hours * 3600 + 1
        (outline,), account = outlines.at(now), summary(one, now)
        assert (outline.severity, outline.attention_at(now)) == (account.severity, account.attention)


def test_an_outline_is_kept_until_its_account_changes_whatever_happens_to_others(make_account: MakeAccount) -> None:
    state = AccountState({"usage": usage(generated_at=START)}, polls=1, last_success=START)
    views = [view(make_account, name, state) for name in "abc"]
    outlines = Outlines(lambda: views)
    first = outlines.at(START)
    views[1] = view(make_account, "b", state, polls=2)
    second = outlines.at(START + 60)
    assert [now is before for now, before in zip(second, first, strict=True)] == [True, False, True]
    del views[0]
    assert [now is before for now, before in zip(outlines.at(START + 60), second[1:], strict=True)] == [True, True]


@pytest.mark.parametrize("sort", [sign + name for name in SORTS for sign in ("", "-")])
def test_many_accounts_are_sorted_in_runs_as_if_at_once(
    make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr(selection, "_RUN", 3)
    draw = random.Random(sort)
    views = []
    for number in range(40):
        period = Period(START - draw.choice([3600.0, DAY]), None)
        storage, channels = (Quota(1.0, 2.0, 1.0, draw.choice([None, 0.5, 0.9])) for _ in range(2))
        balance = draw.choice([None, 3.0, 30.0, inf])
        reading = usage(balance, billing_period=period, storage=storage, channels=channels)
        if draw.random() < 0.3:
            reading = replace(reading, subscription=draw.choice([None, Subscription("q", active=True)]))
        state = AccountState({"usage": reading}, polls=draw.choice([0, 1]), last_success=START)
        last = draw.choice([None, START - 9.0, START - 5.5, START - 5.1])
        views.append(view(make_account, f"{draw.choice('aA')}{number}", state, last_poll=last, next_poll=last))
    chosen = Selection(sort=sort)
    found = list(chosen.in_order(Outlines(lambda: views).at(START), START))
    assert [each.view.account.name for each in found] == in_order([summary(each, START) for each in views], chosen)


def test_words_are_found_in_the_time_that_a_pack_has_left_now(make_account: MakeAccount) -> None:
    pack = NamedQuota("gift", "minutes", Quota(2.0, 10.0, 8.0, 0.2), None, START + 3 * DAY)
    one = view(make_account, "a", AccountState({"usage": usage(quotas=(pack,))}, polls=1, last_success=START))
    outlines, chosen = Outlines(lambda: [one]), Selection(q="expire in 2\N{NO-BREAK SPACE}d")
    assert chosen.found(outlines.at(START), START) == []
    assert chosen.found(outlines.at(START + DAY), START + DAY) != []
