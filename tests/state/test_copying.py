"""The command ``state copy`` copies a whole state file, and explains each mistake."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from exporter import commands
from exporter.account_id import AccountId
from exporter.polling.limits import Limits
from exporter.readings import AccountState, Failure, Ledger, Usage
from exporter.runtime.clock import SystemClock
from exporter.state import key_records
from exporter.state.base import DAY, HOUR, KeyTarget
from exporter.state.opening import open_history, open_state
from exporter.state.source import StateSource
from tests.state.postgresql import Server

pytestmark = pytest.mark.needs("pg_ctlcluster")

MEDIA, ARCHIVE, TRIAL = ("vidnavigator", "media"), ("videodb", "archive"), ("videodb", "trial")
KEY, USED = (KeyTarget("videodb", "https://api.example", secrets.token_hex(9)) for _ in range(2))


class Moved(SystemClock):
    """A clock whose wall time is some hours from now."""

    def __init__(self) -> None:
        self.hours = 0.0

    def wall(self) -> float:
        return SystemClock.wall() + self.hours * HOUR


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a state file with 60 hours of two accounts, a key that rests and one that was used."""
    path, clock = tmp_path / "state.db", Moved()
    state = open_state(StateSource("path", str(path)), clock, exclusive=True)
    with closing(state.accounts):
        for hours in range(-60, 0):
            clock.hours = hours
            for account in (MEDIA, ARCHIVE):
                state.accounts.save(account, polled(clock.wall(), hours + 60))
        state.accounts.save(TRIAL, AccountState(failure=Failure("auth", "HTTP 401"), last_poll=clock.wall()))
        Limits(clock, state.keys).cool_down(KEY, 600)
        assert Limits(clock, state.keys).admit(USED, 1) is None
    return path


def polled(at: float, spent: int) -> AccountState:
    return AccountState(
        parts={"usage": Usage(balance=100.5)},
        part_times={"usage": at},
        ledger=Ledger(spent=Decimal(spent)),
        last_poll=at,
        last_status=200,
        polls=spent,
    )


def content(source: StateSource) -> dict[AccountId, object]:
    """Return everything that a state has of each account."""
    state = open_state(source, SystemClock(), exclusive=False)
    with closing(state.accounts), open_history(source) as history:
        return {
            account: (
                saved,
                *(history.readings(account, span, 0, 1e11) for span in (HOUR, DAY)),
                history.polls(account),
            )
            for account, saved in state.accounts.load(history.accounts()).items()
        }


Copy = Callable[..., str]


@pytest.fixture
def copy(file: Path, url: str, capsys: pytest.CaptureFixture[str]) -> Copy:
    def run(status: int = 0, source: object = file, target: object = url) -> str:
        assert commands.run(["state", "copy", "--from", str(source), "--to", str(target)]) == status
        out, err = capsys.readouterr()
        return out or err

    return run


def test_a_database_has_what_the_file_has(file: Path, url: str, copy: Copy) -> None:
    before = content(StateSource("path", str(file)))
    days = len(open_days(file))
    assert f"Copied: accounts 3, hours 118, days {2 * days}, polls 101, keys 2." in copy()
    assert content(StateSource("url", url)) == before == content(StateSource("path", str(file)))
    state = open_state(StateSource("url", url), SystemClock(), exclusive=False)
    with closing(state.accounts):
        limits = Limits(SystemClock(), state.keys)
        waits = [limits.admit(key, 1) for key in (KEY, USED)]
        assert [(wait.reason, wait.seconds > 60) for wait in waits if wait] == [("cooldown", True), ("budget", False)]


def open_days(file: Path) -> list[int]:
    """Return the days that the file has in its history, without the one that is under way."""
    with open_history(StateSource("path", str(file))) as history:
        return history.readings(MEDIA, DAY, 0, 1e11).at[:-1]


def test_a_second_copy_brings_what_the_file_got_since(file: Path, url: str, copy: Copy) -> None:
    copy()
    state = open_state(StateSource("path", str(file)), SystemClock(), exclusive=True)
    with closing(state.accounts):
        state.accounts.save(MEDIA, polled(SystemClock.wall(), 60))
    copy()
    assert content(StateSource("url", url)) == content(StateSource("path", str(file)))


def test_newer_accounts_of_the_database_are_not_changed(url: str, copy: Copy) -> None:
    copy()
    state = open_state(StateSource("url", url), SystemClock(), exclusive=True)
    with closing(state.accounts):
        newest = replace(state.accounts.load([MEDIA])[MEDIA], polls=99)
        state.accounts.save(MEDIA, newest)
    assert "the database has newer data of vidnavigator/media. Nothing was copied" in copy(1)
    with closing(open_state(StateSource("url", url), SystemClock(), exclusive=False).accounts) as accounts:
        assert accounts.load([MEDIA])[MEDIA].polls == 99


def test_files_of_several_shards_go_into_one_database(tmp_path: Path, file: Path, url: str, copy: Copy) -> None:
    copy()
    other = StateSource("path", str(tmp_path / "other.db"))
    with closing(open_state(other, SystemClock(), exclusive=True).accounts) as accounts:
        accounts.save(("videodb", "other"), polled(SystemClock.wall(), 1))
    told = copy(source=other.value)
    assert "Copied: accounts 1," in told
    assert "The requests and cool-downs of keys were left out" in told
    both = content(StateSource("path", str(file))) | content(other)
    assert content(StateSource("url", url)) == both


def test_only_a_damaged_account_is_lost(file: Path, url: str, copy: Copy) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE accounts SET state = x'7b' WHERE account LIKE '%archive%'")
        db.commit()
    told = copy()
    assert "accounts 2," in told
    assert "Left out, because their rows are damaged: videodb/archive." in told
    assert set(content(StateSource("url", url))) == {MEDIA, TRIAL}


def test_the_connection_string_may_stand_in_a_file(tmp_path: Path, url: str, copy: Copy) -> None:
    (tmp_path / "url").write_text(url + "\n")
    assert "Copied: accounts 3," in copy(target=tmp_path / "url")


def test_what_is_in_use_is_not_copied(file: Path, url: str, copy: Copy) -> None:
    state = open_state(StateSource("url", url), SystemClock(), exclusive=True)
    with closing(state.accounts):
        assert "an exporter is connected to the database. Stop it" in copy(1)
    with closing(open_state(StateSource("path", str(file)), SystemClock(), exclusive=True).accounts):
        assert f"an exporter uses {file}. Stop it first" in copy(1)


def test_each_mistake_is_a_sentence(tmp_path: Path, url: str, copy: Copy, postgresql: Server) -> None:
    password = secrets.token_hex(9)
    (tmp_path / "text").write_text(f"{password} is no connection string")
    closed = f"postgresql://exporter:{password}@127.0.0.1:1/exporter"
    (tmp_path / "closed").write_text(closed)
    assert "there is no state file" in copy(2, source=tmp_path / "none.db")
    assert "text cannot be read: file is not a database" in copy(1, source=tmp_path / "text")
    assert "--from must be a state file" in copy(2, source=url)
    assert "--to must be a PostgreSQL database" in copy(2, target=tmp_path / "state.db")
    assert "a file that holds one: No such file or directory" in copy(2, target=tmp_path / "none")
    told = [
        copy(2, source=closed),
        copy(2, target=closed),
        copy(2, target=tmp_path / "text"),
        copy(1, target=tmp_path / "closed"),
        copy(1, target=closed.replace("//exporter:", "//exporter%zz:")),
        copy(2, target=closed.replace("@", "@tail@")),
    ]
    assert "has a password, which every user of this machine can see" in told[1]
    assert "must be a PostgreSQL connection string, such as" in told[2]
    assert "the database cannot be used, and nothing was copied: connection" in told[3]
    assert "the connection string cannot be read" in told[4]
    assert "must be percent-encoded" in told[5] and "tail" not in told[5]
    assert password not in "".join(told)
    postgresql.run("CREATE ROLE reader LOGIN", url)
    assert "permission denied for database" in copy(1, target=url.replace("user=exporter", "user=reader"))


def test_a_copy_that_fails_leaves_the_database_empty(url: str, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(key_records, "_age", full)
    assert "the disk is full" in copy(1)
    with open_history(StateSource("url", url)) as history:
        assert history.accounts() == []
