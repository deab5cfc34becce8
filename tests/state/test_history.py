"""The history in the state file: which readings and polls it keeps, for how long, and what a reader sees of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from math import inf
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from exporter.errors import StateUnavailableError
from exporter.readings import AccountState, Failure, Kept, Ledger, PollRecord, Pool, Quota, Series, Usage
from exporter.state import chunks, opening
from exporter.state.base import DAY, HOUR
from exporter.state.history import POLLS, open_history
from exporter.state.source import StateSource
from exporter.state.sqlite import StateFile
from tests.conftest import START, FakeClock

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")
MIDNIGHT = START // DAY * DAY


@pytest.fixture
def file(tmp_path: Path, clock: FakeClock) -> Iterator[StateFile]:
    clock.wall_time = MIDNIGHT
    with closing(StateFile.open(tmp_path / "state.db", clock, exclusive=True)) as opened:
        yield opened


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


def readings(file: StateFile, span: int, begin: float = 0, end: float = 1e11) -> Series:
    with open_history(file.path) as history:
        return history.readings(MEDIA, span, begin, end)


def hours(series: Series) -> list[float]:
    return [(at - MIDNIGHT) / HOUR for at in series.at]


def test_the_last_reading_of_each_hour_and_of_each_day_is_kept(file: StateFile, clock: FakeClock) -> None:
    for number in range(4 * 50):  # every 15 minutes for 50 hours
        file.save(MEDIA, polled(clock, number))
        clock.advance(900)
    assert hours(readings(file, HOUR)) == [hour + 0.75 for hour in range(50)]
    assert readings(file, HOUR).spent == [Decimal(4 * hour + 3) for hour in range(50)]
    assert hours(readings(file, DAY)) == [23.75, 47.75, 49.75]


def test_a_reading_is_kept_whole(file: StateFile, clock: FakeClock) -> None:
    file.save(MEDIA, polled(clock, "0.10", search=3.5))
    clock.advance(HOUR)
    file.save(MEDIA, polled(clock, "0.30", scene=1))
    assert readings(file, HOUR) == Series(
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


def test_a_span_begins_with_the_last_reading_before_it_and_ends_before_its_end(
    file: StateFile, clock: FakeClock
) -> None:
    for day in (0, 1, 70, 71, 72):
        clock.wall_time = MIDNIGHT + day * DAY + HOUR
        file.save(MEDIA, polled(clock, day))
    assert readings(file, DAY, MIDNIGHT + 70 * DAY, MIDNIGHT + 72 * DAY).spent == [1, 70, 71]
    assert readings(file, DAY, MIDNIGHT + 90 * DAY).spent == [72]
    assert readings(file, DAY, 0, MIDNIGHT).spent == []


@pytest.mark.parametrize("begin", [0, 31, 32, 33, 70, 71, 90])
def test_the_readings_of_every_account_are_those_of_each(file: StateFile, clock: FakeClock, begin: int) -> None:
    for day in (*range(28, 36), 70, 71):
        for account in (MEDIA, ARCHIVE, ("videodb", "stopped")):
            if account[1] != "stopped" or day < 40:
                clock.wall_time = day * DAY + HOUR
                file.save(account, polled(clock, day))
    file.save(("videodb", "new"), AccountState())
    with open_history(file.path) as history:
        times = (begin * DAY, (begin + 31) * DAY)
        every = dict(history.every_account(DAY, *times))
        assert every == {account: history.readings(account, DAY, *times) for account in history.accounts()}
    assert every[MEDIA] == every[ARCHIVE] != every["videodb", "new"] == Series()


def test_a_reading_of_an_earlier_release_has_no_beginning_of_its_ledger() -> None:
    (state,) = [chunks.reading(polled(FakeClock(), 5))]
    assert state is not None
    *columns, used = json.loads(chunks.encode(state))
    earlier = chunks.decode(json.dumps([*columns[:-1], used]).encode())
    assert earlier == replace(state, began=[None])


def test_the_balances_of_many_accounts_are_read_at_once_and_only_where_they_are_numbers(
    file: StateFile, clock: FakeClock
) -> None:
    for balance in (5.0, None, inf, 4.0, 3.0, 2.0):
        for account in (MEDIA, ARCHIVE, ("videodb", "another")):
            state = polled(clock)
            file.save(account, replace(state, parts={"usage": Usage(balance=balance)}))
        clock.advance(HOUR)
    with open_history(file.path) as history:
        found = history.balances([MEDIA, ("videodb", "unknown"), ARCHIVE], MIDNIGHT)
    assert found[MEDIA] == [(MIDNIGHT, 5), (MIDNIGHT + 3 * HOUR, 4), (MIDNIGHT + 4 * HOUR, 3)]
    assert found == {MEDIA: found[MEDIA], ("videodb", "unknown"): [], ARCHIVE: found[MEDIA]}


def test_damaged_balances_are_skipped(file: StateFile, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        file.save(MEDIA, polled(clock))
        clock.advance(HOUR)
    file.write(lambda db: db.execute("UPDATE history SET readings = x'00'"))
    with open_history(file.path) as history:
        assert history.balances([MEDIA], 0) == {MEDIA: []}
    assert "skipping damaged readings" in caplog.text


def test_what_is_too_old_is_dropped_and_what_is_not_stays(file: StateFile, clock: FakeClock) -> None:
    file.kept = Kept(hourly=2 * DAY, daily=40 * DAY)
    for _ in range(200 * 4):
        file.save(MEDIA, polled(clock))
        clock.advance(DAY / 4)
    for span, kept in ((HOUR, 2 * DAY), (DAY, 40 * DAY)):
        oldest = readings(file, span).at[0]
        assert clock.wall() - kept - chunks.ROWS * span - DAY <= oldest <= clock.wall() - kept
    rows = file.read(lambda db: db.execute("SELECT span, count(*) FROM history GROUP BY span").fetchall())
    assert all(count <= 4 for _, count in rows)


def test_zero_keeps_none_and_drops_what_there_was(file: StateFile, clock: FakeClock) -> None:
    for kept in (Kept(), Kept(hourly=0)):
        file.kept = kept
        for _ in range(30):
            file.save(MEDIA, polled(clock))
            clock.advance(HOUR)
    assert len(readings(file, HOUR)) == 1, "the newest reading is part of the state"
    assert len(readings(file, DAY)) == 3


def test_the_history_goes_on_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    for hour in range(3):
        with closing(StateFile.open(tmp_path / "state.db", clock, exclusive=True)) as file:
            file.save(MEDIA, polled(clock, hour))
        clock.advance(HOUR)
    with open_history(tmp_path / "state.db") as history:
        assert history.readings(MEDIA, HOUR, 0, 1e11).spent == [0, 1, 2]


def test_readings_of_a_clock_that_ran_ahead_give_way_to_those_of_the_right_time(
    file: StateFile, clock: FakeClock
) -> None:
    for spent, jump in enumerate((HOUR, 5 * HOUR, -5 * HOUR, HOUR, HOUR)):
        clock.jump(jump)
        file.save(MEDIA, polled(clock, spent))
    assert hours(readings(file, HOUR)) == [1, 2, 3]
    assert readings(file, HOUR).spent == [2, 3, 4]


def test_the_last_polls_are_kept_with_how_they_ended(file: StateFile, clock: FakeClock) -> None:
    for number in range(POLLS + 7):
        failure = Failure("auth", "HTTP 401: half a pair \ud800") if number % 2 else None
        state = replace(polled(clock), polls=number, failure=failure, last_status=401 if failure else 200)
        file.save(MEDIA, state)
        file.save(MEDIA, state)  # as a reload saves it
        clock.advance(60)
    with open_history(file.path) as history:
        polls = history.polls(MEDIA)
        assert history.polls(ARCHIVE) == []
    assert [poll.at for poll in polls] == [clock.wall() - 60 * (back + 1) for back in range(POLLS)]
    assert polls[0] == PollRecord(clock.wall() - 60, 0.2, 200)
    assert polls[1] == PollRecord(clock.wall() - 120, 0.2, 401, "auth", "HTTP 401: half a pair ?")


def test_a_damaged_chunk_costs_its_readings_alone(
    file: StateFile, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(80):
        file.save(MEDIA, polled(clock, number))
        clock.advance(HOUR)
    (oldest,) = file.read(lambda db: db.execute("SELECT min(chunk) FROM history WHERE span = 3600").fetchone())
    file.write(lambda db: db.execute("UPDATE history SET readings = x'00' WHERE chunk = ?", (oldest,)))
    assert 0 < len(readings(file, HOUR)) < 80
    assert "damaged" in caplog.text
    file.save(MEDIA, polled(clock, 80))
    assert file.write_failures == 0


def test_a_reader_writes_nothing_and_sees_one_moment(file: StateFile, clock: FakeClock) -> None:
    file.save(MEDIA, polled(clock))
    with open_history(file.path) as history:
        before = history.readings(MEDIA, HOUR, 0, 1e11)
        clock.advance(HOUR)
        file.save(MEDIA, polled(clock, 5))
        assert history.readings(MEDIA, HOUR, 0, 1e11) == before
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            history._db.execute("DELETE FROM polls")


def test_a_closed_file_is_read_without_a_new_file_beside_it(tmp_path: Path, clock: FakeClock) -> None:
    with closing(StateFile.open(tmp_path / "state.db", clock, exclusive=True)) as file:
        file.save(MEDIA, polled(clock))
    before = {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    with open_history(tmp_path / "state.db") as history:
        assert history.accounts() == [MEDIA]
        during = set(tmp_path.iterdir())
    assert during == set(before)
    assert {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()} == before


def test_a_missing_state_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailableError, match=r"none\.db cannot be read"), open_history(tmp_path / "none.db"):
        pass


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


def test_the_history_is_opened_where_the_configuration_says_that_the_state_is(
    file: StateFile, clock: FakeClock
) -> None:
    file.save(MEDIA, polled(clock))
    with opening.open_history(StateSource("path", str(file.path))) as history:
        assert history.accounts() == [MEDIA]
    with pytest.raises(StateUnavailableError, match="PostgreSQL has no history"):
        opening.open_history(StateSource("url", "postgresql://localhost/exporter"))
