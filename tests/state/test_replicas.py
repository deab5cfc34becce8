"""Replicas on one real PostgreSQL. One of them polls each key, and all of them have its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.errors import StateUnavailableError
from exporter.polling.holding import Holding
from exporter.polling.limits import Limits
from exporter.readings import AccountState, Failure, Ledger, Usage
from exporter.runtime.clock import SystemClock
from exporter.state.base import KeyTarget, Replicas, State
from exporter.state.opening import open_state
from exporter.state.postgresql import accounts as postgresql_accounts
from exporter.state.postgresql.accounts import PostgresAccounts
from exporter.state.postgresql.keys import PostgresKeys
from exporter.state.source import StateSource
from tests.conftest import MakeAccount
from tests.program.running import PATIENT, until
from tests.state.postgresql import Server

pytestmark = [
    pytest.mark.needs("pg_ctlcluster"),
    pytest.mark.usefixtures("patient"),
]

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")
KEY = KeyTarget("videodb", "https://api.example", "k" * 20)


class Clock(SystemClock):
    """The machine's clocks, moved by hand."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.wrong = 0.0

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self.passed

    def wall(self) -> float:
        return SystemClock.wall() + self.wrong


class Member:
    """A replica whose steps a test makes. It polls nothing."""

    def __init__(self, url: str, shard: tuple[int, int] = (0, 1)) -> None:
        self.clock = Clock()
        self.state: State = open_state(StateSource("url", url), self.clock, exclusive=True)
        assert self.state.replicas is not None
        self.replicas: Replicas = self.state.replicas
        self.limits = Limits(self.state.clock, self.state.keys, self.replicas.share)
        self.holding = Holding(self.replicas, shard, self.state.clock)
        self.held: set[AccountId] = set()
        self.running: set[AccountId] = set()
        self.received: dict[AccountId, AccountState] = {}
        self.asked: dict[AccountId, float] = {}
        self.holding.attach(self._schedule, self.received.update, lambda: self.running, self._note_request)

    def _note_request(self, account: Account, at: float) -> None:
        self.asked[account.id] = at

    def _schedule(self, accounts: Sequence[Account]) -> None:
        self.held = {account.id for account in accounts}

    def use(self, accounts: Sequence[Account], config: str = "") -> None:
        self.state.accounts.forget(account.id for account in accounts)
        self.holding.use(accounts, config)

    def step(self) -> None:
        self.holding.step()


class Members:
    """Replicas on one database, stepped in turn until nothing changes."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.server = server
        self.url = server.new_database()
        self._stack = stack
        self.all: list[Member] = []

    def add(self, accounts: Sequence[Account] = (), config: str = "") -> Member:
        member = Member(self.url)
        self._stack.enter_context(closing(member.state.accounts))
        self.all.append(member)
        member.use(accounts, config)
        return member

    def run(self, statement: Any, *values: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(statement, values)

    def pass_time(self, seconds: int) -> None:
        """Let the replicas, whose heartbeats are in the database, be silent for some seconds."""
        self.run("UPDATE video_api_exporter.replicas SET seen_at = seen_at - %s * interval '1 second'", seconds)

    def wait_for_locks(self) -> bool:
        """Return whether a transaction waits for another one."""
        return bool(self.server.run("SELECT 1 FROM pg_locks WHERE NOT granted", self.url))

    def settle(self, *members: Member) -> None:
        def held() -> list[set[AccountId]]:
            for member in members or self.all:
                member.step()
            return [member.held for member in members or self.all]

        until(lambda: sum(map(len, held())) > 0 and held() == held() == held(), "settled")


@pytest.fixture
def members(postgresql: Server) -> Iterator[Members]:
    with ExitStack() as stack:
        yield Members(postgresql, stack)


@pytest.fixture
def accounts(make_account: MakeAccount) -> list[Account]:
    return [make_account(name=f"account {number}") for number in range(60)]


def test_each_account_is_polled_by_one_replica_and_each_replica_has_a_share(
    members: Members, accounts: list[Account]
) -> None:
    for _ in range(3):
        members.add(accounts)
    members.settle()
    held = [member.held for member in members.all]
    assert sorted(account for one in held for account in one) == sorted(account.id for account in accounts)
    assert all(len(one) > 5 for one in held)
    assert [member.holding.replicas for member in members.all] == [3, 3, 3]


def test_a_replica_that_comes_moves_only_the_accounts_that_it_gets(members: Members, accounts: list[Account]) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    before = first.held, second.held
    third = members.add(accounts)
    members.settle()
    assert first.held < before[0] and second.held < before[1]
    assert third.held == (before[0] - first.held) | (before[1] - second.held)


def test_the_accounts_of_a_dead_replica_are_taken_after_ten_seconds(members: Members, accounts: list[Account]) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    before = second.held
    members.pass_time(9)
    second.step()
    assert second.held == before
    members.pass_time(11)
    second.step()
    assert len(second.held) == len(accounts)
    assert second.holding.replicas == 1
    first.clock.passed += 20  # it was suspended, and goes on
    first.step()
    assert first.held == set()


def test_replicas_that_come_and_go_are_logged_with_the_accounts_that_are_polled_then(
    members: Members, accounts: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    def told(member: Member) -> list[str]:
        caplog.clear()
        member.step()
        return [message for message in caplog.messages if "replicas" in message]

    caplog.set_level("INFO")
    first = members.add(accounts)
    assert told(first) == []  # alone
    second = members.add(accounts)
    second.step()
    (joined,) = told(first)
    members.settle()
    assert joined == f"replicas: 1 joined, 0 were lost or stopped, 2 live. This one polls {len(first.held)} accounts"
    assert told(first) == []
    second.replicas.leave()
    assert told(first) == ["replicas: 0 joined, 1 was lost or stopped, 1 live. This one polls 60 accounts"]


def test_the_accounts_of_a_replica_that_stops_are_taken_at_once(members: Members, accounts: list[Account]) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    first.holding.leave()
    second.step()
    assert len(second.held) == len(accounts)


def test_keys_lost_during_a_suspension_are_scheduled_again_when_they_are_taken_again(
    members: Members, accounts: list[Account]
) -> None:
    first = members.add(accounts)
    members.settle()
    scheduled: list[int] = []
    first.holding.attach(
        lambda held: scheduled.append(len(held)), first.received.update, lambda: first.running, first._note_request
    )
    members.run("UPDATE video_api_exporter.leases SET holder = 1")  # one that died since
    for seconds in (20, 6, 6):
        first.clock.passed += seconds
        first.step()
    assert scheduled == [0, len(accounts)]


def test_a_group_moves_when_its_running_poll_has_ended(members: Members, accounts: list[Account]) -> None:
    first = members.add(accounts)
    members.settle()
    first.running = set(first.held)
    second = members.add(accounts)

    def is_told() -> bool:
        second.step()
        first.step()
        return len(first.held) < len(accounts)

    until(is_told, "told to leave")
    second.step()
    assert second.held == set()
    first.running = set()
    members.settle()
    assert len(second.held) == len(accounts) - len(first.held) > 0


def test_accounts_of_one_key_stay_together(members: Members, make_account: MakeAccount) -> None:
    shared = [make_account(name=f"account {number}", key="k" * 20) for number in range(20)]
    for _ in range(3):
        members.add(shared)
    members.settle()
    assert sorted(len(member.held) for member in members.all) == [0, 0, 20]


def test_replicas_of_other_shards_are_no_peers(members: Members, accounts: list[Account]) -> None:
    with closing(Member(members.url, (1, 2)).state.accounts):
        first = members.add(accounts)
        members.settle()
        assert (first.holding.replicas, len(first.held)) == (1, 60)


def test_shards_may_have_accounts_of_one_key(members: Members, make_account: MakeAccount) -> None:
    one, other = [make_account(name=name, key="k" * 20) for name in ("one", "other")]
    first, second = members.add([one]), Member(members.url, (1, 2))
    with closing(second.state.accounts):
        second.use([other])
        members.settle(first, second)
        assert (first.held, second.held) == ({one.id}, {other.id})
        target = KeyTarget(one.provider, one.base_url, one.key.read())
        assert [first.limits.admit(target, 1), second.limits.admit(target, 2)] == [None, None]
        assert second.limits.admit(target, 2) is not None  # the limit is that of both


def test_each_replica_polls_its_own_accounts_and_reports_that_the_configurations_differ(
    members: Members, accounts: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = members.add(accounts[:40], "one"), members.add(accounts[20:], "other")
    members.settle()
    assert first.held <= {account.id for account in accounts[:40]}
    assert second.held <= {account.id for account in accounts[20:]}
    assert first.held | second.held == {account.id for account in accounts}
    assert not first.held & second.held
    assert first.holding.config_differs and second.holding.config_differs
    assert caplog.text.count("different configurations") == 2  # one of each replica
    second.use(accounts[:40], "one")
    members.settle()
    assert not first.holding.config_differs


def test_an_account_that_only_one_replica_knows_is_polled_although_its_key_is_used_by_others(
    members: Members, make_account: MakeAccount
) -> None:
    shared = [make_account(name=f"account {number}", key="k" * 20) for number in range(3)]
    members.add(shared[:2], "before")
    members.add(shared[:2], "before")
    members.settle()
    third = members.add(shared, "with one more")
    members.settle()
    assert [len(member.held) for member in members.all] == [0, 0, 3]
    members.all[0].use(shared, "with one more")
    third.holding.leave()
    members.settle(*members.all[:2])
    assert [len(member.held) for member in members.all[:2]] == [3, 0]


def test_an_account_whose_key_cannot_be_read_is_polled_by_one_replica(
    members: Members, make_account: MakeAccount
) -> None:
    keyless = [make_account(name=f"account {number}", key=" ") for number in range(20)]
    first, second = members.add(keyless), members.add(keyless)
    members.settle()
    assert first.held and second.held
    assert sorted([*first.held, *second.held]) == sorted(account.id for account in keyless)


def test_an_account_whose_key_one_replica_cannot_read_is_left_to_the_one_that_can(
    members: Members, make_account: MakeAccount
) -> None:
    able, unable = members.add([make_account()]), members.add([make_account(key=" ")])
    members.settle()
    account = ("vidnavigator", "acct")
    assert able.held == unable.held == {account}
    unable.state.accounts.save(account, AccountState(polls=1, failure=Failure("credential", "it is empty")))
    able.step()
    assert able.held == {account}
    able.state.accounts.save(account, AccountState(polls=2, version=1))
    members.settle()
    assert (able.held, unable.held) == ({account}, set())
    unable.clock.passed += 1000  # the other one no longer polls
    members.settle()
    assert unable.held == {account}


def test_no_request_is_admitted_without_the_lease(members: Members, accounts: list[Account]) -> None:
    first, second = members.add(), members.add()
    for member in (first, second):  # a free lease is taken by a step alone, which knows when the account is due
        wait = member.limits.admit(KEY, 5)
        assert wait is not None and wait.reason == "elsewhere"
    assert first.replicas.take([KEY], inherit=False) == {KEY: None}
    assert second.replicas.take([KEY], inherit=False) == {}
    assert first.limits.admit(KEY, 5) is None
    wait = second.limits.admit(KEY, 5)
    assert wait is not None and wait.reason == "elsewhere"
    first.holding.leave()
    second.replicas.take([KEY], inherit=False)
    assert second.limits.admit(KEY, 5) is None


def test_no_request_is_admitted_while_another_replica_takes_the_lease(members: Members) -> None:
    first, second = members.add(), members.add()
    first.replicas.take([KEY], inherit=False)
    with psycopg.connect(members.url) as taking, ThreadPoolExecutor(1) as pool:
        taking.execute("UPDATE video_api_exporter.leases SET holder = %s", (second.replicas.id,))
        asked = pool.submit(first.limits.admit, KEY, 5)
        until(lambda: asked.done() or members.wait_for_locks(), "asked")
        taking.commit()
        wait = asked.result()
    assert wait is not None and wait.reason == "elsewhere"


def test_leases_are_released_in_one_order_so_that_no_two_replicas_wait_for_each_other(members: Members) -> None:
    replicas = members.add().replicas
    keys = cast(PostgresKeys, members.all[0].state.keys)
    targets = [KeyTarget("videodb", "https://api.example", letter * 20) for letter in "abc"]
    for target in sorted(targets, key=keys.lease, reverse=True):
        replicas.take([target], inherit=False)
    lock = "SELECT FROM video_api_exporter.leases WHERE lease = %s FOR UPDATE NOWAIT"
    with psycopg.connect(members.url) as taking, ThreadPoolExecutor(1) as pool:
        least, *others = sorted(map(keys.lease, targets))
        taking.execute(lock, (least,))
        released = pool.submit(replicas.keep_only, [])
        until(members.wait_for_locks, "waits")
        for lease in others:
            taking.execute(lock, (lease,))
        taking.commit()
        released.result()


def test_a_poll_that_finds_its_lease_lost_ends_the_polls_of_the_account(
    members: Members, accounts: list[Account]
) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    account = next(account for account in accounts if account.id in first.held)
    target = KeyTarget(account.provider, account.base_url, account.key.read())
    lease = cast(PostgresKeys, first.state.keys).lease(target)
    members.run("UPDATE video_api_exporter.leases SET holder = %s WHERE lease = %s", second.replicas.id, lease)
    wait = first.limits.admit(target, 5)
    first.holding.note_wait(account.id, wait)
    first.step()
    assert account.id not in first.held
    second.holding._tidy_at = 0  # a lease that nobody uses is released
    second.step()
    first.step()
    assert account.id in first.held


def test_an_account_with_a_new_key_is_polled_by_the_replica_that_polls_that_key(
    members: Members, accounts: list[Account]
) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    account, other = accounts[0].id, next(account for account in accounts if account.id in second.held)
    target = KeyTarget(other.provider, other.base_url, other.key.read())
    for member in members.all:
        member.holding.note_key(account, target)
    members.settle()
    assert account in second.held and account not in first.held


def test_what_one_replica_saves_the_others_receive(members: Members, make_account: MakeAccount) -> None:
    accounts = [make_account(*MEDIA), make_account(*ARCHIVE)]
    first, second = members.add(accounts), members.add(accounts)
    first.state.accounts.save(MEDIA, AccountState(polls=3))
    second.step()
    assert second.received == {MEDIA: AccountState(polls=3)}
    second.received.clear()
    second.step()
    assert second.received == {}


def test_many_changes_come_in_parts_because_a_heartbeat_waits_for_them(
    members: Members, accounts: list[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_accounts, "MOST_CHANGES", 2)
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    for account in accounts[:5]:
        first.state.accounts.save(account.id, AccountState(polls=1))
    for count in (2, 4, 5, 5):
        second.step()
        assert len(second.received) == count


def test_changes_that_cannot_be_read_are_no_end_of_all_changes(
    members: Members, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = members.add([make_account(*MEDIA)]), members.add([make_account(*MEDIA)])
    first.state.accounts.save(MEDIA, AccountState(polls=1))

    def fail(_db: object, names: object) -> None:
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(postgresql_accounts, "_get", fail)
        with pytest.raises(StateUnavailableError):
            second.replicas.changes()
    until(lambda: second.state.accounts.is_up, "connected again")
    assert second.replicas.changes() == {MEDIA: AccountState(polls=1)}


def test_a_state_of_a_transaction_that_began_earlier_and_ends_later_is_received(
    members: Members, make_account: MakeAccount
) -> None:
    first, second = members.add([make_account(*MEDIA)]), members.add([make_account(*MEDIA)])
    first.state.accounts.save(MEDIA, AccountState(polls=1))
    with psycopg.connect(members.url) as slow:
        slow.execute("SELECT pg_current_xact_id()")
        first.state.accounts.save(MEDIA, AccountState(polls=2, version=1))
        second.step()
        assert second.received[MEDIA].polls == 2
        slow.execute(
            "UPDATE video_api_exporter.accounts SET version = 9, changed = pg_current_xact_id(),"
            " state = jsonb_set(state::jsonb, '{polls}', '9')::text"
        )
        slow.commit()
    second.step()
    assert second.received[MEDIA].polls == 9


def test_a_replica_is_woken_by_what_another_saves_and_not_by_itself(
    members: Members, make_account: MakeAccount
) -> None:
    first, second = members.add([make_account(*MEDIA)]), members.add([make_account(*MEDIA)])
    woken: list[str] = []
    first.replicas.call_on_news(lambda: woken.append("first"))
    second.replicas.call_on_news(lambda: woken.append("second"))
    first.state.accounts.save(MEDIA, AccountState(polls=1))
    until(lambda: woken, "woken")
    assert set(woken) == {"second"}


def usage(at: float, balance: float, polls: int, spent: str) -> AccountState:
    return AccountState(
        parts={"usage": Usage(balance=balance)},
        part_times={"usage": at},
        last_poll=at,
        last_success=at,
        polls=polls,
        ledger=Ledger(spent=Decimal(spent)),
    )


def test_the_last_request_of_a_dead_replica_is_known(members: Members, accounts: list[Account]) -> None:
    first, second = members.add(accounts[:2]), members.add(accounts[:2])
    members.settle()
    holder, other = (first, second) if first.held else (second, first)
    account = next(account for account in accounts if account.id in holder.held)
    target = KeyTarget(account.provider, account.base_url, account.key.read())
    at = other.clock.monotonic()
    assert holder.limits.admit(target, 5) is None
    assert other.asked == {}
    members.pass_time(11)
    other.step()
    assert at < other.asked[account.id] < other.clock.monotonic()


def test_the_last_request_of_a_replica_that_stopped_is_told_because_it_may_not_have_waited_for_the_response(
    members: Members, accounts: list[Account]
) -> None:
    first = members.add(accounts[:1])
    members.settle()
    target = KeyTarget(accounts[0].provider, accounts[0].base_url, accounts[0].key.read())
    assert first.limits.admit(target, 5) is None
    first.holding.leave()
    second = members.add(accounts[:1])

    def is_told() -> bool:
        second.step()
        return accounts[0].id in second.asked

    until(is_told, "told")
    assert second.holding.replicas == 1


@pytest.mark.parametrize("release", [lambda one: one.leave(), lambda one: one.keep_only([])], ids=["stop", "move"])
def test_a_lease_is_released_after_what_the_database_has_not_been_told_yet(
    members: Members,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
    release: Callable[[Replicas], None],
) -> None:
    monkeypatch.setattr(PostgresAccounts, "catch_up", lambda _self: None)
    accounts = [make_account(*MEDIA)]
    first, second = members.add(accounts), members.add(accounts)
    second.step()
    members.server.stop()
    try:
        until(lambda: not first.state.accounts.is_up, "noticed")
        first.state.accounts.save(MEDIA, AccountState(polls=3))
    finally:
        members.server.start()
    until(lambda: all(member.state.accounts.is_up for member in members.all), "connected again")
    release(first.replicas)
    assert second.replicas.changes() == {MEDIA: AccountState(polls=3)}


def test_two_states_of_one_account_become_the_newest_reading_with_the_greatest_counters(
    members: Members, make_account: MakeAccount
) -> None:
    accounts = [make_account(*MEDIA)]
    first, second = members.add(accounts), members.add(accounts)
    first.state.accounts.save(MEDIA, usage(1000.0, 50.0, polls=7, spent="30"))
    saved = second.state.accounts.save(MEDIA, usage(2000.0, 40.0, polls=5, spent="20"))
    assert saved.usage == Usage(balance=40.0)
    assert (saved.polls, saved.ledger, saved.last_poll) == (7, Ledger(spent=Decimal(30)), 2000.0)
    later = first.state.accounts.save(MEDIA, replace(usage(1500.0, 45.0, polls=8, spent="31"), version=1))
    assert later.usage == Usage(balance=40.0)
    assert (later.polls, later.ledger, later.last_poll) == (8, Ledger(spent=Decimal(31)), 2000.0)
    second.step()
    assert second.received[MEDIA] == later


def test_no_counter_falls_where_another_replica_saved_during_a_poll_and_the_database_is_away(
    members: Members, make_account: MakeAccount
) -> None:
    accounts = [make_account(*MEDIA)]
    first, second = members.add(accounts), members.add(accounts)
    first.state.accounts.save(MEDIA, usage(1000.0, 50.0, polls=7, spent="30"))
    second.step()
    members.server.stop()
    try:
        until(lambda: not second.state.accounts.is_up, "noticed")
        shown = second.state.accounts.save(MEDIA, usage(2000.0, 60.0, polls=2, spent="20"))
        assert (shown.polls, shown.ledger, shown.usage) == (7, Ledger(spent=Decimal(30)), Usage(balance=60.0))
    finally:
        members.server.start()


def test_replicas_whose_clocks_differ_by_minutes_use_the_time_of_the_database(
    members: Members, accounts: list[Account]
) -> None:
    first, second = members.add(), members.add()
    before = first.state.clock.wall()
    first.clock.wrong, second.clock.wrong = 600.0, -3600.0
    for member in members.all:
        member.step()
        assert 0 <= member.state.clock.wall() - before < PATIENT
    first.limits.cool_down(KEY, 600)
    until_ = first.limits.cooldown_until(KEY)
    assert until_ is not None and 0 < until_ - before < 600 + PATIENT


def test_the_full_limit_holds_through_a_short_fault_and_a_share_of_it_through_a_long_one(
    members: Members, accounts: list[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = members.add(accounts)
    members.add(accounts)
    members.settle()
    held = set(first.held)
    account = next(account for account in accounts if account.id in first.held)
    target = KeyTarget(account.provider, account.base_url, account.key.read())
    members.server.stop()
    try:
        until(lambda: not any(member.state.accounts.is_up for member in members.all), "noticed")
        assert [first.limits.admit(target, 5) is None for _ in range(6)] == [True] * 5 + [False]
        for _ in range(8):  # until what was sent counts no longer, and never silent for ten seconds
            first.clock.passed += 8
            with pytest.raises(StateUnavailableError):
                first.step()
        assert [first.limits.admit(target, 5) is None for _ in range(4)] == [True, True, False, False]
        assert first.held == held
    finally:
        members.server.start()
    until(lambda: all(member.state.accounts.is_up for member in members.all), "connected again")
    members.settle()
    assert first.held == held


def test_a_replica_that_is_alone_polls_on_at_the_whole_limit_however_long_its_database_is_away(
    members: Members, accounts: list[Account]
) -> None:
    first = members.add(accounts)
    members.settle()
    target = KeyTarget(accounts[0].provider, accounts[0].base_url, accounts[0].key.read())
    members.server.stop()
    try:
        until(lambda: not first.state.accounts.is_up, "noticed")
        for _ in range(1000):
            first.clock.passed += 8
            with pytest.raises(StateUnavailableError):
                first.step()
        assert [first.limits.admit(target, 5) is None for _ in range(6)] == [True] * 5 + [False]
        assert len(first.held) == len(accounts)
    finally:
        members.server.start()


def test_a_database_that_can_be_reached_and_not_written_is_one_fault_until_it_is_written(
    members: Members, accounts: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = members.add(accounts)
    first.step()
    members.run("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no space left'; END$$")
    trigger = "CREATE TRIGGER refuse BEFORE UPDATE ON video_api_exporter.replicas FOR EACH STATEMENT"
    members.run(trigger + " EXECUTE FUNCTION refuse()")
    for _ in range(3):
        with pytest.raises(StateUnavailableError):
            first.step()
        until(lambda: first.state.accounts.is_up, "connected again")
    assert (caplog.text.count("cannot be used"), caplog.text.count("used again")) == (1, 0)
    members.run("DROP TRIGGER refuse ON video_api_exporter.replicas")
    first.step()
    first.state.accounts.save(MEDIA, AccountState(polls=1))
    assert (caplog.text.count("cannot be used"), caplog.text.count("used again")) == (1, 1)


def test_a_replica_whose_heartbeats_are_late_although_it_is_connected_sends_nothing_without_the_database(
    members: Members, accounts: list[Account]
) -> None:
    first = members.add(accounts)
    first.step()
    assert first.replicas.share() == 1
    first.clock.passed += 8
    assert first.replicas.share() == 0
    first.step()
    assert first.replicas.share() == 1


def test_requests_of_others_count_on_while_the_database_is_away(members: Members) -> None:
    first = members.add()
    first.replicas.take([KEY], inherit=False)
    by_hand = open_state(StateSource("url", members.url), SystemClock(), exclusive=False)
    with closing(by_hand.accounts):
        assert [Limits(SystemClock(), by_hand.keys).admit(KEY, 9) is None for _ in range(3)] == [True] * 3
    assert first.limits.admit(KEY, 9) is None
    members.server.stop()
    try:
        until(lambda: not first.state.accounts.is_up, "noticed")
        assert [first.limits.admit(KEY, 6) is None for _ in range(3)] == [True, True, False]
    finally:
        members.server.start()


def test_requests_that_were_sent_without_the_database_count_for_others_when_it_is_back(members: Members) -> None:
    first = members.add()
    first.replicas.take([KEY], inherit=False)
    by_hand = open_state(StateSource("url", members.url), SystemClock(), exclusive=False)
    with closing(by_hand.accounts):
        assert first.limits.admit(KEY, 9) is None
        members.server.stop()
        try:
            until(lambda: not first.state.accounts.is_up, "noticed")
            first.clock.passed += 3
            began = first.clock.monotonic()
            assert [first.limits.admit(KEY, 9) is None for _ in range(3)] == [True] * 3
            first.clock.passed += 2
            first.limits.end_request(KEY, began + 1)
        finally:
            members.server.start()
        until(lambda: first.state.accounts.is_up and by_hand.accounts.is_up, "connected again")
        rows = "SELECT cardinality(times), cardinality(writers) FROM video_api_exporter.keys"
        until(lambda: members.server.run(rows, members.url) == [(4, 4)], "written")
        assert Limits(SystemClock(), by_hand.keys).admit(KEY, 4) is not None
        assert Limits(SystemClock(), by_hand.keys).admit(KEY, 5) is None


def test_after_a_restart_of_the_database_no_replica_takes_what_another_still_polls(
    members: Members, accounts: list[Account]
) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    before = set(first.held), set(second.held)
    members.server.stop()
    until(lambda: not any(member.state.accounts.is_up for member in members.all), "noticed")
    members.server.start()
    members.pass_time(60)
    until(lambda: all(member.state.accounts.is_up for member in members.all), "connected again")
    first.step()
    assert first.held == before[0]
    second.step()
    assert second.held == before[1]
    first.clock.passed += 11
    members.settle()
    assert (first.held, second.held) == before


def test_an_empty_database_in_its_place_leaves_the_accounts_where_they_are(
    members: Members, accounts: list[Account]
) -> None:
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    before = set(first.held), set(second.held)
    members.run("DROP SCHEMA video_api_exporter CASCADE")
    members.server.cut_connections(members.url)
    until(lambda: not any(member.state.accounts.is_up for member in members.all), "noticed")
    until(lambda: all(member.state.accounts.is_up for member in members.all), "connected again")
    for member in members.all:
        member.step()
    assert (first.held, second.held) == before  # until all have had the time to connect
    for member in members.all:
        member.clock.passed += 11
    members.settle()
    assert sorted([*first.held, *second.held]) == sorted(account.id for account in accounts)


def test_a_suspended_process_sends_no_request_until_the_database_admits_it(
    members: Members, accounts: list[Account]
) -> None:
    first = members.add(accounts)
    members.settle()
    account = next(account for account in accounts if account.id in first.held)
    target = KeyTarget(account.provider, account.base_url, account.key.read())
    members.server.stop()
    try:
        until(lambda: not first.state.accounts.is_up, "noticed")
        assert first.limits.admit(target, 50) is None
        first.clock.passed += 30
        assert first.limits.admit(target, 50) is not None
        with pytest.raises(StateUnavailableError):
            first.step()
        assert first.limits.admit(target, 50) is not None
        first.clock.passed += 9
        with pytest.raises(StateUnavailableError):
            first.step()
        first.clock.passed += 2
        assert first.limits.admit(target, 50) is None
    finally:
        members.server.start()


def test_if_the_database_is_away_at_the_start_no_account_is_polled_until_it_is_reached(
    members: Members, accounts: list[Account]
) -> None:
    first = members.add(accounts)
    members.settle()
    members.server.stop()
    try:
        second = members.add(accounts)
        with pytest.raises(StateUnavailableError):
            second.step()
        assert not second.holding.has_reached_database
        assert second.held == set()
    finally:
        members.server.start()
    until(lambda: all(member.state.accounts.is_up for member in members.all), "connected")
    members.settle()
    until(lambda: second.holding.has_reached_database, "told")
    assert first.held and second.held and not first.held & second.held


def test_after_the_database_was_away_no_replica_is_told_as_lost_before_it_had_time_to_connect(
    members: Members, accounts: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    caplog.clear()
    members.pass_time(30)
    members.server.cut_connections(members.url)
    until(lambda: not first.state.accounts.is_up, "cut")
    until(lambda: first.state.accounts.is_up and second.state.accounts.is_up, "connected again")
    first.step()
    second.step()
    first.step()
    assert not [message for message in caplog.messages if "live" in message]


def test_a_replica_that_others_replaced_while_it_was_suspended_says_so(
    members: Members, accounts: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, second = members.add(accounts), members.add(accounts)
    members.settle()
    held = len(first.held)
    members.pass_time(11)
    second.step()
    first.clock.passed += 20
    first.step()
    assert f"others took {held} accounts of this replica while it was away" in caplog.messages


def test_an_account_whose_key_is_held_by_a_replica_that_does_not_know_it_is_named_as_waiting(
    members: Members, make_account: MakeAccount, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one, other = (make_account(name=name, key="k" * 20) for name in ("one", "other"))
    first, second = members.add([one], "a"), members.add([other], "b")
    members.settle()
    owner, poor = (first, second) if first.held else (second, first)
    assert not poor.holding.waiting  # others may poll it soon
    poor.clock.passed += 61
    poor.step()
    assert len(poor.holding.waiting) == 1 and not owner.holding.waiting
    poor.step()
    assert sum("accounts that wait: 1," in message for message in caplog.messages) == 1
    owner.use([one, other], "a")
    poor.use([one, other], "a")
    members.settle()
    assert not poor.holding.waiting
