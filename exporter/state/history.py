"""Reads the history of accounts beside a running exporter: a reading for each hour and each day, and the last polls."""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from exporter.account_id import AccountId
from exporter.errors import StateUnavailableError
from exporter.readings import PollRecord, Series
from exporter.state import chunks
from exporter.state.base import Balance
from exporter.state.codec import name_of
from exporter.state.database import FAULTS, Unusable, open_for_reading, version
from exporter.state.retention import Execute, undamaged, unpacked, with_reading
from exporter.state.schema import SCHEMA_VERSION

_ACCOUNTS = "SELECT id, account, reading FROM accounts"
_CHUNKS = "SELECT account, readings FROM history WHERE span = ? AND chunk BETWEEN ? AND ?"
_CHUNKS_SINCE = "SELECT account, readings FROM history WHERE span = ? AND chunk >= ? AND account"
_CHUNK_BEFORE = "SELECT readings FROM history WHERE account = ? AND span = ? AND chunk < ? ORDER BY chunk DESC LIMIT 1"
_POLLS = "SELECT at, seconds, status, reason, message FROM polls WHERE account = ? ORDER BY at DESC"
_BATCH = 1000
"""Accounts in one statement, because the number of its parameters is limited."""


class History:
    """What a state has of the past, all of one moment. ``opening`` opens it.

    ``execute`` runs a statement. ``stream`` does the same, and reads its rows as they are asked for. ``accounts`` is
    the statement for each account: how the tables know it, its name, and its last reading.
    """

    def __init__(self, execute: Execute, stream: Callable[..., Iterable[Any]], accounts: str) -> None:
        self._execute = execute
        self._stream = stream
        self._accounts = accounts

    def accounts(self) -> list[AccountId]:
        """Return every account that has a state, also one that is no longer configured."""
        names = sorted(text for (text,) in self._execute("SELECT account FROM accounts").fetchall())
        return [account for account in map(_key, names) if account is not None]

    def readings(self, account: AccountId, span: int, begin: float, end: float) -> Series:
        """Return the last reading of each hour or day (``span``) before ``end``, from the last one before ``begin``.

        Times are Unix seconds. The newest reading counts as that of its hour and day.
        """
        row = self._row(account)
        if row is None:
            return Series()
        number, _, last = row
        query = _CHUNKS + " AND account = ? ORDER BY chunk"
        found = self._execute(query, (span, *_bounds(span, begin, end), number)).fetchall()
        return self._series(number, [content for _, content in found], last, span, (begin, end))

    def every_account(self, span: int, begin: float, end: float) -> Iterator[tuple[AccountId, Series]]:
        """Yield each account with its ``readings``. For many accounts this is much faster than one by one."""
        query = _CHUNKS + " ORDER BY account, chunk"
        found = groupby(self._stream(query, (span, *_bounds(span, begin, end))), key=itemgetter(0))
        number, rows = next(found, (None, ()))
        for each, text, last in self._stream(self._accounts + " ORDER BY 1"):
            while number is not None and number < each:
                number, rows = next(found, (None, ()))
            contents = [content for _, content in rows] if number == each else []
            if (account := _key(text)) is not None:
                yield account, self._series(each, contents, last, span, (begin, end))

    def balances(self, accounts: Sequence[AccountId], span: int, begin: float) -> dict[AccountId, list[Balance]]:
        """Return the last balance of each hour or day from about ``begin`` (Unix seconds) on, if it was a number."""
        found: dict[AccountId, list[Balance]] = {account: [] for account in accounts}
        names = {name_of(account): account for account in found}
        for batch in (list(names)[start : start + _BATCH] for start in range(0, len(names), _BATCH)):
            rows = self._execute(self._accounts + " WHERE account" + _in(batch), batch).fetchall()
            by_number = {number: names[name] for number, name, _ in rows}
            query = _CHUNKS_SINCE + _in(by_number) + " ORDER BY chunk"
            first = int(begin // span // chunks.ROWS)
            for number, content in self._execute(query, (span, first, *by_number)).fetchall() if by_number else ():
                found[by_number[number]] += undamaged(chunks.balances, content, number) or ()
        return found

    def polls(self, account: AccountId) -> list[PollRecord]:
        """Return the last polls of an account, newest first."""
        row = self._row(account)
        return [] if row is None else [PollRecord(*each) for each in self._execute(_POLLS, (row[0],)).fetchall()]

    def _series(
        self, number: int | str, contents: Sequence[bytes], last: bytes | None, span: int, times: tuple[float, float]
    ) -> Series:
        """Return the readings in some chunks and the newest one, as far as they belong to a span of time."""
        begin, end = times
        pieces = [unpacked(content, number) for content in contents]
        if not any(piece.at and piece.at[0] < begin for piece in pieces):
            # The last reading before the span may be long before it, if nothing was polled.
            first, _ = _bounds(span, begin, end)
            earlier = self._execute(_CHUNK_BEFORE, (number, span, first)).fetchall()
            pieces = [*(unpacked(content, number) for (content,) in earlier), *pieces]
        damaged = any(piece.damaged for piece in pieces)
        whole = pieces[0] if len(pieces) == 1 else chunks.joined(pieces)
        newest = undamaged(chunks.decode, last, number) if last is not None else None
        if newest is not None:
            whole = with_reading(whole, span, newest, newest.at[0])
        found = chunks.part(whole, max(0, bisect_left(whole.at, begin) - 1), bisect_left(whole.at, end))
        found.damaged = damaged or (last is not None and newest is None)
        return found

    def _row(self, account: AccountId) -> tuple[int | str, str, bytes | None] | None:
        query = self._accounts + " WHERE account = ?"
        row: tuple[int | str, str, bytes | None] | None = self._execute(query, (name_of(account),)).fetchone()
        return row


@contextmanager
def open_file(path: Path) -> Iterator[History]:
    """Open the history in a state file. Raises StateUnavailableError."""
    if not os.path.lexists(path):
        raise _unreadable(path, "there is no such file. The exporter makes it when it starts")
    try:
        db = open_for_reading(path, thorough=False)
    except (*FAULTS, Unusable) as error:
        raise _unreadable(path, error) from error
    try:
        if version(db) < SCHEMA_VERSION:
            raise _unreadable(path, "an earlier release wrote it. Start this release on it once, which converts it")
        db.execute("BEGIN")
        yield History(db.execute, db.execute, _ACCOUNTS)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    finally:
        db.close()


def _key(name: str) -> AccountId | None:
    """Return the account of a name, None for a damaged one."""
    try:
        provider, account = json.loads(name)
    except ValueError:
        return None
    return provider, account


def _in(values: Collection[object]) -> str:
    return " IN (" + ", ".join("?" * len(values)) + ")"


def _bounds(span: int, begin: float, end: float) -> tuple[int, int]:
    """Return the numbers of the first and the last chunk of a span of time. One hour or day is before it."""
    return int((begin - span) // span // chunks.ROWS), int(end // span // chunks.ROWS)


def _unreadable(path: Path, why: object) -> StateUnavailableError:
    return StateUnavailableError(f"state file {path} cannot be read: {why}")
