"""The history in a file and in PostgreSQL. The kept readings and polls, their age, and reading them."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from exporter.account_id import AccountId
from exporter.errors import StateUnavailableError
from exporter.readings import AccountState, Failure, Kept, Ledger, PollRecord, Pool, Quota, Series, Usage
from exporter.state import chunks
from exporter.state.base import DAY, HOUR, POLLS, AccountHistory, AccountStates
from exporter.state.history import History, open_file
from exporter.state.opening import open_history, open_state
from exporter.state.source import StateSource
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock
from tests.state.postgresql import Server

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")
MIDNIGHT = 1_700_000_000 // DAY * DAY  # long ago, because a database drops what its clock calls the future


@dataclass
class Past:
    """A state of either kind, and where it is."""

    accounts: AccountStates
    source: StateSource
    versions: dict[AccountId, int] = field(default_factory=dict)

    def save(self, account: AccountId, state: AccountState) -> None:
        """Save a state that was made of the last one, as a poll does."""
        state = replace(state, version=self.versions.get(account, 0))
        self.versions[account] = self.accounts.save(account, state).version
        assert self.accounts.write_failures == 0

    def opened(self) -> AbstractContextManager[AccountHistory]:
        return open_history(self.source)


@pytest.fixture(params=["file", pytest.param("database", marks=pytest.mark.needs("pg_ctlcluster"))])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> StateSource:
    if request.param == "file":
        return StateSource("path", str(tmp_path / "state.db"))
    return StateSource("url", request.getfixturevalue("url"))


@pytest.fixture
def past(source: StateSource, clock: FakeClock) -> Iterator[Past]:
    clock.wall_time = MIDNIGHT
    with closing(open_state(source, clock, exclusive=True).accounts) as accounts:
        yield Past(accounts, source)


@pytest.fixture
def file(tmp_path: Path, clock: FakeClock) -> Iterator[StateFile]:
    clock.wall_time = MIDNIGHT
    with closing(StateFile.open(tmp_path / "state.db", clock, exclusive=True)) as file:
        yield file


def polled(clock: FakeClock, spent: object = 0, **used: float) -> AccountState:
    """Return the state of an account whose poll has just ended well."""
    usage = Usage(balance=100.5, used_by_operation=used, storage=Quota(ratio=0.25))
    return AccountState(
        parts={"usage": usage},
        part_times={"usage": clock.wall()},
        ledger=Ledger(Decimal(str(spent)), pools={"monthly": Pool(100.5, period_start=MIDNIGHT)}, began=MIDNIGHT),
        last_poll=clock.wall(),
        last_duration=0.2,
        last_status=200,
    )


def readings(past: Past, span: int, begin: float = 0, end: float = 1e11) -> Series:
    with past.opened() as opened:
        return opened.readings(MEDIA, span, begin, end)


def hours(series: Series) -> list[float]:
    return [(at - MIDNIGHT) / HOUR for at in series.at]


def test_the_last_reading_of_each_hour_and_of_each_day_is_kept(past: Past, clock: FakeClock) -> None:
    for number in range(4 * 50):  # every 15 minutes for 50 hours
        past.save(MEDIA, polled(clock, number))
        clock.advance(900)
    assert hours(readings(past, HOUR)) == [hour + 0.75 for hour in range(50)]
    assert readings(past, HOUR).spent == [Decimal(4 * hour + 3) for hour in range(50)]
    assert hours(readings(past, DAY)) == [23.75, 47.75, 49.75]


def test_a_reading_is_kept_whole(past: Past, clock: FakeClock) -> None:
    past.save(MEDIA, polled(clock, "0.10", search=3.5))
    clock.advance(HOUR)
    past.save(MEDIA, polled(clock, "0.30", scene=1))
    assert readings(past, HOUR) == Series(
        at=[int(MIDNIGHT), int(MIDNIGHT) + HOUR],
        unit=["credits"] * 2,
        balance=[100.5] * 2,
        spent=[Decimal("0.10"), Decimal("0.30")],
        added=[Decimal(0)] * 2,
        lapsed=[Decimal(0)] * 2,
        began=[MIDNIGHT] * 2,
        storage=[0.25] * 2,
        channels=[None] * 2,
        period=[MIDNIGHT] * 2,
        used={"search": [3.5, None], "scene": [None, 1]},
    )


def test_a_span_begins_with_the_last_reading_before_it_and_ends_before_its_end(past: Past, clock: FakeClock) -> None:
    for day in (0, 1, 70, 71, 72):
        clock.wall_time = MIDNIGHT + day * DAY + HOUR
        past.save(MEDIA, polled(clock, day))
    assert readings(past, DAY, MIDNIGHT + 70 * DAY, MIDNIGHT + 72 * DAY).spent == [1, 70, 71]
    assert readings(past, DAY, MIDNIGHT + 90 * DAY).spent == [72]
    assert readings(past, DAY, 0, MIDNIGHT).spent == []


@pytest.mark.parametrize("begin", [0, 31, 32, 33, 70, 71, 90])
def test_the_readings_of_every_account_are_those_of_each(past: Past, clock: FakeClock, begin: int) -> None:
    for day in (*range(28, 36), 70, 71):
        for account in (MEDIA, ARCHIVE, ("videodb", "stopped")):
            if account[1] != "stopped" or day < 40:
                clock.wall_time = day * DAY + HOUR
                past.save(account, polled(clock, day))
    past.save(("videodb", "new"), AccountState())
    with past.opened() as opened:
        times = (begin * DAY, (begin + 31) * DAY)
        every = dict(opened.every_account(DAY, *times))
        assert every == {account: opened.readings(account, DAY, *times) for account in opened.accounts()}
    assert every[MEDIA] == every[ARCHIVE] != every["videodb", "new"] == Series()


def test_a_reading_of_an_earlier_release_has_no_beginning_of_its_ledger() -> None:
    (state,) = [chunks.reading(polled(FakeClock(), 5))]
    assert state is not None
    *columns, used = json.loads(chunks.encode(state))
    earlier = chunks.decode(json.dumps([*columns[:-1], used]).encode())
    assert earlier == replace(state, began=[None])


def test_the_balances_of_many_accounts_are_read_at_once_and_only_where_they_are_numbers(
    past: Past, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.state.history._BATCH", 2)
    for balance in (5.0, None, inf, 4.0, 3.0, 2.0):
        for account in (MEDIA, ARCHIVE, ("videodb", "another")):
            state = polled(clock)
            past.save(account, replace(state, parts={"usage": Usage(balance=balance)}))
        clock.advance(HOUR)
    with past.opened() as opened:
        found = opened.balances([MEDIA, ("videodb", "unknown"), ARCHIVE, ("videodb", "?")], HOUR, MIDNIGHT)
    assert found[MEDIA] == [(MIDNIGHT, 5), (MIDNIGHT + 3 * HOUR, 4), (MIDNIGHT + 4 * HOUR, 3)]
    assert found == {MEDIA: found[MEDIA], ("videodb", "unknown"): [], ARCHIVE: found[MEDIA], ("videodb", "?"): []}


def test_damaged_balances_are_skipped(file: StateFile, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        file.save(MEDIA, polled(clock))
        clock.advance(HOUR)
    file.write(lambda db: db.execute("UPDATE history SET readings = x'00'"))
    with open_file(file.path) as opened:
        assert opened.balances([MEDIA], HOUR, 0) == {MEDIA: []}
    assert "skipping damaged readings" in caplog.text


def test_only_readings_that_are_too_old_are_dropped(past: Past, clock: FakeClock) -> None:
    past.accounts.kept = Kept(hourly=2 * DAY, daily=40 * DAY)
    for _ in range(200 * 2):
        past.save(MEDIA, polled(clock))
        clock.advance(DAY / 2)
    for span, kept in ((HOUR, 2 * DAY), (DAY, 40 * DAY)):
        oldest = readings(past, span).at[0]
        assert clock.wall() - kept - chunks.ROWS * span - DAY <= oldest <= clock.wall() - kept


def test_zero_keeps_none_and_drops_what_there_was(past: Past, clock: FakeClock) -> None:
    for kept in (Kept(), Kept(hourly=0)):
        past.accounts.kept = kept
        for _ in range(30):
            past.save(MEDIA, polled(clock))
            clock.advance(HOUR)
    assert len(readings(past, HOUR)) == 1, "the newest reading is part of the state"
    assert len(readings(past, DAY)) == 3


def test_the_history_goes_on_after_a_restart(source: StateSource, clock: FakeClock) -> None:
    for hour in range(3):
        with closing(open_state(source, clock, exclusive=True).accounts) as accounts:
            accounts.save(MEDIA, polled(clock, hour))
        clock.advance(HOUR)
    with open_history(source) as opened:
        assert opened.readings(MEDIA, HOUR, 0, 1e11).spent == [0, 1, 2]


def test_readings_of_a_clock_that_ran_ahead_give_way_to_those_of_the_right_time(past: Past, clock: FakeClock) -> None:
    now = clock.wall_time = int(time.time())
    for spent, jump in enumerate((-4, 8, -7, 1, 1)):
        clock.jump(jump * HOUR)
        past.save(MEDIA, polled(clock, spent))
    kept = readings(past, HOUR)
    assert [(at - now) // HOUR for at in kept.at] == [-4, -3, -2, -1]
    assert kept.spent == [0, 2, 3, 4]


def test_the_last_polls_are_kept_with_how_they_ended(past: Past, clock: FakeClock) -> None:
    for number in range(POLLS + 7):
        failure = Failure("auth", "HTTP 401: half a pair \ud800") if number % 2 else None
        state = replace(polled(clock), polls=number, failure=failure, last_status=401 if failure else 200)
        past.save(MEDIA, state)
        past.save(MEDIA, state)  # as a reload saves it
        clock.advance(60)
    with past.opened() as opened:
        polls = opened.polls(MEDIA)
        assert opened.polls(ARCHIVE) == []
    assert [poll.at for poll in polls] == [clock.wall() - 60 * (back + 1) for back in range(POLLS)]
    assert polls[0] == PollRecord(clock.wall() - 60, 0.2, 200)
    assert polls[1] == PollRecord(clock.wall() - 120, 0.2, 401, "auth", "HTTP 401: half a pair ?")


def test_only_the_readings_of_a_damaged_chunk_are_lost(
    file: StateFile, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    past = Past(file, StateSource("path", str(file.path)))
    for number in range(80):
        past.save(MEDIA, polled(clock, number))
        clock.advance(HOUR)
    (oldest,) = file.read(lambda db: db.execute("SELECT min(chunk) FROM history WHERE span = 3600").fetchone())
    file.write(lambda db: db.execute("UPDATE history SET readings = x'00' WHERE chunk = ?", (oldest,)))
    assert 0 < len(readings(past, HOUR)) < 80
    assert "damaged" in caplog.text
    past.save(MEDIA, polled(clock, 80))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET reading = x'00' WHERE account LIKE '%media%'",
        "UPDATE accounts SET account = 'a' WHERE account LIKE '%media%'",
    ],
    ids=["reading", "name"],
)
def test_a_damaged_row_stops_neither_polls_nor_readers(statement: str, file: StateFile, clock: FakeClock) -> None:
    past = Past(file, StateSource("path", str(file.path)))
    for account in (MEDIA, ARCHIVE):
        past.save(account, polled(clock))
    file.write(lambda db: db.execute(statement))
    with past.opened() as opened:
        every = dict(opened.every_account(DAY, 0, 1e11))
        assert ARCHIVE in opened.accounts()
    assert len(every[ARCHIVE]) == 1
    assert len(every.get(MEDIA, Series())) == 0
    clock.advance(DAY)
    past.save(MEDIA, polled(clock, 5))
    assert readings(past, DAY).spent == [5]


def test_a_reader_sees_one_moment(past: Past, clock: FakeClock) -> None:
    past.save(MEDIA, polled(clock))
    with past.opened() as opened:
        before = opened.readings(MEDIA, HOUR, 0, 1e11)
        clock.advance(HOUR)
        past.save(MEDIA, polled(clock, 5))
        assert opened.readings(MEDIA, HOUR, 0, 1e11) == before
        assert opened.accounts() == [MEDIA]


def test_a_closed_file_is_read_without_a_new_file_beside_it(tmp_path: Path, clock: FakeClock) -> None:
    with closing(StateFile.open(tmp_path / "state.db", clock, exclusive=True)) as file:
        file.save(MEDIA, polled(clock))
    before = {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    with open_file(tmp_path / "state.db") as opened:
        assert opened.accounts() == [MEDIA]
        during = set(tmp_path.iterdir())
    assert during == set(before)
    assert {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()} == before


def test_a_missing_state_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailableError, match=r"none\.db cannot be read"), open_file(tmp_path / "none.db"):
        pass


def at(clock: FakeClock, hour: float, spent: int) -> AccountState:
    clock.wall_time = MIDNIGHT + hour * HOUR
    return polled(clock, spent)


@pytest.mark.needs("pg_ctlcluster")
def test_a_replica_that_writes_late_loses_no_hour_of_another(url: str, clock: FakeClock) -> None:
    source = StateSource("url", url)
    first, late = (Past(open_state(source, clock, exclusive=False).accounts, source) for _ in range(2))
    with closing(first.accounts), closing(late.accounts):
        for hour in (1.25, 2.25, 5.25, 27.25):
            first.save(MEDIA, at(clock, hour, int(hour)))
        for hour in (1.75, 2.125, 3.5, 23.5):
            late.save(MEDIA, at(clock, hour, int(hour)))
    assert hours(readings(first, HOUR)) == [1.75, 2.25, 3.5, 5.25, 23.5, 27.25]
    assert readings(first, HOUR).spent == [1, 2, 3, 5, 23, 27]
    assert hours(readings(first, DAY)) == [23.5, 27.25]


@pytest.mark.needs("pg_ctlcluster")
@pytest.mark.parametrize("hour", [1, 3])
def test_a_ledger_that_a_replica_began_without_the_database_is_merged_with_the_old_one(
    url: str, clock: FakeClock, hour: int
) -> None:
    source = StateSource("url", url)
    first, alone = (Past(open_state(source, clock, exclusive=False).accounts, source) for _ in range(2))
    with closing(first.accounts), closing(alone.accounts):
        first.save(MEDIA, at(clock, 0, 100))
        first.save(MEDIA, at(clock, 2, 1000))
        anew = at(clock, hour, 5)
        assert anew.ledger is not None
        alone.save(MEDIA, replace(anew, ledger=replace(anew.ledger, began=clock.wall())))
    kept = readings(first, HOUR)
    assert dict(zip(hours(kept), kept.spent, strict=True)) == {0: 100, 2: 1000, hour: 1000}
    assert set(kept.began) == {MIDNIGHT}


@pytest.mark.needs("pg_ctlcluster")
@pytest.mark.usefixtures("patient")
def test_replicas_that_write_at_the_same_time_lose_no_hour(url: str, clock: FakeClock) -> None:
    source = StateSource("url", url)
    replicas = [Past(open_state(source, clock, exclusive=False).accounts, source) for _ in range(3)]
    states = [at(clock, hour, hour) for hour in range(60)]
    threads = [
        threading.Thread(target=lambda past, mine: [past.save(MEDIA, state) for state in mine], args=each)
        for each in zip(replicas, (states[0::3], states[1::3], states[2::3]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for past in replicas:
        past.accounts.close()
        assert past.accounts.write_failures == 0
    assert readings(replicas[0], HOUR).spent == list(range(60))


@pytest.mark.needs("pg_ctlcluster")
def test_a_reader_of_a_database_does_not_write(url: str, clock: FakeClock) -> None:
    source = StateSource("url", url)
    with pytest.raises(StateUnavailableError, match="no exporter has used it yet"), open_history(source):
        pass
    with closing(open_state(source, clock, exclusive=True).accounts) as accounts:
        accounts.save(MEDIA, polled(clock))
    with pytest.raises(StateUnavailableError, match="read-only transaction"), open_history(source) as opened:
        cast(History, opened)._execute("DELETE FROM polls")


@pytest.mark.needs("pg_ctlcluster")
def test_a_reader_does_not_wait_for_a_server_that_is_suspended(
    url: str, postgresql: Server, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = StateSource("url", url)
    open_state(source, clock, exclusive=True).accounts.close()

    def read() -> None:
        with open_history(source) as opened, postgresql.suspended(url):
            monkeypatch.setattr("exporter.state.postgresql.history.READ_SECONDS", 0.2)
            list(opened.every_account(DAY, 0, 1e11))

    with pytest.raises(StateUnavailableError, match="cannot be read"):
        read()


@pytest.mark.needs("pg_ctlcluster")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE meta SET version = version - 1", "an earlier release wrote it. Start this release on it once"),
        ("UPDATE meta SET version = version + 1, oldest_writer = version + 1", "of a later release"),
        ("UPDATE meta SET version = version + 1", None),
    ],
)
def test_a_database_of_another_release_is_read_if_that_is_possible(
    url: str, postgresql: Server, clock: FakeClock, change: str, why: str | None
) -> None:
    source = StateSource("url", url)
    open_state(source, clock, exclusive=True).accounts.close()
    postgresql.run(change.replace("meta", "video_api_exporter.meta"), url)
    with pytest.raises(StateUnavailableError, match=why) if why else nullcontext(), open_history(source) as opened:
        assert opened.accounts() == []


def test_the_message_about_an_unreachable_database_has_no_password() -> None:
    password = secrets.token_hex(12)
    source = StateSource("url", f"postgresql://exporter:{password}@127.0.0.1:1/exporter")
    with pytest.raises(StateUnavailableError, match="cannot be read") as failure, open_history(source):
        pass
    assert password not in str(failure.value)


amounts = st.none() | st.decimals(0, 10**12, places=6)
numbers = st.none() | st.floats(allow_nan=False)


def one(used: dict[str, float | None]) -> dict[str, list[float | None]]:
    return {name: [value] for name, value in used.items()}


Row = tuple[int, float | None, Decimal | None, dict[str, float | None]]


@given(st.lists(st.tuples(st.integers(0, 2**33), numbers, amounts, st.dictionaries(st.text(), numbers, max_size=3))))
@settings(max_examples=50)
def test_a_chunk_gives_back_what_it_was_given(rows: list[Row]) -> None:
    pieces = [
        Series(
            at=[at],
            unit=["credits"],
            balance=[number],
            spent=[amount],
            added=[amount],
            lapsed=[None],
            began=[number],
            storage=[None],
            channels=[number],
            period=[None],
            used=one(used),
        )
        for at, number, amount, used in rows
    ]
    whole = chunks.joined(pieces)
    assert all(len(column) == len(rows) for column in whole.used.values())
    assert chunks.unpack(chunks.pack(whole)) == whole
