"""Requests in a sliding minute and cool-downs, in one process, over restarts and between processes."""

from __future__ import annotations

import gc
import secrets
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from exporter.polling.limits import Limits, Wait
from exporter.readings import AccountState
from exporter.state.base import MAX_REQUEST_SECONDS, KeyTarget
from exporter.state.key_records import KeyRecords
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock
from tests.state.test_state_faults import full_disk

BASE = "https://api.vidnavigator.com/v1"
HOUR = 3600.0
PATIENT = 20.0
Start = Callable[..., Limits]


def target() -> KeyTarget:
    return KeyTarget("vidnavigator", BASE, secrets.token_hex(16))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def start(path: Path, clock: Any) -> Iterator[Start]:
    """Start a daemon, in place of the one before, or a poll by hand beside it; return its limits."""
    daemon: list[StateFile] = []
    with ExitStack() as stack:

        def started(*, by_hand: bool = False, boot: str = "first") -> Limits:
            if not by_hand and daemon:
                daemon.pop().close()
            file = StateFile.open(path, clock, exclusive=not by_hand)
            stack.callback(file.close)
            if not by_hand:
                daemon.append(file)
            return Limits(clock, KeyRecords(file, clock, boot))

        yield started


def admitted(limits: Limits, key: KeyTarget, per_minute: int, attempts: int) -> int:
    return sum(limits.admit(key, per_minute) is None for _ in range(attempts))


# -- one process


def test_so_many_requests_a_minute_are_admitted_and_no_more(clock: Any) -> None:
    limits, key = Limits(clock, None), target()
    assert admitted(limits, key, 50, 60) == 50
    clock.advance(59.9)
    assert admitted(limits, key, 50, 60) == 0
    clock.advance(0.1)
    assert admitted(limits, key, 50, 60) == 50


def test_a_wait_has_the_time_of_the_next_request_and_the_reason(clock: Any) -> None:
    limits, key = Limits(clock, None), target()
    for _ in range(3):
        assert limits.admit(key, 3) is None
        clock.advance(10)
    wait = limits.admit(key, 3)
    assert wait == Wait(pytest.approx(30, abs=0.01), "budget")  # type: ignore[arg-type]  # compares like a float
    clock.advance(wait.seconds)
    assert limits.admit(key, 3) is None
    assert limits.admit(key, 3) == Wait(pytest.approx(10, abs=0.01), "budget")  # type: ignore[arg-type]  # as above


def test_a_request_that_has_to_wait_is_not_counted(clock: Any) -> None:
    limits, key = Limits(clock, None), target()
    limits.admit(key, 1)
    for _ in range(30):
        clock.advance(1)
        assert limits.admit(key, 1) is not None
    clock.advance(30)
    assert limits.admit(key, 1) is None


def test_the_smallest_of_several_limits_counts(clock: Any) -> None:
    limits, key = Limits(clock, None), target()
    assert admitted(limits, key, 50, 10) == 10
    clock.advance(10)
    assert admitted(limits, key, 50, 3) == 3
    assert limits.admit(key, 2) == Wait(pytest.approx(60, abs=0.01), "budget")  # type: ignore[arg-type]  # as above
    assert admitted(limits, key, 50, 100) == 37


def test_a_request_of_a_minute_ago_counts_no_more(clock: Any) -> None:
    limits, key, other = Limits(clock, None), target(), target()
    limits.admit(other, 1)
    clock.advance(10)
    limits.admit(key, 1)
    clock.advance(55)
    limits.admit(other, 1)
    clock.advance(5)
    assert limits.admit(key, 1) is None


def test_the_minute_of_a_request_runs_from_its_end(start: Start, clock: Any) -> None:
    limits, key, until = start(), target(), clock.monotonic() + 30
    limits.admit(key, 1, until)
    clock.advance(10)  # on its way: the vendor may count it at the last moment
    limits.end_request(key, until)
    clock.advance(55)
    for process in (limits, start(), start(by_hand=True)):
        assert process.admit(key, 1) == Wait(pytest.approx(5, abs=0.01), "budget")  # type: ignore[arg-type]  # as above
    clock.advance(5.01)
    assert start().admit(key, 1) is None


def test_a_request_that_takes_longer_than_a_minute_counts_all_the_time(start: Start, clock: Any) -> None:
    limits, key, until = start(), target(), clock.monotonic() + 300
    limits.admit(key, 1, until)
    for _ in range(4):
        clock.advance(70)
        for process in (limits, start(by_hand=True)):
            assert process.admit(key, 1) == Wait(pytest.approx(60, abs=0.01), "budget")  # type: ignore[arg-type]  # as above
    limits.end_request(key, until)
    clock.advance(60.01)
    assert limits.admit(key, 1) is None


@pytest.mark.parametrize("jump", [0.0, HOUR, -HOUR])
def test_a_request_whose_process_was_killed_counts_as_one_of_the_latest_time_at_which_it_can_end(
    start: Start, clock: Any, jump: float
) -> None:
    key = target()
    start().admit(key, 1, clock.monotonic() + 30)
    clock.jump(jump)
    clock.advance(65)
    for process in (start(), start(by_hand=True)):
        assert process.admit(key, 1) == Wait(pytest.approx(25, abs=0.01), "budget")  # type: ignore[arg-type]  # as above
    clock.advance(25.01)
    assert start().admit(key, 1) is None


def test_a_reboot_while_a_request_is_under_way_forgets_nothing(start: Start, clock: Any) -> None:
    key = target()
    start().admit(key, 1, clock.monotonic() + 30)
    clock.advance(10)
    clock.monotonic_time = 12.0
    limits = start(boot="second")
    clock.advance(59)
    assert limits.admit(key, 1) is not None
    clock.advance(21.01)
    assert start(boot="second").admit(key, 1) is None


def test_a_key_is_blocked_for_an_hour_at_most_however_long_a_request_may_take(start: Start, clock: Any) -> None:
    key = target()
    start().admit(key, 1, clock.monotonic() + 86400)
    clock.advance(MAX_REQUEST_SECONDS + 60)
    assert start().admit(key, 1) is None


def test_the_end_of_a_request_is_written_with_the_next_account_that_is_saved(path: Path, clock: Any) -> None:
    key, until = target(), clock.monotonic() + 30
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        limits = Limits(clock, KeyRecords(file, clock))
        limits.admit(key, 1, until)
        clock.advance(10)
        limits.end_request(key, until)
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT monotonic FROM requests").fetchall() == [(until,)]
            file.save(("vidnavigator", "media"), AccountState(polls=1))
            assert other.execute("SELECT monotonic FROM requests").fetchall() == [(clock.monotonic(),)]


def test_the_late_end_of_a_request_dates_no_newer_one(path: Path, clock: Any) -> None:
    old, new, until = target(), target(), clock.monotonic() + 30
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        limits = Limits(clock, KeyRecords(file, clock))
        limits.admit(old, 1, until)
        limits.end_request(old, until)
        clock.advance(90)
        limits.admit(new, 1)  # the old row is forgotten, and this one gets its id
        file.save(("vidnavigator", "media"), AccountState(polls=1))
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT monotonic FROM requests").fetchall() == [(clock.monotonic(),)]


def test_the_end_of_a_request_is_written_later_where_the_file_is_locked(path: Path, clock: Any) -> None:
    key, until, ended = target(), clock.monotonic() + 30, clock.monotonic()
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        limits = Limits(clock, KeyRecords(file, clock))
        limits.admit(key, 1, until)
        limits.end_request(key, until)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            file.save(("vidnavigator", "media"), AccountState(polls=1))
            assert other.execute("SELECT monotonic FROM requests").fetchall() == [(until,)]
            other.execute("ROLLBACK")
            clock.advance(10)
            file.save(("vidnavigator", "media"), AccountState(polls=2))
            assert other.execute("SELECT monotonic FROM requests").fetchall() == [(ended,)]


@given(started=st.floats(0, 1e8), step=st.floats(0, 59), per_minute=st.integers(1, 3), cooldown=st.floats(0.1, 1e4))
def test_a_request_after_exactly_the_returned_wait_is_admitted(
    started: float, step: float, per_minute: int, cooldown: float
) -> None:
    clock, key = FakeClock(), target()
    clock.monotonic_time = started
    limits = Limits(clock, None)
    for _ in range(per_minute):
        assert limits.admit(key, per_minute) is None
        clock.advance(step / per_minute)
    wait = limits.admit(key, per_minute)
    assert wait is not None
    clock.advance(wait.seconds)
    assert limits.admit(key, per_minute) is None
    limits.cool_down(key, cooldown)
    wait = limits.admit(key, per_minute)
    assert wait is not None
    clock.advance(wait.seconds)
    assert limits.cooldown(key) is None


@pytest.mark.parametrize(
    "other",
    [
        KeyTarget("videodb", BASE, "k"),
        KeyTarget("vidnavigator", "http://127.0.0.1", "k"),
        KeyTarget("vidnavigator", BASE, "l"),
    ],
)
def test_keys_are_distinguished_by_provider_and_address_too(start: Start, other: KeyTarget) -> None:
    limits, key = start(), KeyTarget("vidnavigator", BASE, "k")
    limits.cool_down(key, 100)
    assert limits.cooldown(key) is not None
    assert limits.cooldown(other) is None
    assert admitted(limits, other, 2, 3) == 2


def test_threads_share_one_limit(start: Start) -> None:
    limits, key, counts = start(), target(), []
    threads = [threading.Thread(target=lambda: counts.append(admitted(limits, key, 50, 20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 50


def test_a_key_that_is_used_no_longer_is_forgotten(clock: Any) -> None:
    limits, key = Limits(clock, None), target()
    limits.admit(key, 5)
    gone = weakref.ref(key)
    del key
    clock.advance(61)
    limits.admit(target(), 5)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_the_wall_clock_neither_forgets_nor_blocks(start: Start, clock: Any, jump: float) -> None:
    limits, key = start(), target()
    assert admitted(limits, key, 5, 9) == 5
    clock.jump(jump)
    assert admitted(limits, key, 5, 9) == 0
    assert admitted(start(by_hand=True), key, 5, 9) == 0
    assert admitted(start(), key, 5, 9) == 0
    clock.advance(60)
    assert admitted(start(), key, 5, 9) == 5


# -- cool-downs


def test_a_key_in_cooldown_sends_nothing_until_it_is_over(clock: Any) -> None:
    limits, key = Limits(clock, None), target()
    limits.cool_down(key, 90)
    assert limits.cooldown(key) == 90
    clock.advance(89)
    assert limits.admit(key, 50) == Wait(pytest.approx(1, abs=0.01), "cooldown")  # type: ignore[arg-type]  # as above
    clock.advance(1)
    assert limits.cooldown(key) is None
    assert limits.admit(key, 50) is None


def test_a_cooldown_is_extended_never_shortened(start: Start, clock: Any) -> None:
    limits, key = start(), target()
    limits.cool_down(key, 100)
    clock.advance(10)
    limits.cool_down(key, 60)
    assert limits.cooldown(key) == 90
    limits.cool_down(key, 200)
    assert limits.cooldown(key) == 200
    assert start().cooldown(key) == 200


def test_a_shorter_cooldown_of_another_process_does_not_shorten_ours(start: Start) -> None:
    daemon, poll, key = start(), start(by_hand=True), target()
    daemon.cool_down(key, 100)
    poll.cool_down(key, 60)
    assert poll.cooldown(key) == 100
    assert start().cooldown(key) == 100


@pytest.mark.parametrize(("asked", "cooldown"), [(1e9, 6 * HOUR), (float("inf"), 6 * HOUR)])
def test_a_cooldown_is_six_hours_at_most(start: Start, asked: float, cooldown: float) -> None:
    limits, key = start(), target()
    limits.cool_down(key, asked)
    assert limits.cooldown(key) == cooldown
    assert start().cooldown(key) == cooldown


@pytest.mark.parametrize("asked", [0.0, -5.0, float("nan"), float("-inf")])
def test_a_cooldown_without_a_positive_length_is_none(start: Start, asked: float) -> None:
    limits, key = start(), target()
    limits.cool_down(key, asked)
    assert (limits.cooldown(key), limits.cooldown_until(key)) == (None, None)
    assert limits.admit(key, 1) is None


def test_a_cooldown_that_comes_while_another_is_committed_is_written_too(path: Path, clock: Any) -> None:
    first, second = target(), target()
    committed, second_waits, go_on = threading.Event(), threading.Event(), threading.Event()

    class Slow(StateFile):
        def write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
            if committed.is_set():
                second_waits.set()
                go_on.wait(PATIENT)
            result = super().write(work)
            if not committed.is_set() and threading.current_thread() is one:
                committed.set()
                two.start()
                second_waits.wait(PATIENT)
            return result

    with closing(Slow(path, clock, exclusive=True)) as file:
        one = threading.Thread(target=lambda: limits.cool_down(first, 100))
        two = threading.Thread(target=lambda: limits.cool_down(second, 200))
        limits = Limits(clock, KeyRecords(file, clock))
        one.start()
        one.join(PATIENT)
        go_on.set()
        two.join(PATIENT)
    with closing(StateFile.open(path, clock, exclusive=True)) as reopened:
        again = Limits(clock, KeyRecords(reopened, clock))
        assert (again.cooldown(first), again.cooldown(second)) == (100, 200)


def test_the_end_of_the_last_cooldown_is_remembered(start: Start, clock: Any) -> None:
    limits, key = start(), target()
    assert limits.cooldown_until(key) is None
    limits.cool_down(key, 90)
    end = clock.wall() + 90
    clock.advance(1000)
    assert (limits.cooldown(key), limits.cooldown_until(key)) == (None, end)
    again = start()
    assert again.cooldown(key) is None
    assert again.cooldown_until(key) == pytest.approx(end)


def test_a_cooldown_that_ended_a_month_ago_is_forgotten(start: Start, clock: Any) -> None:
    key = target()
    start().cool_down(key, 90)
    clock.advance(29 * 86400)
    assert start().cooldown_until(key) is not None
    clock.advance(2 * 86400)
    assert start().cooldown_until(key) is None


@pytest.mark.parametrize("jump", [0.0, HOUR, -HOUR])
def test_a_cooldown_outlives_a_restart_whatever_the_wall_clock_does(start: Start, clock: Any, jump: float) -> None:
    key = target()
    start().cool_down(key, 600)
    clock.advance(100)
    clock.jump(jump)
    limits = start()
    assert limits.cooldown(key) == pytest.approx(500)
    assert limits.admit(key, 50) == Wait(pytest.approx(500, abs=0.01), "cooldown")  # type: ignore[arg-type]  # as above
    clock.advance(501)
    assert limits.admit(key, 50) is None


def test_a_running_process_sees_a_cooldown_that_another_one_met(start: Start) -> None:
    daemon, poll, key = start(), start(by_hand=True), target()
    assert daemon.admit(key, 50) is None
    poll.cool_down(key, 300)
    assert daemon.admit(key, 50) == Wait(pytest.approx(300, abs=0.01), "cooldown")  # type: ignore[arg-type]  # as above
    assert daemon.cooldown(key) == pytest.approx(300)


# -- other processes and restarts


def test_a_crash_loop_keeps_the_limit(start: Start, clock: Any) -> None:
    key, sent = target(), 0
    for _ in range(25):
        sent += admitted(start(), key, 50, 4)
        clock.advance(2)
    assert sent == 50
    clock.advance(60)
    assert admitted(start(), key, 50, 60) == 50


def test_polls_by_hand_share_the_limit_with_a_daemon(start: Start) -> None:
    daemon, key = start(), target()
    assert admitted(daemon, key, 10, 4) == 4
    assert admitted(start(by_hand=True), key, 10, 4) == 4
    assert admitted(start(by_hand=True), key, 10, 4) == 2
    assert admitted(daemon, key, 10, 4) == 0


def test_requests_on_a_full_disk_count_for_others_from_the_next_change_on(start: Start, clock: Any) -> None:
    daemon, key = start(), target()
    assert admitted(daemon, key, 10, 1) == 1
    with full_disk(0):
        assert admitted(daemon, key, 10, 3) == 3
    clock.advance(30)
    assert admitted(daemon, target(), 10, 1) == 1
    by_hand = start(by_hand=True)
    assert admitted(by_hand, key, 5, 9) == 1
    clock.advance(31)
    assert admitted(by_hand, key, 5, 9) == 4


def test_a_reboot_within_the_minute_keeps_the_count(start: Start, clock: Any) -> None:
    key = target()
    limits = start()
    limits.cool_down(other := target(), 600)
    assert admitted(limits, key, 5, 9) == 5
    clock.advance(30)
    clock.monotonic_time = 12.0
    limits = start(boot="second")
    assert admitted(limits, key, 5, 9) == 0
    assert limits.cooldown(other) == pytest.approx(570)
    clock.jump(-HOUR)  # once started, the wall clock decides nothing any more
    assert limits.cooldown(other) == pytest.approx(570)
    clock.advance(29)
    assert admitted(limits, key, 5, 9) == 0
    clock.advance(1)
    assert admitted(limits, key, 5, 9) == 5


def test_a_cooldown_of_an_earlier_boot_ends_by_the_wall_clock(start: Start, clock: Any) -> None:
    key = target()
    start().cool_down(key, 1000)
    clock.jump(HOUR)
    clock.monotonic_time += 500  # the machine has been up for longer than it had been then
    assert start(boot="second").cooldown(key) is None


def test_a_clock_set_back_during_a_reboot_blocks_for_a_minute_at_most(start: Start, clock: Any) -> None:
    key, cooling = target(), target()
    limits = start()
    limits.cool_down(cooling, 600)
    assert admitted(limits, key, 5, 9) == 5
    clock.jump(-HOUR)
    clock.monotonic_time = 12.0
    limits = start(boot="second")
    assert limits.cooldown(cooling) == pytest.approx(600)
    clock.advance(60)
    assert admitted(limits, key, 5, 9) == 5
    clock.advance(540)
    assert limits.cooldown(cooling) is None


def test_without_a_boot_id_a_clock_that_went_back_means_a_reboot(start: Start, clock: Any) -> None:
    key = target()
    assert admitted(start(boot=""), key, 5, 9) == 5
    clock.advance(30)
    clock.monotonic_time = 12.0
    limits = start(boot="")
    assert admitted(limits, key, 5, 9) == 0
    clock.advance(30)
    assert admitted(limits, key, 5, 9) == 5


def test_the_file_does_not_gather_old_requests(start: Start, clock: Any, path: Path) -> None:
    limits, key = start(), target()
    for _ in range(200):
        assert limits.admit(key, 50) is None
        clock.advance(2)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM requests").fetchone()[0] <= 60
    for _ in range(50):
        limits.admit(target(), 50)
    clock.advance(61)
    start()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM requests").fetchone() == (0,)


def test_if_the_file_cannot_be_written_the_limit_holds_in_memory(start: Start, path: Path, clock: Any) -> None:
    limits, key, cooling = start(), target(), target()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        limits.cool_down(cooling, 600)
        assert admitted(limits, key, 50, 60) == 50
        assert limits.cooldown(cooling) == 600
        assert isinstance(limits.admit(cooling, 50), Wait)
        other.execute("ROLLBACK")
    clock.advance(60)
    assert limits.admit(key, 50) is None  # and the cool-down is in the file as soon as that can be written
    assert start().cooldown(cooling) == pytest.approx(540)


def test_no_key_nor_hash_of_one_can_be_found_in_the_files(start: Start, path: Path, tmp_path: Path) -> None:
    import hashlib

    key = target()
    limits = start()
    for _ in range(3):
        limits.admit(key, 50)
    limits.cool_down(key, 600)
    files = {name.name: name.read_bytes() for name in tmp_path.iterdir()}
    assert len(files["state.db-wal"]) > 0
    digests = [
        hashlib.sha256(text.encode())
        for text in (key.key, f"{key.provider}{key.base_url}{key.key}", str([*vars(key).values()]))
    ]
    for content in files.values():
        for part in (key.key[:8], key.key[8:16], key.key[-8:]):
            assert part.encode() not in content
        for digest in digests:
            assert digest.digest() not in content
            assert digest.hexdigest().encode() not in content


def test_two_files_name_a_key_differently(tmp_path: Path, clock: Any) -> None:
    key, named = target(), []
    for name in ("one.db", "two.db"):
        with closing(StateFile.open(tmp_path / name, clock, exclusive=True)) as file:
            Limits(clock, KeyRecords(file, clock)).cool_down(key, 60)
            named.append(file.read(lambda db: db.execute("SELECT key FROM cooldowns").fetchone()))
    assert named[0] != named[1]


def test_a_key_is_not_in_the_repr_of_its_target() -> None:
    key = target()
    assert key.key not in repr(key)


HAMMER = """
import sys
from pathlib import Path
from exporter.runtime.clock import SystemClock
from exporter.polling.limits import Limits
from exporter.state import database
from exporter.state.base import KeyTarget
from exporter.state.key_records import KeyRecords
from exporter.state.sqlite import StateFile
database._BUSY_SECONDS = 60.0  # a busy machine may stop the others within a transaction
file = StateFile.open(Path(sys.argv[1]), SystemClock(), exclusive=sys.argv[2] == "daemon")
limits = Limits(SystemClock(), KeyRecords(file, SystemClock()))
key = KeyTarget("vidnavigator", "http://127.0.0.1", "k")
print(sum(limits.admit(key, 50) is None for _ in range(60)), file.write_failures)
"""


def test_processes_that_start_together_share_the_limit(path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(path), role],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for role in ("daemon", "hand", "hand")
    ]
    responses = [child.communicate()[0].split() for child in children]
    assert [failures for _, failures in responses] == ["0"] * 3
    assert sum(int(count) for count, _ in responses) == 50
