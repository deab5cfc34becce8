"""The state file, an SQLite file with the data that is kept over a restart.

It has the last state of each account (this module), its ``history``, and the recent requests and cool-downs of each
key (``key_records``). A state is committed before anyone can see it. A broken state file must not cause an outage, so
the exporter renames a file that cannot be used. If the disk cannot be written, it counts and logs that, tries
again, and continues from memory.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from exporter.account_id import AccountId
from exporter.errors import StartError, StateUnavailableError
from exporter.readings import AccountState, Kept, PollRecord
from exporter.runtime.clock import Clock
from exporter.runtime.files import reason
from exporter.state import retention
from exporter.state.base import KEEP_REMOVED_SECONDS, POLLS
from exporter.state.codec import decoder, encode, name_of
from exporter.state.database import FAULTS, Database, Unusable, is_corrupt, open_for_reading
from exporter.state.retention import Packed

logger = logging.getLogger(__name__)

T = TypeVar("T")
_RETRY_SECONDS = 5.0  # wait after a failure before the next attempt
_PUT_POLL = "INSERT OR REPLACE INTO polls VALUES (?, ?, ?, ?, ?, ?, ?)"
_SET_ASIDE = "state file %s is %s (%s). Renamed it to %s, counters start at 0"
_UNUSABLE = "state file %s cannot be used: %s. Continuing from memory, which is lost at the next restart"


class _Row(NamedTuple):
    """What a save writes of an account: its state, its last reading, and its last poll with the number of polls."""

    content: bytes
    reading: Packed | None
    polls: int
    poll: PollRecord | None


class StateFile:
    """A state file, to be opened with ``open``. Thread-safe."""

    def __init__(self, path: Path, clock: Clock, *, exclusive: bool) -> None:
        self.kept = Kept()
        # If the path is a link, SQLite puts -wal and -shm beside the target, so rename files there too.
        self._path = Path(os.path.realpath(path))
        self._clock = clock
        self._database = Database(self._path, clock, exclusive=exclusive)
        self._mutex = threading.RLock()
        self._closed, self._failures = False, 0
        self._retry_at = float("-inf")
        self._complaints: set[str] = set()
        self._unsaved: dict[AccountId, _Row] = {}
        self.later: deque[Callable[[sqlite3.Connection], object]] = deque()
        """What the transaction of the next save does too, or that of ``close``. It may be lost if that fails."""

    @classmethod
    def open(cls, path: Path, clock: Clock, *, exclusive: bool) -> StateFile:
        """Open the file, or make it with its folders. A file that cannot be used is renamed.

        With ``exclusive``, which is for the daemon, a second daemon on the same file raises StartError.
        The command ``poll`` opens the file while a daemon uses it.
        """
        state = cls(path, clock, exclusive=exclusive)
        with suppress(OSError):  # the connection fails for the same reason and reports it
            state._database.prepare()
        with suppress(StateUnavailableError):
            state.write(lambda _: None)
        return state

    @property
    def path(self) -> Path:
        """Return the path of the file, with links followed."""
        return self._path

    @property
    def write_failures(self) -> int:
        """Return the number of changes that could not be committed since the start."""
        return self._failures

    @property
    def is_up(self) -> bool:
        """Return whether the file could be used when it was last tried."""
        return not self._complaints

    def load(self, accounts: Iterable[AccountId]) -> dict[AccountId, AccountState]:
        """Return the states that the file has of these accounts. Unreadable rows are logged and skipped."""
        states: dict[AccountId, AccountState] = {}

        def read(db: sqlite3.Connection) -> None:
            # Decode row by row, because all undecoded rows at once would double the memory of a large fleet.
            for account in accounts:
                name = name_of(account)
                row = db.execute("SELECT state, checksum FROM accounts WHERE account = ?", (name,)).fetchone()
                if row is None:
                    continue
                content, check = row
                try:
                    if check != checksum(name, content):
                        raise ValueError("the checksum does not match")
                    states[account] = decoder()(content)  # made for the first state, because a new file needs none
                except (ValueError, TypeError) as error:  # a bad row must not affect the others
                    logger.warning("state file %s: skipping account %s, counters at 0: %s", self._path, name, error)

        with suppress(StateUnavailableError):
            self.read(read)
        return states

    def save(self, account: AccountId, state: AccountState) -> AccountState:
        """Commit the state of one account with its history. If it cannot be written now, the next save writes it."""
        row = _Row(encode(state), retention.reading_of(state), state.polls, retention.poll_of(state))
        with self._mutex:
            self._unsaved[account] = row
            with suppress(StateUnavailableError):
                self.write(self._put_accounts)
                self._unsaved.clear()
        return state

    def forget(self, keep: Iterable[AccountId]) -> None:
        """Drop the accounts that are not in ``keep`` and have not been saved for 30 days, nor for as long as history.

        An account that was removed for a while, or moved to another shard and back, keeps its ledger.
        """
        before = self._clock.wall() - max(KEEP_REMOVED_SECONDS, *self.kept)

        def drop(db: sqlite3.Connection) -> None:
            old = db.execute("SELECT id, account FROM accounts WHERE saved_at < ?", (before,)).fetchall()
            kept = {name_of(account) for account in keep} if old else set()
            for number, name in old:
                if name not in kept:
                    _forget(db, number)

        with suppress(StateUnavailableError):
            self.write(drop)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a transaction and commit it. StateUnavailableError means that nothing was written."""
        with self._mutex:
            if self._closed:
                raise StateUnavailableError(f"state file {self._path} is closed")
            try:
                try:
                    result = self._commit(work)
                except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                    if not (is_corrupt(error) and self._set_aside("corrupt", error)):
                        raise
                    result = self._commit(work)
            except (*FAULTS, Unusable, StartError) as error:
                self._failed(error)
                raise StateUnavailableError(str(error)) from error
            except StateUnavailableError:
                self._failures += 1
                raise
            if self._complaints:
                logger.info("state file %s can be written again", self._path)
                self._complaints.clear()
            return result

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on the last committed data, also on a full or read-only disk. Raises StateUnavailableError."""
        with self._mutex:
            try:
                if self._database.connection is not None:
                    return work(self._database.connection)
                with closing(open_for_reading(self._path)) as db:
                    return work(db)
            except (*FAULTS, Unusable) as error:
                if not self._complaints:
                    self._complain(error)
                raise StateUnavailableError(str(error)) from error

    def close(self) -> None:
        """Write unsaved states, close the file and release its lock. Later saves are ignored."""
        with self._mutex:
            if self._unsaved or self.later:
                self._retry_at = float("-inf")
                with suppress(StateUnavailableError):
                    self.write(self._put_accounts)
            self._closed = True
            self._database.close()

    def _put_accounts(self, db: sqlite3.Connection) -> None:
        while self.later:
            self.later.popleft()(db)
        for account, row in self._unsaved.items():
            _put_account(db, name_of(account), row, self._clock.wall(), self.kept)

    # -- the connection

    def _commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._connected()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._database.disconnect()
        self._retry_at = self._clock.monotonic() + _RETRY_SECONDS
        self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Log a fault once, until the file can be written again."""
        why = reason(error) if isinstance(error, OSError) else str(error)
        if why not in self._complaints:
            self._complaints.add(why)
            logger.error(_UNUSABLE, self._path, why)

    def _connected(self) -> sqlite3.Connection:
        if self._database.is_gone():
            self._failures += 1
            logger.error("state file %s was removed or replaced while in use. Making a new one", self._path)
            self._database.close()  # the next daemon would not see a lock on the old file
        if self._database.connection is None:
            if self._clock.monotonic() < self._retry_at:
                raise StateUnavailableError(f"state file {self._path} failed less than {_RETRY_SECONDS:.0f} s ago")
            self._database.prepare()
            try:
                return self._database.connect()
            except Unusable as error:
                if not self._set_aside(error.why, error):
                    raise
                self._database.prepare()
                return self._database.connect()
        return self._database.connection

    def _set_aside(self, why: str, error: Exception) -> bool:
        """Rename a file that cannot be used. Return False if it must stay."""
        aside = self._database.set_aside(why)
        if aside is not None:
            logger.error(_SET_ASIDE, self._path, why, error, aside)
        return aside is not None


def _put_account(db: sqlite3.Connection, name: str, row: _Row, now: float, kept: Kept) -> None:
    found = db.execute("SELECT id, read_at, reading FROM accounts WHERE account = ?", (name,)).fetchone()
    if found is None:
        inserted = db.execute("INSERT INTO accounts(account, state, checksum, saved_at) VALUES (?, '', 0, 0)", (name,))
        found = (inserted.lastrowid, None, None)
    number, *before = found
    last = Packed(*before) if before[0] is not None else None
    if row.reading is not None:
        earlier, last = retention.in_order(last, row.reading, now)
        if earlier is not None:
            retention.keep(db.execute, number, earlier, last, now, kept)
    db.execute(
        "UPDATE accounts SET state = ?, checksum = ?, saved_at = ?, read_at = ?, reading = ? WHERE id = ?",
        (row.content, checksum(name, row.content), now, *(last or (None, None)), number),
    )
    if (poll := row.poll) is not None:
        db.execute(
            _PUT_POLL, (number, row.polls % POLLS, poll.at, poll.seconds, poll.status, poll.reason, poll.message)
        )


def _forget(db: sqlite3.Connection, account: int) -> None:
    for statement in ("DELETE FROM history WHERE account = ?", "DELETE FROM polls WHERE account = ?"):
        db.execute(statement, (account,))
    db.execute("DELETE FROM accounts WHERE id = ?", (account,))


def checksum(name: str, content: bytes) -> int:
    """Return the checksum of an account's row."""
    return zlib.crc32(content, zlib.crc32(name.encode()))
