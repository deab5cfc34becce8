"""State files of earlier releases are migrated."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from exporter import commands
from exporter.errors import StateUnavailableError
from exporter.polling.limits import Limits
from exporter.readings import AccountState, Failure, Ledger, Pool, Usage
from exporter.state.base import Cooldown, KeyTarget
from exporter.state.history import open_file
from exporter.state.key_records import KeyRecords
from exporter.state.schema import MIGRATIONS, SCHEMA_VERSION
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock
from tests.state.everything import everything

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")
TARGET = KeyTarget("videodb", "https://api.example.com", "k")
# The statements that release 0.1.0 sends, kept as they are there.
SCHEMA_1 = """CREATE TABLE salt(salt BLOB NOT NULL)|
CREATE TABLE accounts(
    account TEXT PRIMARY KEY, state BLOB NOT NULL, checksum INTEGER NOT NULL, saved_at REAL NOT NULL
)|
CREATE TABLE requests(id INTEGER PRIMARY KEY, key BLOB NOT NULL, writer BLOB NOT NULL, 
    boot TEXT NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL,
    CHECK (typeof(monotonic) = 'real' AND abs(monotonic) < 1e12),
    CHECK (typeof(wall) = 'real' AND abs(wall) < 1e12)
)|
CREATE INDEX requests_by_key ON requests(key)|
CREATE TABLE cooldowns(
    key BLOB PRIMARY KEY, seconds REAL NOT NULL, 
    boot TEXT NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL,
    CHECK (typeof(monotonic) = 'real' AND abs(monotonic) < 1e12),
    CHECK (typeof(wall) = 'real' AND abs(wall) < 1e12)
,
    CHECK (typeof(seconds) = 'real' AND seconds BETWEEN 0 AND 21600)
) WITHOUT ROWID"""  # noqa: W291  SQLite keeps every space
SAVED = {
    '["vidnavigator", "media"]': b'{"parts":{"usage":{"balance":70.0}},"ledger":{"spent":"30.10","added":"100",'
    b'"pools":{"monthly":{"balance":70.0}}},"last_poll":5.0,"polls":9}',
    '["videodb", "archive"]': b'{"failures":{"auth":3},"failure":{"reason":"auth","message":"HTTP 401"}}',
}
STATES = {
    MEDIA: AccountState(
        parts={"usage": Usage(balance=70.0)},
        ledger=Ledger(Decimal("30.10"), Decimal(100), pools={"monthly": Pool(70.0)}),
        last_poll=5.0,
        polls=9,
    ),
    ARCHIVE: AccountState(failure=Failure("auth", "HTTP 401"), failures={"auth": 3}),
}


@pytest.fixture
def old(tmp_path: Path, clock: FakeClock) -> Path:
    """Make a file as release 0.1.0 makes it."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN")
        for statement in SCHEMA_1.split("|"):
            db.execute(statement)
        db.execute("INSERT INTO salt VALUES (?)", (os.urandom(32),))
        for name, content in SAVED.items():
            checksum = zlib.crc32(content, zlib.crc32(name.encode()))
            db.execute("INSERT INTO accounts VALUES (?, ?, ?, ?)", (name, content, checksum, clock.wall()))
        db.execute("PRAGMA application_id = 1986094456")
        db.execute("PRAGMA user_version = 1")
        db.execute("COMMIT")
    return path


def test_a_file_of_the_first_release_keeps_its_accounts_and_gets_a_history(old: Path, clock: FakeClock) -> None:
    with closing(StateFile.open(old, clock, exclusive=True)) as file:
        assert everything(file) == STATES
        file.save(MEDIA, AccountState(polls=10, last_poll=clock.wall()))
        assert file.write_failures == 0
        with open_file(old) as history:
            assert history.accounts() == [ARCHIVE, MEDIA]
            assert [poll.at for poll in history.polls(MEDIA)] == [clock.wall()]
    with closing(StateFile.open(old, clock, exclusive=True)) as file:
        assert everything(file) == {**STATES, MEDIA: AccountState(polls=10, last_poll=clock.wall())}
    assert sorted(each.name for each in old.parent.iterdir()) == [old.name, old.name + ".lock"]


def test_cooldowns_outlive_the_migration(old: Path, clock: FakeClock) -> None:
    with closing(StateFile.open(old, clock, exclusive=True)) as file:
        KeyRecords(file, clock).put_cooldown(TARGET, Cooldown(clock.monotonic() + 60, clock.wall() + 60))
    with closing(StateFile.open(old, clock, exclusive=True)) as file:
        assert Limits(clock, KeyRecords(file, clock)).cooldown(TARGET) == pytest.approx(60)


def test_a_migrated_file_has_the_schema_of_a_new_one(old: Path, clock: FakeClock) -> None:
    def schema(path: Path) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
            return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()

    for path in (old, old.with_name("new.db")):
        StateFile.open(path, clock, exclusive=True).close()
    assert schema(old) == schema(old.with_name("new.db"))


def test_a_poll_by_hand_leaves_the_file_of_a_running_daemon_of_an_earlier_release_as_it_is(
    old: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    hold = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, 2); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, f"{old}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with closing(StateFile.open(old, clock, exclusive=False)) as poll:
            assert everything(poll) == STATES
            poll.save(MEDIA, AccountState(polls=11))
            assert poll.write_failures > 0
        assert "in use by another exporter" in caplog.text
        with closing(sqlite3.connect(old)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (1,)
    finally:
        holder.communicate(b"\n")


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    old: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(old)) as db:
        before = list(db.iterdump())
    with monkeypatch.context() as patch:
        patch.setattr("exporter.state.database.MIGRATIONS", {1: (*MIGRATIONS[1], "DROP TABLE nowhere")})
        with closing(StateFile.open(old, clock, exclusive=True)) as file:
            assert (everything(file), file.write_failures) == (STATES, 1)
    with closing(sqlite3.connect(old)) as db:
        assert list(db.iterdump()) == before


def test_the_history_of_a_file_that_was_not_converted_says_what_to_do(old: Path) -> None:
    with (
        pytest.raises(StateUnavailableError, match=r"an earlier release wrote it\. Start this release on it once"),
        open_file(old),
    ):
        pass


def test_a_file_that_was_not_converted_is_not_copied(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["state", "copy", "--from", str(old), "--to", "postgresql:///exporter"]) == 1
    assert "an earlier release wrote" in capsys.readouterr().err


def test_the_history_of_a_later_release_says_so(old: Path) -> None:
    with closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StateUnavailableError, match="schema 9 of a later release"), open_file(old):
        pass
