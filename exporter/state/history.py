"""The history of accounts in the state file: a reading for each hour and each day, and the last polls.

``record`` runs in the transaction that saves a state. ``History`` reads the file of a running exporter, and writes
nothing.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import InvalidOperation
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from exporter.errors import StateUnavailableError
from exporter.readings import AccountKey, Kept, PollRecord, Series
from exporter.state import chunks
from exporter.state.base import DAY, HOUR, Balance
from exporter.state.codec import name_of
from exporter.state.database import FAULTS, Unusable, open_for_reading, version
from exporter.state.schema import SCHEMA_VERSION

T = TypeVar("T")
logger = logging.getLogger(__name__)

POLLS = 50
"""Polls that are kept of each account."""
_CHUNKS = "SELECT account, readings FROM history WHERE span = ? AND chunk BETWEEN ? AND ?"
_DAMAGED = (zlib.error, ValueError, TypeError, InvalidOperation)


def move_reading(db: sqlite3.Connection, account: int, at: int, reading: bytes, now: int, kept: Kept) -> None:
    """Add a reading of ``at`` to the history if the reading of ``now`` is of another hour or day. Drop what is old."""
    for span, seconds in ((HOUR, kept.hourly), (DAY, kept.daily)):
        if at // span == now // span:
            continue
        if seconds:
            _append(db, account, span, at, reading)
        oldest = (now - seconds) // span // chunks.ROWS if seconds else now
        db.execute("DELETE FROM history WHERE account = ? AND span = ? AND chunk < ?", (account, span, oldest))


def _append(db: sqlite3.Connection, account: int, span: int, at: int, reading: bytes) -> None:
    place = (account, span, at // span // chunks.ROWS)
    row = db.execute("SELECT readings FROM history WHERE account = ? AND span = ? AND chunk = ?", place).fetchone()
    whole = _followed(_unpacked(row[0], account) if row else Series(), span, chunks.decode(reading))
    put = "INSERT INTO history VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET readings = excluded.readings"
    db.execute(put, (*place, chunks.pack(whole)))


def record_poll(db: sqlite3.Connection, account: int, number: int, poll: PollRecord) -> None:
    """Put a poll in the place of the one that was ``POLLS`` before it. ``number`` counts the account's polls."""
    db.execute(
        "INSERT OR REPLACE INTO polls VALUES (?, ?, ?, ?, ?, ?, ?)",
        (account, number % POLLS, poll.at, poll.seconds, poll.status, poll.reason, poll.message),
    )


def forget(db: sqlite3.Connection, account: int) -> None:
    """Drop the history of an account."""
    db.execute("DELETE FROM history WHERE account = ?", (account,))
    db.execute("DELETE FROM polls WHERE account = ?", (account,))


class History:
    """What a state file has of the past, all of one moment. ``open_history`` opens it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def accounts(self) -> list[AccountKey]:
        """Return every account that has a state, also one that is no longer configured."""
        names = self._db.execute("SELECT account FROM accounts ORDER BY account").fetchall()
        return [(provider, name) for provider, name in (json.loads(text) for (text,) in names)]

    def readings(self, account: AccountKey, span: int, begin: float, end: float) -> Series:
        """Return the last reading of each hour or day (``span``) before ``end``, from the last one before ``begin``.

        Times are Unix seconds. The newest reading counts as that of its hour and day.
        """
        row = self._row(account)
        if row is None:
            return Series()
        number, last = row
        query = f"{_CHUNKS} AND account = ? ORDER BY chunk"
        found = self._db.execute(query, (span, *_bounds(span, begin, end), number))
        return self._series(number, [content for _, content in found], last, span, (begin, end))

    def every_account(self, span: int, begin: float, end: float) -> Iterator[tuple[AccountKey, Series]]:
        """Yield each account with its ``readings``. For many accounts this is much faster than one by one."""
        query = f"{_CHUNKS} ORDER BY account, chunk"
        found = groupby(self._db.execute(query, (span, *_bounds(span, begin, end))), key=itemgetter(0))
        number, rows = next(found, (None, ()))
        for each, text, last in self._db.execute("SELECT id, account, reading FROM accounts ORDER BY id"):
            while number is not None and number < each:
                number, rows = next(found, (None, ()))
            contents = [content for _, content in rows] if number == each else []
            provider, name = json.loads(text)
            yield (provider, name), self._series(each, contents, last, span, (begin, end))

    def _series(
        self, number: int, contents: Sequence[bytes], last: bytes | None, span: int, times: tuple[float, float]
    ) -> Series:
        """Return the readings in some chunks and the newest one, as far as they belong to a span of time."""
        begin, end = times
        pieces = [_unpacked(content, number) for content in contents]
        if not any(piece.at and piece.at[0] < begin for piece in pieces):
            # The last reading before the span may be long before it, if nothing was polled.
            query = "SELECT readings FROM history WHERE account = ? AND span = ? AND chunk < ? ORDER BY chunk DESC"
            first, _ = _bounds(span, begin, end)
            earlier = self._db.execute(f"{query} LIMIT 1", (number, span, first)).fetchall()
            pieces = [*(_unpacked(content, number) for (content,) in earlier), *pieces]
        whole = pieces[0] if len(pieces) == 1 else chunks.joined(pieces)
        if last is not None:
            whole = _followed(whole, span, chunks.decode(last))
        return chunks.part(whole, max(0, bisect_left(whole.at, begin) - 1), bisect_left(whole.at, end))

    def balances(self, accounts: Sequence[AccountKey], begin: float) -> dict[AccountKey, list[Balance]]:
        """Return the balance of each hour about ``begin`` (Unix seconds) and later, where it was a number."""
        found: dict[AccountKey, list[Balance]] = {account: [] for account in accounts}
        query = (
            "SELECT accounts.account, history.account, readings FROM json_each(?)"
            " JOIN accounts ON accounts.account = value JOIN history ON history.account = accounts.id"
            " WHERE span = ? AND chunk >= ? ORDER BY accounts.id, chunk"
        )
        names = {name_of(account): account for account in found}
        place = (json.dumps(list(names)), HOUR, int(begin // HOUR // chunks.ROWS))
        for name, number, content in self._db.execute(query, place):
            found[names[name]] += _undamaged(chunks.balances, content, number) or ()
        return found

    def polls(self, account: AccountKey) -> list[PollRecord]:
        """Return the last polls of an account, newest first."""
        row = self._row(account)
        if row is None:
            return []
        query = "SELECT at, seconds, status, reason, message FROM polls WHERE account = ? ORDER BY at DESC"
        return [PollRecord(*each) for each in self._db.execute(query, (row[0],))]

    def _row(self, account: AccountKey) -> tuple[int, bytes | None] | None:
        query = "SELECT id, reading FROM accounts WHERE account = ?"
        row: tuple[int, bytes | None] | None = self._db.execute(query, (name_of(account),)).fetchone()
        return row


@contextmanager
def open_history(path: Path) -> Iterator[History]:
    """Open the history in a state file, beside a running exporter too. Raises StateUnavailableError."""
    try:
        db = open_for_reading(path, thorough=False)
    except (*FAULTS, Unusable) as error:
        raise _unreadable(path, error) from error
    try:
        if version(db) < SCHEMA_VERSION:
            raise _unreadable(path, "an earlier release wrote it. Start this release on it once, which converts it")
        db.execute("BEGIN")
        yield History(db)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    finally:
        db.close()


def _bounds(span: int, begin: float, end: float) -> tuple[int, int]:
    """Return the numbers of the first and the last chunk of a span of time. One hour or day is before it."""
    return int((begin - span) // span // chunks.ROWS), int(end // span // chunks.ROWS)


def _unreadable(path: Path, why: object) -> StateUnavailableError:
    return StateUnavailableError(f"state file {path} cannot be read: {why}")


def _followed(before: Series, span: int, last: Series) -> Series:
    """Return the readings with one more, which replaces what is of its hour or day, or after it (the clock was set)."""
    earlier = chunks.part(before, 0, bisect_left(before.at, last.at[0] // span * span))
    return chunks.joined([earlier, last])


def _unpacked(chunk: bytes, account: int) -> Series:
    return _undamaged(chunks.unpack, chunk, account) or Series()


def _undamaged(read: Callable[[bytes], T], chunk: bytes, account: int) -> T | None:
    try:
        return read(chunk)
    except _DAMAGED as error:  # it must not stop the polls of the account
        logger.warning("history of account number %d: skipping damaged readings: %s", account, error)
        return None
