"""The last state of each account in the database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg

from exporter.errors import StateUnavailableError
from exporter.readings import AccountKey, AccountState, Kept
from exporter.state.base import KEEP_REMOVED_SECONDS
from exporter.state.codec import decoder, encode, name_of
from exporter.state.postgresql import history
from exporter.state.postgresql.link import Link

logger = logging.getLogger(__name__)

_BATCH = 500
_LOAD = "SELECT account, state FROM accounts WHERE account = ANY(%s)"
_PUT = (
    "INSERT INTO accounts(account, state) VALUES (%s, %s)"
    " ON CONFLICT (account) DO UPDATE SET state = excluded.state, saved_at = excluded.saved_at"
)
_FORGET = "DELETE FROM accounts WHERE saved_at < clock_timestamp() - %s * interval '1 second' AND account <> ALL(%s)"


class PostgresAccounts:
    """The accounts in the database, with their history. Thread-safe."""

    def __init__(self, link: Link) -> None:
        self.kept = Kept()
        self._link = link
        self._lock = threading.Lock()
        self._latest: dict[AccountKey, AccountState] = {}
        self._unsaved: dict[AccountKey, AccountState] = {}
        self._salt = b""
        self._closed = False

    @property
    def write_failures(self) -> int:
        """Return the number of changes that could not be committed since the start."""
        return self._link.failures

    @property
    def is_up(self) -> bool:
        """Return whether the database answers."""
        return self._link.is_up

    def load(self, accounts: Iterable[AccountKey]) -> dict[AccountKey, AccountState]:
        """Return the states that the database has of these accounts. Unreadable rows are logged and skipped."""
        by_name = {name_of(account): account for account in accounts}
        names, decode = list(by_name), decoder()
        states: dict[AccountKey, AccountState] = {}
        with suppress(StateUnavailableError):
            for start in range(0, len(names), _BATCH):
                batch = names[start : start + _BATCH]
                for name, content in self._link.run(partial(_get, names=batch)):
                    try:
                        states[by_name[name]] = decode(content)
                    except ValueError as error:  # a bad row must not affect the others
                        logger.warning("state database: skipping account %s, counters at 0: %s", name, error)
        with self._lock:
            self._latest.update(states)
        return states

    def save(self, account: AccountKey, state: AccountState) -> None:
        """Commit the state of one account. A state that cannot be written now is kept until it can."""
        with self._lock:
            if self._closed:
                return
            self._latest[account] = self._unsaved[account] = state
        self._write_unsaved()

    def forget(self, keep: Iterable[AccountKey]) -> None:
        """Drop the accounts that are not in ``keep``, and their history, once it is as old as history may be."""
        kept = list(keep)
        with self._lock:
            self._latest = {account: state for account in kept if (state := self._latest.get(account)) is not None}
        with suppress(StateUnavailableError):
            names, seconds = [name_of(account) for account in kept], max(KEEP_REMOVED_SECONDS, *self.kept)
            self._link.run(lambda db: db.execute(_FORGET, (seconds, names)))

    def catch_up(self) -> None:
        """Write what could not be written. A database in the place of the last one gets every account."""
        with self._lock:
            if self._salt not in (b"", self._link.salt):
                self._unsaved = {**self._latest, **self._unsaved}
            self._salt = self._link.salt
        self._write_unsaved()

    def close(self) -> None:
        """Write unsaved states and end the connection. Later saves are ignored."""
        with self._lock:
            self._closed = True
        self._write_unsaved()
        self._link.close()

    def _write_unsaved(self) -> None:
        """Write the newest state of each account that is not written yet, in batches."""
        with suppress(StateUnavailableError):
            while self._unsaved:
                # Taken inside the transaction, so that no thread writes a state over a newer one of another thread.
                batch = self._link.run(self._put_some)
                with self._lock:
                    for account, state in batch.items():
                        if self._unsaved.get(account) is state:  # else a newer one came meanwhile
                            del self._unsaved[account]

    def _put_some(self, db: psycopg.Connection[Any]) -> dict[AccountKey, AccountState]:
        with self._lock:
            batch = dict(list(self._unsaved.items())[:_BATCH])
        # In the order of the names, so that no two processes wait for each other's rows.
        rows = sorted((name_of(account), encode(state).decode()) for account, state in batch.items())
        db.cursor().executemany(_PUT, rows)
        history.record(db, ((name_of(account), state) for account, state in batch.items()), self.kept)
        return batch


def _get(db: psycopg.Connection[Any], names: list[str]) -> list[tuple[str, str]]:
    return db.execute(_LOAD, (names,)).fetchall()
