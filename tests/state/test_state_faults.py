"""Faults of the state file cause a log line and a count, and the exporter continues."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from exporter.errors import StartError
from exporter.polling.limits import Limits
from exporter.readings import AccountState, Failure
from exporter.runtime.clock import SystemClock
from exporter.state import database
from exporter.state.base import KeyTarget
from exporter.state.key_records import KeyRecords
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.sqlite import StateFile
from tests.state.everything import everything

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")
RETRY = 60.0
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # hundreds of files, none to be kept


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def saved(path: Path, polls: int = 1) -> None:
    with closing(StateFile.open(path, SystemClock(), exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=polls))


def aside(path: Path) -> list[str]:
    return sorted(
        other.name
        for other in path.parent.iterdir()
        if other.name not in {path.name + suffix for suffix in ("", "-wal", "-shm", ".lock")}
    )


# -- files that cannot be used


def test_a_file_that_is_not_a_database_is_renamed(path: Path, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("credits: 100\n" * 200)
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert everything(file) == {}
        file.save(MEDIA, AccountState(polls=1))
        assert (everything(file), file.write_failures) == ({MEDIA: AccountState(polls=1)}, 0)
    (name,) = aside(path)
    assert name == "state.db.corrupt-20270115T080000Z"
    assert path.with_name(name).read_text() == "credits: 100\n" * 200
    assert name in caplog.text


def test_the_database_of_another_program_is_renamed_unchanged(path: Path, clock: Any) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE accounts(account TEXT PRIMARY KEY)")
        db.execute("INSERT INTO accounts VALUES ('theirs')")
        db.commit()
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert (everything(file), file.write_failures) == ({}, 0)
    (name,) = aside(path)
    assert name.startswith("state.db.foreign-")
    with closing(sqlite3.connect(path.with_name(name))) as db:
        assert db.execute("SELECT * FROM accounts").fetchall() == [("theirs",)]


def test_the_file_of_a_later_release_is_renamed_whole(path: Path, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    saved(path, polls=5)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.execute("ALTER TABLE accounts ADD COLUMN more TEXT")
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert (everything(file), file.write_failures) == ({}, 0)
    (name,) = aside(path)
    assert name.startswith("state.db.newer-")
    assert f"schema {SCHEMA_VERSION + 1} of a later release" in caplog.text
    with closing(sqlite3.connect(path.with_name(name))) as db:
        assert db.execute("SELECT count(*) FROM accounts").fetchone() == (1,)


def test_a_file_without_its_tables_is_renamed(path: Path, clock: Any) -> None:
    saved(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE cooldowns")
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert (everything(file), file.write_failures) == ({}, 0)
    assert len(aside(path)) == 1


def test_a_file_with_a_name_that_is_not_text_is_renamed(path: Path, clock: Any) -> None:
    saved(path)
    path.write_bytes(path.read_bytes().replace(b"cooldowns", b"cooldown\x80"))
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert (everything(file), file.write_failures) == ({}, 0)
    assert len(aside(path)) == 1


def test_a_file_with_invalid_times_is_renamed(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        Limits(clock, KeyRecords(file, clock)).admit(KeyTarget("videodb", "u", "k"), 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = 1")
        db.execute("UPDATE requests SET monotonic = 'yesterday'")
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert Limits(clock, KeyRecords(file, clock)).admit(KeyTarget("videodb", "u", "k"), 1) is None
        assert file.write_failures == 0
    assert len(aside(path)) == 1


def test_an_empty_file_is_filled(path: Path, clock: Any) -> None:
    path.touch()
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1))
        assert (everything(file), file.write_failures) == ({MEDIA: AccountState(polls=1)}, 0)
    assert aside(path) == []


def test_two_bad_files_in_one_second_get_two_names(path: Path, clock: Any) -> None:
    for _ in range(2):
        path.write_text("no database " * 100)
        StateFile.open(path, clock, exclusive=True).close()
    assert aside(path) == ["state.db.corrupt-20270115T080000Z", "state.db.corrupt-20270115T080000Z-2"]


def test_the_write_ahead_log_of_a_killed_daemon_is_renamed_too(tmp_path: Path, path: Path, clock: Any) -> None:
    with closing(StateFile.open(tmp_path / "first.db", clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=5))
        file.write(lambda db: db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}"))
        copy(tmp_path / "first.db", path)
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert everything(file) == {}
    (name,) = [name for name in aside(path) if name == "state.db.newer-20270115T080000Z"]
    with closing(sqlite3.connect(path.with_name(name))) as db:
        assert db.execute("SELECT count(*) FROM accounts").fetchone() == (1,)


def test_a_poll_by_hand_does_not_rename_the_file_of_a_running_daemon(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)):
        path.with_name("state.db-wal").unlink()
        path.write_text("no database " * 100)
        with closing(StateFile.open(path, clock, exclusive=False)) as poll:
            poll.save(MEDIA, AccountState())
            assert poll.write_failures > 0
        assert aside(path) == []


def test_a_poll_by_hand_without_a_daemon_renames_a_bad_file(path: Path, clock: Any) -> None:
    path.write_text("no database " * 100)
    with closing(StateFile.open(path, clock, exclusive=False)) as poll:
        poll.save(MEDIA, AccountState(polls=1))
        assert (everything(poll), poll.write_failures) == ({MEDIA: AccountState(polls=1)}, 0)
    assert len(aside(path)) == 1
    saved(path)  # and the daemon's lock is free again


def test_a_file_damaged_while_in_use_is_renamed_and_replaced(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        for number in range(200):
            file.save(("videodb", str(number)), AccountState(failure=Failure("auth", "x" * 500)))
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as content:
            content.seek(4096)
            content.write(os.urandom(path.stat().st_size - 4096))
        for number in range(200):
            file.save(("videodb", str(number)), AccountState(polls=number))
        assert everything(file) == {("videodb", str(number)): AccountState(polls=number) for number in range(200)}
    assert aside(path)[0].startswith("state.db.corrupt-")


@pytest.mark.parametrize("parent", [False, True], ids=["the path", "a folder above it"])
def test_a_path_that_cannot_be_a_file_is_not_changed(
    tmp_path: Path, clock: Any, parent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    if parent:
        path.write_text("a file")
        path = path / "state.db"
    else:
        path.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState())
        assert everything(file) == {}
        assert file.write_failures > 0
        assert Limits(clock, KeyRecords(file, clock)).admit(KeyTarget("videodb", "u", "k"), 1) is None
    assert sorted(tmp_path.rglob("*")) == before
    assert "cannot be used" in caplog.text
    assert "Errno" not in caplog.text


def test_a_folder_where_no_lock_can_be_made_is_reported_in_one_sentence(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    StateFile.open(Path("/proc/state.db"), clock, exclusive=True).close()
    assert "state file /proc/state.db cannot be used" in caplog.text
    assert "Errno" not in caplog.text


def test_only_a_regular_file_is_renamed(path: Path, clock: Any) -> None:
    os.mkfifo(path)
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState())
        assert file.write_failures > 0
    assert path.is_fifo()
    assert list(path.parent.iterdir()) == [path]


# -- damage of any kind


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a killed daemon: half of its changes in the database, half in the log."""
    folder = tmp_path_factory.mktemp("content")
    with closing(StateFile.open(folder / "state.db", SystemClock(), exclusive=True)) as file:
        limits = Limits(SystemClock(), KeyRecords(file, SystemClock()))
        for round_ in (1, 2):
            for number in range(10):
                file.save(("videodb", str(number)), AccountState(polls=round_, failure=Failure("auth", "x" * 300)))
                limits.admit(KeyTarget("videodb", "u", str(number)), 50)
                limits.cool_down(KeyTarget("videodb", "u", str(number)), 600 * round_)
            if round_ == 1:
                with closing(sqlite3.connect(folder / "state.db")) as other:
                    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return {suffix: (folder / f"state.db{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=20)


def damage(content: bytes, flips: list[tuple[float, int]], cut: float | None) -> bytes:
    data = bytearray(content)
    for position, value in flips:
        data[int(position * len(data))] = value
    return bytes(data if cut is None else data[: int(cut * len(data))])


@pytest.mark.parametrize("damaged", ["", "-wal", "-shm"])
def test_damage_anywhere_raises_no_error(content: dict[str, bytes], damaged: str) -> None:
    @given(flips=flips, cut=st.none() | st.floats(0, 1), clean=st.booleans())
    @settings(max_examples=60, deadline=None)
    def survives(flips: list[tuple[float, int]], cut: float | None, clean: bool) -> None:
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            path = Path(folder, "state.db")
            for suffix in ("", "-wal", "-shm"):
                data = content[suffix]
                if suffix == damaged:
                    data = damage(data, flips, cut)
                elif clean and suffix:
                    continue  # the database alone, as after a proper end
                path.with_name(path.name + suffix).write_bytes(data)
            with closing(StateFile.open(path, SystemClock(), exclusive=True)) as file:
                for state in everything(file).values():
                    assert state.polls in {1, 2}
                    assert state.failure == Failure("auth", "x" * 300)
                limits = Limits(SystemClock(), KeyRecords(file, SystemClock()))
                for number in range(10):
                    wait = limits.admit(KeyTarget("videodb", "u", str(number)), 50)
                    assert wait is None or wait.seconds < 1201
                    file.save(("videodb", str(number)), AccountState(polls=3))
            with closing(StateFile.open(path, SystemClock(), exclusive=True)) as file:
                if file.write_failures == 0:
                    assert [state.polls for state in everything(file).values()] == [3] * 10

    survives()


# -- disks that cannot be written


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk would not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Take away the right to write to a folder and its files, which root has to give up being root for."""
    folder = path.parent
    files = [folder, *folder.iterdir()]
    modes = [file.stat().st_mode for file in files]
    with ExitStack() as undo:
        for file, mode in zip(files, modes, strict=True):
            undo.callback(file.chmod, mode)
            file.chmod(0o555 if file is folder else 0o444)
        if os.geteuid() == 0:
            undo.callback(os.seteuid, 0)
            os.seteuid(65534)
        yield


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that a user who is not root can get to, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_full_disk_is_counted_and_saves_resume_later(
    path: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1))
        with full_disk(0):
            for polls in range(2, 12):
                file.save(MEDIA, AccountState(polls=polls))
                file.save(ARCHIVE, AccountState(polls=polls))
                clock.advance(RETRY)
        failures = file.write_failures
        assert failures == 20
        (error,) = [record.getMessage() for record in caplog.records]
        assert str(path) in error
        file.save(MEDIA, AccountState(polls=99))
        assert file.write_failures == failures
        assert everything(file) == {MEDIA: AccountState(polls=99), ARCHIVE: AccountState(polls=11)}
        assert "can be written again" in caplog.text
        file.save(MEDIA, AccountState(polls=100))
        with full_disk(0):
            file.save(MEDIA, AccountState(polls=101))
        assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "ERROR"]


def test_states_that_a_full_disk_refused_are_written_at_close(path: Path, clock: Any) -> None:
    file = StateFile.open(path, clock, exclusive=True)
    with full_disk(0):
        file.save(MEDIA, AccountState(polls=5))
    assert file.write_failures == 1
    file.close()
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert everything(file) == {MEDIA: AccountState(polls=5)}


def test_a_disk_that_is_full_at_start_does_not_stop_the_exporter(path: Path, clock: Any) -> None:
    with full_disk(0):
        file = StateFile.open(path, clock, exclusive=True)
        file.save(MEDIA, AccountState(polls=5))
        assert everything(file) == {}
        assert file.write_failures > 0
    clock.advance(RETRY)
    file.save(ARCHIVE, AccountState(polls=6))
    assert everything(file) == {MEDIA: AccountState(polls=5), ARCHIVE: AccountState(polls=6)}
    file.close()


@pytest.mark.parametrize("killed", [False, True], ids=["closed properly", "killed"])
def test_a_read_only_disk_is_read_and_is_written_once_it_is_writable(
    open_folder: Path, clock: Any, killed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path, target = open_folder / "state.db", KeyTarget("videodb", "u", "k")
    with closing(StateFile.open(open_folder / "first.db", clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=5))
        Limits(clock, KeyRecords(file, clock)).cool_down(target, 600)
        if killed:
            copy(open_folder / "first.db", path)
    if not killed:
        copy(open_folder / "first.db", path)
    path.with_name("state.db.lock").touch()
    with read_only(path):
        file = StateFile.open(path, clock, exclusive=True)
        assert everything(file) == {MEDIA: AccountState(polls=5)}
        limits = Limits(clock, KeyRecords(file, clock))
        assert limits.cooldown(target) == pytest.approx(600)
        assert limits.admit(KeyTarget("videodb", "u", "other"), 50) is None
        file.save(MEDIA, AccountState(polls=6))
        assert file.write_failures > 0
        # Whoever owns the file makes it private, and so writable again. Then the folder is the first that is not.
        assert re.search(f"({path}|{open_folder}) cannot be written", caplog.text)
    clock.advance(RETRY)
    file.save(ARCHIVE, AccountState(polls=1))
    assert everything(file) == {MEDIA: AccountState(polls=6), ARCHIVE: AccountState(polls=1)}
    file.close()


def copy(old: Path, new: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        if (source := old.with_name(old.name + suffix)).exists():
            shutil.copyfile(source, new.with_name(new.name + suffix))


def test_a_folder_that_cannot_be_written_is_logged_in_one_clear_line(
    open_folder: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = open_folder / "state.db"
    with read_only(path), closing(StateFile.open(path, clock, exclusive=True)) as file:
        for _ in range(3):
            file.save(MEDIA, AccountState())
            clock.advance(RETRY)
        assert everything(file) == {}
        assert file.write_failures > 0
    errors = [record.getMessage() for record in caplog.records]
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert "Permission denied" in errors[0]


def test_a_file_locked_by_another_program_delays_a_poll_only_briefly(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for polls in range(2, 50):  # the first one waits; the rest do not
                file.save(MEDIA, AccountState(polls=polls))
            assert file.write_failures == 48
            other.execute("ROLLBACK")
        clock.advance(RETRY)
        file.save(ARCHIVE, AccountState(polls=1))
        assert everything(file) == {MEDIA: AccountState(polls=49), ARCHIVE: AccountState(polls=1)}


def test_a_process_that_makes_the_file_at_the_same_moment_is_waited_for(
    path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("exporter.state.database.time.sleep", lambda _seconds: other.execute("ROLLBACK"))
        monkeypatch.setattr(database, "_BUSY_SECONDS", 60.0)
        with closing(StateFile.open(path, clock, exclusive=True)) as file:
            assert file.write_failures == 0


# -- sudden death

SAVER = """
import os, sys
from pathlib import Path
from exporter.runtime.clock import SystemClock
from exporter.readings import AccountState, Failure
from exporter.state.base import KeyTarget
from exporter.state.key_records import KeyRecords
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.sqlite import StateFile
os.write(1, b"-\\n")
file = StateFile.open(Path(sys.argv[1]), SystemClock(), exclusive=True)
account = ("videodb", "archive")
polls = file.load([account]).get(account, AccountState()).polls
while True:
    polls += 1
    file.save(account, AccountState(polls=polls, failure=Failure("auth", "x" * 20_000)))
    os.write(1, f"{polls}\\n".encode())
"""


def test_a_daemon_killed_at_any_moment_keeps_everything_committed(path: Path) -> None:
    lines, committed = [1, 1, 2, 2, 50, 300], 0
    Random().shuffle(lines)
    for round_, count in enumerate(lines):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert child.stdout is not None
        for _ in range(count):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        child.stdout.close()
        with closing(StateFile.open(path, SystemClock(), exclusive=True)) as file:
            polls = everything(file).get(("videodb", "archive"), AccountState()).polls
        reported = int(rest[-1]) if rest and rest[-1] != b"-" else committed
        assert polls >= max(committed, reported), f"round {round_}"
        committed = polls
    assert committed >= sum(lines) - len(lines), "each round's first line reports nothing"
    assert aside(path) == []


def test_a_killed_process_releases_the_lock(path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    while child.stdout.readline() in (b"-\n", b""):
        pass
    with pytest.raises(StartError, match=f"pid {child.pid}"):
        StateFile.open(path, SystemClock(), exclusive=True)
    child.kill()
    child.stdout.read()
    child.wait()
    child.stdout.close()
    saved(path)


def test_a_named_pipe_in_place_of_the_file_delays_neither_the_start_nor_a_poll(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "state.db"
    os.mkfifo(path)
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert file.load([("videodb", "a")]) == {}
        assert Limits(clock, KeyRecords(file, clock)).admit(KeyTarget("videodb", "u", "k"), 1) is None
    assert path.is_fifo()
