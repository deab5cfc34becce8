"""The demo's past, which is in the state when the demo begins to serve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.demo.past import live
from exporter.demo.vendors import Vendors
from exporter.demo.world import World, make_world
from exporter.readings import Series
from exporter.state.history import History, open_file
from tests.conftest import unmeasured

START = 1_800_000_000.0


@contextmanager
def lived(folder: Path, rounds: int = 1000, speed: float = 1) -> Iterator[tuple[World, History]]:
    """A world with the history of its past, whose demo is stopped before a round if it had this many."""
    stop = iter([False] * rounds)
    with Vendors() as vendors:
        world = make_world(vendors, speed=speed, clock=lambda: START)
        path = folder / "state.db"
        live(world, world.write_config(folder, path), path, lambda: next(stop, True))
        with open_file(path) as history:
            yield world, history


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, History]]:
    with ExitStack() as stack:
        with unmeasured():
            found = stack.enter_context(lived(tmp_path_factory.mktemp("past")))
        yield found


def days(history: History, provider: str, name: str) -> Series:
    return history.readings((provider, name), 86400, 0, START)


def test_every_account_that_is_not_new_has_two_months_of_days_and_a_week_of_hours(past: tuple[World, History]) -> None:
    world, history = past
    accounts = {(account.life.api.provider, account.name) for account in world.accounts if not account.is_new}
    assert set(history.accounts()) == accounts and len(accounts) == len(world.accounts) - 1
    for account in accounts:
        for span, count in ((86400, 59), (3600, 7 * 24)):
            latest = [at // span for at in history.readings(account, span, 0, START).at][-count:]
            assert len(latest) == count and {b - a for a, b in pairwise(latest)} == {1}, (account, span)
        assert len(history.polls(account)) == 50


def test_the_ledger_of_the_past_agrees_with_its_balances(past: tuple[World, History]) -> None:
    _, history = past
    for account in history.accounts():
        if account == ("vidnavigator", "broadcast"):  # unlimited
            continue
        series = history.readings(account, 86400, 0, START)
        booked = [net(row) for row in zip(series.spent, series.lapsed, series.added, strict=True)]
        fall = Decimal(str(series.balance[0])) - Decimal(str(series.balance[-1]))
        assert float(booked[-1] - booked[0]) == pytest.approx(float(fall), abs=1e-6), account


def net(row: tuple[Decimal | None, ...]) -> Decimal:
    spent, lapsed, added = (amount or Decimal(0) for amount in row)
    return spent + lapsed - added


def test_the_past_ends_with_the_figures_that_the_demo_begins_with(past: tuple[World, History]) -> None:
    world, history = past
    api_says = world.vendors.accounts[world.keys["video-prod"]].responses["/billing/usage"]()["credit_balance"]
    assert days(history, "videodb", "video-prod").balance[-1] == pytest.approx(api_says, abs=0.1)


def test_periods_and_top_ups_show_in_the_past(past: tuple[World, History]) -> None:
    _, history = past
    assert len(set(days(history, "vidnavigator", "media-prod").period)) == 3
    assert max(day for day in days(history, "videodb", "video-live").added if day is not None) > 200


def test_whole_days_between_two_resets_cost_about_the_same(past: tuple[World, History]) -> None:
    _, history = past
    spent = [float(total or 0) for total in days(history, "deepgram", "transcripts").spent]
    each = [after - before for before, after in pairwise(spent[-11:-1])]
    assert max(each) < 1.1 * min(each)


def test_a_stopped_demo_makes_no_more_past(tmp_path: Path) -> None:
    with lived(tmp_path, rounds=1) as (_, history):
        assert len(days(history, "vidnavigator", "media-prod")) == 1


def test_a_faster_demo_has_a_shorter_past_that_ends_with_the_figures_that_it_begins_with(tmp_path: Path) -> None:
    with lived(tmp_path, speed=8640) as (world, history):
        account = ("vidnavigator", "media-prod")
        credits = world.vendors.accounts[world.keys["media-prod"]].responses["/usage"]()["credits"]
        balance = credits["monthly_remaining"] + credits["purchased"]
        last = history.readings(account, 3600, 0, START).balance[-1]
        assert last == pytest.approx(balance, abs=6.5 * 4.3)  # a minute is six days there
        polls = history.polls(account)
        assert 5 < len(polls) < 12 and START - polls[0].at <= 61
