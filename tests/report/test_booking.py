"""Sums of a report equal the counters of the ledger."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import weakref
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from exporter.account_id import AccountId
from exporter.readings import Ledger
from exporter.report import booking
from exporter.report.booking import Booked
from exporter.report.command import report
from exporter.report.rows import WAYS
from tests.report.conftest import ACCOUNTS, CLIPS, MEDIA, Reporter
from tests.report.lives import DAY, OCTOBER, World, world

AMOUNTS = ("spent", "added", "lapsed")


@dataclass(frozen=True)
class Poll:
    """A poll ``hours`` after the last one. ``lost`` says that the state was lost before, at midnight."""

    account: AccountId
    hours: float
    balance: float
    period: int
    unit: str
    lost: bool


polls = st.builds(
    Poll,
    account=st.sampled_from([MEDIA, CLIPS]),
    hours=st.sampled_from([0.25, 1, 5, 11, 24, 30, 70, 900]),
    balance=st.integers(-50, 20_000).map(lambda cents: cents / 100),
    period=st.integers(0, 3),
    unit=st.sampled_from(["credits"] * 9 + ["USD"]),
    lost=st.sampled_from([False] * 9 + [True]),
)


def booked(ledger: Ledger | None) -> tuple[Decimal, ...]:
    return tuple(Decimal(getattr(ledger, name) if ledger is not None else 0) for name in AMOUNTS)


def total(*parts: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    return tuple(sum(column, Decimal(0)) for column in zip(*parts, strict=True))


def counters(life: list[Poll], made: World) -> list[tuple[float, tuple[Decimal, ...]]]:
    """Poll the accounts. Return the sum of all counters after each poll, as if none was ever lost."""
    at, past = OCTOBER - 40 * DAY, total((Decimal(0),) * 3)
    course = [(0.0, past)]
    for poll in life:
        at += poll.hours * 3600
        if poll.lost:
            at = -(-at // DAY) * DAY
            past = total(past, booked(made.ledgers.get(poll.account)))
            made.lose(poll.account)
        made.poll(poll.account, at, poll.balance, unit=poll.unit, period=float(poll.period))
        course.append((at, total(past, *map(booked, made.ledgers.values()))))
    return course


@given(st.lists(polls, max_size=40), st.integers(-45, 45), st.integers(1, 60), st.sampled_from([*WAYS, "label:team"]))
@settings(max_examples=40)
def test_a_report_over_any_span_is_the_difference_of_the_ledger_at_its_ends(
    life: list[Poll], begin: int, days: int, by: str
) -> None:
    first = date(2026, 10, 1) + timedelta(begin)
    with tempfile.TemporaryDirectory() as name, world(Path(name) / "state.db") as made:
        course = counters(life, made)
        config = Path(name) / "config.yaml"
        config.write_text(ACCOUNTS.replace("state.db", f"{name}/state.db"))
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            span = (None, first.isoformat(), (first + timedelta(days - 1)).isoformat())
            report(config, span, by, "json", {"KEY": "k" * 20}, OCTOBER + 500 * DAY)
    ends = ([total for at, total in course if at < OCTOBER + day * DAY][-1] for day in (begin, begin + days))
    expected = [after - before for before, after in zip(*ends, strict=True)]
    rows = json.loads(out.getvalue(), parse_float=Decimal)["rows"]
    assert [sum(row[each] or 0 for row in rows) for each in AMOUNTS] == expected


def test_what_an_account_spends_from_its_first_poll_on_counts(accounts: World, reporter: Reporter) -> None:
    for hour, balance in enumerate((100.0, 90.0, 85.5)):
        accounts.poll(MEDIA, OCTOBER + DAY + 3600 * hour, balance)
    assert reporter.rows(month="2026-10")[0] == {
        "name": "vidnavigator/media",
        "unit": "credits",
        "spent": Decimal("14.5"),
        "added": 0,
        "lapsed": 0,
        "money": Decimal("1.45"),
        "currency": "USD",
    }
    assert "was first read after the report begins" in reporter.err
    assert "vidnavigator/media (from 2 Oct 2026)" in reporter.err


def test_an_old_ledger_whose_history_begins_later_does_not_count_from_0(accounts: World, reporter: Reporter) -> None:
    accounts.poll(MEDIA, OCTOBER - 90 * DAY, 1000.0)
    accounts.file.write(lambda db: db.execute("UPDATE accounts SET read_at = NULL, reading = NULL"))
    for day in range(3):
        accounts.poll(MEDIA, OCTOBER + DAY * day, 500.0 - day)
    assert reporter.rows(month="2026-10")[0]["spent"] == 2
    assert "what was spent before is not in the numbers" in reporter.err


def test_a_ledger_that_began_again_counts_from_0_with_a_note(accounts: World, reporter: Reporter) -> None:
    for day, balance in enumerate((100.0, 70.0, 60.0)):
        accounts.poll(MEDIA, OCTOBER + day * DAY, balance)
    accounts.lose(MEDIA)
    for hour, balance in enumerate((60.0, 20.0)):  # more than was lost, so that the total did not fall
        accounts.poll(MEDIA, OCTOBER + 3 * DAY + hour * 3600, balance)
    assert reporter.rows(month="2026-10")[0]["spent"] == 80
    assert "has a ledger that began anew" in reporter.err
    assert "media (4 Oct 2026)" in reporter.err


def test_a_ledger_of_an_earlier_release_began_anew_where_a_total_fell(accounts: World, reporter: Reporter) -> None:
    accounts.ledgers[MEDIA] = Ledger()
    for day, balance in enumerate((100.0, 70.0), -1):
        accounts.poll(MEDIA, OCTOBER + day * DAY, balance)
    accounts.ledgers[MEDIA] = Ledger()
    for hour, balance in enumerate((70.0, 55.0)):
        accounts.poll(MEDIA, OCTOBER + DAY + hour * 3600, balance)
    assert reporter.rows(month="2026-10")[0]["spent"] == 45
    assert "1 account has a ledger that began anew" in reporter.err


def test_amounts_in_two_units_are_two_rows(accounts: World, reporter: Reporter) -> None:
    for day, (balance, unit) in enumerate(
        [(10.0, "credits"), (7.0, "credits"), (500.0, "seconds"), (480.0, "seconds")]
    ):
        accounts.poll(CLIPS, OCTOBER + day * DAY, balance, unit=unit)
    rows = [(row["unit"], row["spent"]) for row in reporter.rows("provider", month="2026-10")]
    assert rows == [("seconds", 20), ("credits", 3)]
    assert "was counted in a new unit from a day on" in reporter.err


@pytest.mark.parametrize("output", ["json", "html"])
def test_a_report_keeps_no_readings_of_accounts_that_it_has_added_up(
    output: str, accounts: World, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[object]] = []
    alive = []

    class Watched(Booked):
        def __init__(self, *parts: Any) -> None:
            alive.append(sum(each() is not None for each in made))
            super().__init__(*parts)
            made.append(weakref.ref(self))

    monkeypatch.setattr(booking, "Booked", Watched)
    for account in (MEDIA, CLIPS, *(("videodb", f"removed-{number}") for number in range(5))):
        for day in range(3):
            accounts.poll(account, OCTOBER + day * DAY, 10.0 - day)
    reporter(output=output, month="2026-10")
    assert len(made) == 7
    assert max(alive) <= 1
