"""The times of polls with the real APScheduler. Tests wait for events and never for a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from exporter.config.accounts import Account
from exporter.polling.scheduler import Scheduler
from exporter.runtime.clock import SystemClock
from tests.conftest import MakeAccount

PATIENT = 20.0


class Polls:
    """Records polls; each may be held until it is released."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.lags: list[float] = []
        self.started: list[str] = []
        self.changed = threading.Condition()
        self.running: dict[str, int] = {}
        self.most_running: dict[str, int] = {}
        self.gate: Callable[[Account], None] = lambda account: None
        self.next_due: Callable[[Account], float] = lambda account: self.clock.monotonic() + 3600

    def poll(self, account: Account) -> float:
        with self.changed:
            self.started.append(account.name)
            for group in (account.name, account.base_url):
                self.running[group] = self.running.get(group, 0) + 1
                self.most_running[group] = max(self.running[group], self.most_running.get(group, 0))
            self.changed.notify_all()
        try:
            self.gate(account)
            return self.next_due(account)
        finally:
            with self.changed:
                for group in (account.name, account.base_url):
                    self.running[group] -= 1
                self.changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(condition, PATIENT)


@pytest.fixture
def polls() -> Polls:
    return Polls()


@pytest.fixture
def scheduler(polls: Polls) -> Iterator[Scheduler]:
    made = Scheduler(polls.poll, polls.clock, polls.lags.append)
    made.start()
    yield made
    polls.gate = lambda account: None
    made.stop(PATIENT)


def now(polls: Polls) -> Callable[[Account], float]:
    return lambda account: polls.clock.monotonic()


def test_all_that_is_due_at_once_is_polled_however_few_may_run_together(
    polls: Polls, scheduler: Scheduler, make_account: MakeAccount
) -> None:
    accounts = [make_account(name=f"a{i}") for i in range(60)]
    scheduler.replace(accounts, 3, now(polls))
    assert polls.wait(lambda: len(polls.started) == 60)
    assert sorted(polls.started) == sorted(account.name for account in accounts)
    assert polls.most_running[accounts[0].base_url] <= 3
    assert len(polls.lags) == 60


def test_the_next_poll_is_due_when_the_last_one_decided_and_never_overlaps_it(
    polls: Polls, scheduler: Scheduler, make_account: MakeAccount
) -> None:
    polls.next_due = now(polls)
    scheduler.replace([make_account()], 4, now(polls))
    assert polls.wait(lambda: len(polls.started) >= 20)
    assert polls.most_running["acct"] == 1


def test_a_vendor_that_hangs_delays_no_other(polls: Polls, scheduler: Scheduler, make_account: MakeAccount) -> None:
    release = threading.Event()
    polls.gate = lambda account: release.wait(PATIENT) if account.name.startswith("hung") else None  # type: ignore[assignment]  # the result is not used
    hung = [make_account(name=f"hung{i}", base_url="http://hung.example") for i in range(5)]
    other = make_account(name="other", base_url="http://other.example")
    scheduler.replace([*hung, other], 2, now(polls))
    assert polls.wait(lambda: "other" in polls.started)
    release.set()
    assert polls.wait(lambda: len(polls.started) == 6)


def test_a_poll_for_which_no_thread_can_be_started_waits_for_another_one(
    polls: Polls, scheduler: Scheduler, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, start = threading.Event(), threading.Thread.start

    def started(thread: threading.Thread) -> None:
        if polls.started:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)
    polls.gate = lambda account: release.wait(PATIENT)  # type: ignore[assignment]  # the result is not used
    scheduler.replace([make_account(name="first")], 4, now(polls))
    assert polls.wait(lambda: polls.started == ["first"])
    scheduler.replace([make_account(name="first"), make_account(name="second")], 4, now(polls))
    release.set()
    assert polls.wait(lambda: "second" in polls.started)


def test_polls_continue_after_one_that_raises(polls: Polls, scheduler: Scheduler, make_account: MakeAccount) -> None:
    def gate(account: Account) -> None:
        raise RuntimeError("bug")

    polls.gate = gate
    scheduler.replace([make_account(interval=0.01)], 1, now(polls))
    assert polls.wait(lambda: len(polls.started) >= 3)


def test_an_unchanged_account_keeps_its_time_a_changed_one_is_polled_at_once(
    polls: Polls, scheduler: Scheduler, make_account: MakeAccount
) -> None:
    kept, changed = make_account(name="kept"), make_account(name="changed")
    scheduler.replace([kept, changed], 4, now(polls))
    assert polls.wait(lambda: len(polls.started) == 2)
    assert polls.wait(lambda: not any(polls.running.values()))
    again = make_account(name="changed", interval=90.0)
    scheduler.replace([kept, again, make_account(name="new")], 4, now(polls))
    assert polls.wait(lambda: len(polls.started) == 4)
    assert sorted(polls.started[2:]) == ["changed", "new"]


def test_an_account_that_changes_while_it_is_polled_is_polled_again_at_once_after(
    polls: Polls, scheduler: Scheduler, make_account: MakeAccount
) -> None:
    release = threading.Event()
    polls.gate = lambda account: release.wait(PATIENT)  # type: ignore[assignment]  # the result is not used
    scheduler.replace([make_account()], 4, now(polls))
    assert polls.wait(lambda: len(polls.started) == 1)
    scheduler.replace([make_account(interval=90.0)], 4, now(polls))
    release.set()
    assert polls.wait(lambda: len(polls.started) == 2)
    assert polls.most_running["acct"] == 1


def test_a_removed_account_is_polled_no_more(polls: Polls, scheduler: Scheduler, make_account: MakeAccount) -> None:
    polls.next_due = now(polls)
    scheduler.replace([make_account(name="gone"), make_account(name="stays")], 4, now(polls))
    assert polls.wait(lambda: {"gone", "stays"} <= set(polls.started))
    scheduler.replace([make_account(name="stays")], 4, now(polls))
    with polls.changed:
        assert polls.changed.wait_for(lambda: not polls.running["gone"], PATIENT)
        del polls.started[:]
    assert polls.wait(lambda: len(polls.started) >= 10)
    assert set(polls.started) == {"stays"}


def test_stopping_starts_no_poll_and_returns_whether_all_ended(
    polls: Polls, scheduler: Scheduler, make_account: MakeAccount
) -> None:
    release = threading.Event()
    polls.gate = lambda account: release.wait(PATIENT)  # type: ignore[assignment]  # the result is not used
    scheduler.replace([make_account(name=f"a{i}") for i in range(5)], 1, now(polls))
    assert polls.wait(lambda: len(polls.started) == 1)
    assert scheduler.stop(0.01) is False
    release.set()
    assert scheduler.stop(PATIENT) is True
    assert len(polls.started) == 1


def test_the_wall_clock_does_not_change_when_a_job_runs(
    polls: Polls, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apscheduler.schedulers.base as base

    class Yesterday(base.datetime):  # type: ignore[misc]  # a stand-in for the name in that module
        @classmethod
        def now(cls, tz: object = None) -> object:
            return super().fromtimestamp(0, tz)

    monkeypatch.setattr(base, "datetime", Yesterday)
    scheduler = Scheduler(polls.poll, polls.clock, polls.lags.append)
    scheduler.start()
    try:
        polls.next_due = lambda account: polls.clock.monotonic() + 0.01
        scheduler.replace([make_account()], 1, now(polls))
        assert polls.wait(lambda: len(polls.started) >= 3)
    finally:
        scheduler.stop(PATIENT)


def test_the_scheduler_is_healthy_while_it_runs(scheduler: Scheduler) -> None:
    assert scheduler.trouble() is None


@pytest.mark.parametrize("timeout", [5.0, 300.0])
def test_polls_that_hang_for_two_minutes_and_past_their_timeout_are_unhealthy(
    polls: Polls, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    let_go = threading.Event()

    def hang(_account: Account) -> None:
        let_go.wait(PATIENT)

    polls.gate = hang
    scheduler = Scheduler(polls.poll, polls.clock, polls.lags.append)
    scheduler.start()
    try:
        accounts = [make_account(name=name, timeout=timeout, interval=600.0) for name in ("a", "b", "c")]
        scheduler.replace(accounts, 2, now(polls))
        assert polls.wait(lambda: len(polls.started) == 2)
        began, passed = polls.clock.monotonic(), 0.0
        monkeypatch.setattr(polls.clock, "monotonic", lambda: began + passed)
        passed = max(120.0, 2 * timeout) - 10
        scheduler._last_beat = began + passed
        assert scheduler.trouble() is None
        passed += 10
        assert scheduler.trouble() == "polls of vidnavigator that were due have not ended for two minutes"
    finally:
        monkeypatch.undo()
        let_go.set()
        scheduler.stop(PATIENT)


def test_threads_that_are_late_but_finish_polls_are_healthy(polls: Polls, make_account: MakeAccount) -> None:
    scheduler = Scheduler(polls.poll, polls.clock, polls.lags.append)
    account = make_account()
    scheduler.replace([account], 1, now(polls))
    late = next(iter(scheduler._jobs.values()))
    late.due -= 1000
    pool = scheduler._pool_of(account)
    scheduler._last_ends[pool] = polls.clock.monotonic() - 100
    assert scheduler.trouble() is None
    scheduler._last_ends[pool] -= 100
    assert scheduler.trouble() is not None
