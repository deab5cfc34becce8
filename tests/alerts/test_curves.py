"""Accounts with a known end. Forecasts warn in time and continuously, and not for accounts that keep a quarter."""

from __future__ import annotations

import pytest

from bench.alerts.accounts import END, LIMIT, Account, accounts, jobs
from bench.alerts.curves import DAY, HISTORY, PERIOD, SHAPES, STEP
from bench.alerts.judge import Firings, firings, first, lead, needed, spike_figures
from bench.alerts.table import RULES, SHIPPED

WARNING, CRITICAL = SHIPPED


def test_an_account_ends_when_it_is_meant_to_or_keeps_what_it_is_meant_to() -> None:
    for account in accounts(tuple(SHAPES), (0,)):
        if account.kind == "ends":
            early = float(account.name.rpartition("ends ")[2].split()[0])
            assert account.ends == pytest.approx(END - early * DAY, abs=1)
        if account.kind.startswith("keeps"):
            assert account.balances[-1] == pytest.approx(LIMIT * float(account.kind[6:-1]) / 100)
        if account.kind.startswith("runaway"):
            hours = int(account.kind.split()[2])
            assert account.ends == pytest.approx(HISTORY + 12 * DAY + hours * 3600 / STEP, abs=1)
        if account.kind == "prepaid, always 10 days left":
            assert account.ends is None and min(account.balances) > 0


def test_a_lead_forgives_gaps_of_an_hour_and_no_longer_ones() -> None:
    account = Account("a", "ends", (), (), ends=HISTORY + 600)
    end, hour = HISTORY + 600, 6
    assert lead(account, []) == 0
    assert lead(account, [(end - 30 * hour, end - 20 * hour), (end - 19 * hour, end)]) == 30
    assert lead(account, [(end - 30 * hour, end - 20 * hour), (end - 18 * hour, end)]) == 18
    assert lead(account, [(end - 30 * hour, end - 20 * hour)]) == 0
    assert first(account, [(end - 30 * hour, end - 20 * hour), (end - 18 * hour, end)]) == 30


def test_a_job_takes_all_that_is_left_from_a_time_by_chance_on() -> None:
    everyone = list(jobs(("nights",), (0, 1)))
    assert {one.curve for one in everyone} == {"nights"}
    with_job = [one for one in everyone if one.begins is not None]
    assert len(with_job) == 8 and len({one.begins for one in with_job}) == 8
    for account in with_job:
        assert account.begins is not None
        hours = int(account.kind.split()[2])
        assert account.balances[account.begins - 1] > LIMIT / 4
        assert account.ends == pytest.approx(account.begins + hours * 3600 / STEP, abs=1)


def test_a_job_is_told_of_while_it_runs_and_every_other_firing_is_false() -> None:
    begins, hour = HISTORY + 600, 6
    told, late = (
        Account(name, "runaway of 8 h", (), (), begins + 8 * hour, begins=begins) for name in ("told", "late")
    )
    quiet = Account("quiet", "no job", (), ())
    fired = {
        "told": [(begins - 100, begins - 90), (begins + 3, begins + 10)],
        "late": [(begins - 1, begins + 10), (begins + 8 * hour, begins + 9 * hour)],
        "quiet": [(HISTORY + 1, HISTORY + 2)],
    }
    assert spike_figures([told, late, quiet], fired) == {
        "job of 8 h told": 0.5,
        "all jobs told": 0.5,
        "hours until then": 0.5,
        "firings a week without a job": pytest.approx(7 * DAY / PERIOD),
        "of firings, jobs": pytest.approx(1 / 3),
    }


@pytest.mark.needs("promtool")
def test_in_a_working_week_forecasts_fire_through_the_last_day_and_not_for_accounts_that_keep_a_quarter() -> None:
    wanted = ("ends 1 d", "keeps 25%", "runaway of 8 h")
    few = [one for one in accounts(("working weeks",), (0,)) if one.name.split(", ")[1].startswith(wanted)]
    fired = firings(needed(sorted(RULES.glob("*.yml")), SHIPPED), few)

    def when(alert: str, account: Account) -> Firings:
        return fired.get((alert, account.name), [])

    assert len(few) == 3
    for account in few:
        if account.kind == "ends":
            assert lead(account, when(WARNING, account)) >= 24, account.name
            assert len(when(WARNING, account)) <= 2, account.name
            assert first(account, when(CRITICAL, account)) >= 1, account.name
        elif account.kind == "runaway of 8 h":
            assert lead(account, when(WARNING, account)) >= 6
            assert lead(account, when(CRITICAL, account)) >= 4.5
        else:
            assert when(WARNING, account) == when(CRITICAL, account) == [], account.name
