"""The history of accounts in the database, written in the transaction that saves their states.

Several replicas may write an account in turn. Each locks its rows first, and the later reading of an hour stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

import psycopg

from exporter.errors import StateUnavailableError
from exporter.readings import AccountState, Kept
from exporter.state.base import HOUR, POLLS
from exporter.state.history import History
from exporter.state.postgresql import link, schema
from exporter.state.retention import Execute, Packed, in_order, keep, poll_of, reading_of
from exporter.state.source import StateSource

_ACCOUNTS = "SELECT account, account, reading FROM accounts LEFT JOIN latest USING (account)"
# One statement for the usual case: a later reading of the same hour. Every other row is locked and not returned.
_PUT = (
    "WITH polled AS (INSERT INTO polls(account, slot, at, seconds, status, reason, message)"
    " SELECT * FROM unnest(%s::text[], %s::int[], %s::float8[], %s::float8[], %s::int[], %s::text[], %s::text[])"
    " ON CONFLICT (account, slot) DO UPDATE SET at = excluded.at, seconds = excluded.seconds,"
    " status = excluded.status, reason = excluded.reason, message = excluded.message)"
    " INSERT INTO latest(account, read_at, reading) SELECT * FROM unnest(%s::text[], %s::int8[], %s::bytea[])"
    " ON CONFLICT (account) DO UPDATE SET read_at = excluded.read_at, reading = excluded.reading"
    " WHERE latest.read_at / %s = excluded.read_at / %s AND latest.read_at <= excluded.read_at RETURNING account"
)
_GET_LATEST = "SELECT read_at, reading, extract(epoch FROM clock_timestamp())::float8 FROM latest WHERE account = %s"
_SET_LATEST = "UPDATE latest SET read_at = %s, reading = %s WHERE account = %s"
READ_SECONDS = 10.0
"""Seconds that a reader waits for the result of a statement at most."""
_CONNECT_SECONDS = 3
_BATCH = 1000


def _text(words: str) -> str:
    """Return a text without the one character that PostgreSQL does not take."""
    return words.replace("\0", "\ufffd")


def record(db: psycopg.Connection[Any], states: Iterable[tuple[str, AccountState]], kept: Kept) -> None:
    """Add the last reading and the last poll of each account, whose state is in the database already."""
    # In the order of the names, so that two replicas never wait for each other's rows.
    ordered = sorted(states, key=lambda each: each[0])
    polls = [
        (name, state.polls % POLLS, poll.at, poll.seconds, poll.status, _text(poll.reason), _text(poll.message))
        for name, state in ordered
        if (poll := poll_of(state)) is not None
    ]
    readings = [(name, *reading) for name, state in ordered if (reading := reading_of(state)) is not None]
    if not (polls or readings):
        return
    columns = [[row[n] for row in rows] for rows, width in ((polls, 7), (readings, 3)) for n in range(width)]
    written = {name for (name,) in db.execute(_PUT, (*columns, HOUR, HOUR))}
    for name, at, content in readings:
        if name not in written:
            _move(db, name, Packed(at, content), kept)


def _move(db: psycopg.Connection[Any], name: str, new: Packed, kept: Kept) -> None:
    """Put a reading that is not of the hour of the last one in its place."""
    at, content, now = db.execute(_GET_LATEST, (name,)).fetchone() or (new.at, new.content, 0.0)
    earlier, last = in_order(Packed(at, content), new, now)
    if earlier is not None:
        keep(_execute(db), name, earlier, last, now, kept)
    db.execute(_SET_LATEST, (last.at, last.content, name))


def _execute(db: psycopg.Connection[Any]) -> Execute:
    def execute(statement: str, parameters: Sequence[object] = ()) -> Any:
        return db.execute(_psycopg(statement), parameters)

    return execute


def _read(db: psycopg.Connection[Any]) -> Execute:
    """Return what runs a statement and raises psycopg.Error if the server is deaf, which it would not notice itself."""
    run = _execute(db)

    def execute(statement: str, parameters: Sequence[object] = ()) -> Any:
        with _in_time(db):
            return run(statement, parameters)

    return execute


def _stream(db: psycopg.Connection[Any]) -> Callable[..., Iterator[Any]]:
    """Return what reads rows in batches, because the histories of a large fleet at once would fill the memory."""
    numbers = count()

    def stream(statement: str, parameters: Sequence[object] = ()) -> Iterator[Any]:
        with db.cursor(f"history_{next(numbers)}") as cursor:
            with _in_time(db):
                cursor.execute(_psycopg(statement), parameters)
            rows = [()]
            while rows:
                with _in_time(db):
                    rows = cursor.fetchmany(_BATCH)
                yield from rows

    return stream


@contextmanager
def _in_time(db: psycopg.Connection[Any]) -> Iterator[None]:
    timer = threading.Timer(READ_SECONDS, link.cut, (db,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _psycopg(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()


@contextmanager
def open_database(source: StateSource) -> Iterator[History]:
    """Open the history in a database. Raises StateUnavailableError."""
    url = ""
    try:
        url = source.url()
        db = psycopg.connect(url, connect_timeout=_CONNECT_SECONDS, application_name="video-api-exporter history")
    except (psycopg.Error, OSError, ValueError) as error:
        raise _unreadable(error, url) from None
    with closing(db):
        db.isolation_level, db.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        try:
            with _in_time(db):
                schema.require_readable(db)
            yield History(_read(db), _stream(db), _ACCOUNTS)
        except (psycopg.Error, schema.Unfit) as error:
            raise _unreadable(error, url) from None


def _unreadable(error: Exception, url: str) -> StateUnavailableError:
    return StateUnavailableError(f"the state database cannot be read: {link.without_password(str(error), url)}")
