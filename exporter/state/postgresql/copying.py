"""Writes the content of a state file into a database, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from exporter.errors import StartError, UsageError
from exporter.runtime.clock import Clock
from exporter.state.base import HOUR
from exporter.state.codec import decoder
from exporter.state.key_records import recent
from exporter.state.postgresql import link, schema
from exporter.state.retention import Execute, unpacked
from exporter.state.source import StateSource
from exporter.state.sqlite import checksum

_CONNECT_SECONDS = 5
_MAX_NAMES = 3
_EXPORTERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'video-api-exporter'"
)
# A millisecond, because the file has the time as a float.
_NEWER = (
    "SELECT account FROM accounts JOIN unnest(%s::text[], %s::timestamptz[]) AS file(account, saved_at) USING (account)"
    " WHERE accounts.saved_at > file.saved_at + interval '1 millisecond' ORDER BY account"
)
_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM accounts) AND NOT EXISTS (SELECT FROM keys)"
_PUT_KEY = (
    "INSERT INTO keys(key, writers, times, cooldown_until)"
    " SELECT %s, array_fill(0::int8, ARRAY[%s]), ARRAY(SELECT clock_timestamp() - age * interval '1 second'"
    " FROM unnest(%s::float8[]) AS age ORDER BY age DESC), clock_timestamp() + %s * interval '1 second'"
    " ON CONFLICT (key) DO UPDATE SET writers = excluded.writers, times = excluded.times,"
    " cooldown_until = greatest(keys.cooldown_until, excluded.cooldown_until)"
)


@dataclass
class Copied:
    """What was copied: numbers of rows, the names of damaged accounts, and whether digests of keys are the same."""

    accounts: int = 0
    hours: int = 0
    days: int = 0
    polls: int = 0
    keys: int = 0
    damaged: list[str] = field(default_factory=list)
    same_salt: bool = True

    def in_words(self) -> str:
        """Return lines for the operator."""
        lines = [
            f"Copied: accounts {self.accounts}, hours {self.hours}, days {self.days}, polls {self.polls},"
            f" keys {self.keys}."
        ]
        if self.damaged:
            lines.append(f"Left out, because their rows are damaged: {_listed(self.damaged)}.")
        if not self.same_salt:
            lines.append(
                "The requests and cool-downs of keys were left out, because the database has those of another state."
                " Wait a minute before you start the exporter."
            )
        lines.append("The file stays as it is. Point `state:` at the database, and start the exporter.")
        return "\n".join(lines) + "\n"


def copy_into(file: Execute, target: StateSource, clock: Clock) -> Copied:
    """Copy the state file that ``file`` reads. Raises UsageError, StartError, and what ``file`` raises."""
    url = ""
    try:
        url = target.url()
        if target.kind == "url" and conninfo_to_dict(url).get("password"):
            raise UsageError(
                "state copy: --to has a password, which every user of this machine can see. Write the connection string"
                " into a file and name that file, or set PGPASSWORD"
            )
        db = psycopg.connect(
            url, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name="video-api-exporter copy"
        )
        with closing(db):
            schema.prepare(db)
            with db.transaction():
                schema.lock(db)
                return _copy(file, db, clock)
    except (psycopg.Error, OSError, ValueError, schema.Unfit) as error:
        why = " ".join(link.without_password(str(error), url).split())
        raise StartError(f"state copy: the database cannot be used, and nothing was copied: {why}") from None


def _copy(file: Execute, db: psycopg.Connection[Any], clock: Clock) -> Copied:
    if _value(db, _EXPORTERS):
        raise StartError("state copy: an exporter is connected to the database. Stop it first")
    copied = Copied()
    salt = file("SELECT salt FROM salt").fetchone()[0]
    if _value(db, _IS_EMPTY):
        db.execute("UPDATE meta SET salt = %s", (salt,))
    copied.same_salt = _value(db, "SELECT salt FROM meta") == salt
    names = _copy_accounts(file, db, copied)
    _copy_history(file, db, names, copied)
    if copied.same_salt:
        for key, (left, ages) in recent(file, clock).items():
            db.execute(_PUT_KEY, (key, len(ages), ages, left))
            copied.keys += 1
    return copied


def _copy_accounts(file: Execute, db: psycopg.Connection[Any], copied: Copied) -> dict[int, str]:
    """Copy the accounts, and return the names by their numbers in the file."""
    names: dict[int, str] = {}
    saved: list[datetime] = []
    decode = decoder()
    for number, name, content, check, saved_at in file(
        "SELECT id, account, state, checksum, saved_at FROM accounts ORDER BY account"
    ):
        try:
            if checksum(name, content) != check:
                raise ValueError
            decode(content)
        except ValueError:
            copied.damaged.append(_shown(name))
            continue
        names[number] = name
        saved.append(datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=saved_at))
    if found := db.execute(_NEWER, (list(names.values()), saved)).fetchall():
        raise StartError(
            f"state copy: the database has newer data of {_listed([_shown(name) for (name,) in found])}."
            " Nothing was copied. Copy into an empty database"
        )
    db.execute("DELETE FROM accounts WHERE account = ANY(%s)", (list(names.values()),))
    states = _of(file("SELECT id, state FROM accounts ORDER BY account"), names)
    rows = ((name, state.decode(), at) for (name, state), at in zip(states, saved, strict=True))
    copied.accounts = _put(db, "COPY accounts(account, state, saved_at) FROM STDIN", rows)
    return names


def _copy_history(file: Execute, db: psycopg.Connection[Any], names: dict[int, str], copied: Copied) -> None:
    latest = file("SELECT id, read_at, reading FROM accounts WHERE reading IS NOT NULL")
    _put(db, "COPY latest(account, read_at, reading) FROM STDIN", _of(latest, names))
    polls = file("SELECT account, slot, at, seconds, status, reason, message FROM polls")
    put_polls = "COPY polls(account, slot, at, seconds, status, reason, message) FROM STDIN"
    copied.polls = _put(db, put_polls, _of(polls, names))

    def chunks() -> Iterator[tuple[Any, ...]]:
        rows = file("SELECT account, span, chunk, readings FROM history")
        for name, span, chunk, content in _of(rows, names):
            if readings := len(unpacked(content, name)):
                copied.hours += readings if span == HOUR else 0
                copied.days += readings if span != HOUR else 0
                yield name, span, chunk, content

    _put(db, "COPY history(account, span, chunk, readings) FROM STDIN", chunks())


def _of(rows: Iterable[tuple[Any, ...]], names: dict[int, str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of these accounts, with the name in place of the number."""
    return ((names[number], *values) for number, *values in rows if number in names)


def _put(db: psycopg.Connection[Any], statement: str, rows: Iterable[tuple[Any, ...]]) -> int:
    count = 0
    with db.cursor().copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def _value(db: psycopg.Connection[Any], query: str) -> Any:
    row = db.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def _shown(name: str) -> str:
    """Return an account's name as people write it."""
    return "/".join(json.loads(name))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
