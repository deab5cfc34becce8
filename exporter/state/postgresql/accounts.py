"""The last state of each account in the database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg

from exporter.account_id import AccountId
from exporter.errors import StateUnavailableError
from exporter.readings import AccountState, Kept
from exporter.state.base import KEEP_REMOVED_SECONDS
from exporter.state.codec import decoder, encode, name_of
from exporter.state.merging import merged, with_ledger_of
from exporter.state.postgresql import history
from exporter.state.postgresql.keys import PostgresKeys
from exporter.state.postgresql.link import Link

logger = logging.getLogger(__name__)

_BATCH = 500
MOST_CHANGES = 100
_LOAD = "SELECT account, state, version FROM accounts WHERE account = ANY(%s)"
_PUT = (
    "INSERT INTO accounts(account, state, version) VALUES (%s, %s, %s)"
    " ON CONFLICT (account) DO UPDATE SET state = excluded.state, version = excluded.version,"
    " saved_at = excluded.saved_at, changed = excluded.changed"
    " WHERE accounts.version = excluded.version - 1 RETURNING account"
)
_FORGET = "DELETE FROM accounts WHERE saved_at < clock_timestamp() - %s * interval '1 second' AND account <> ALL(%s)"
# A transaction that began earlier may be committed later. So the next call looks again from the oldest one on that was
# still running. All before it had ended, and this statement saw what they changed.
_CHANGED = (
    "SELECT account, version, pg_snapshot_xmin(pg_current_snapshot())::text FROM accounts"
    " WHERE changed >= %s::text::xid8"
)


class PostgresAccounts:
    """The accounts in the database, with their history. Thread-safe. A save also writes the ends of requests."""

    def __init__(self, link: Link, keys: PostgresKeys) -> None:
        self.kept = Kept()
        self._link = link
        self._keys = keys
        self._lock = threading.Lock()
        self._latest: dict[AccountId, AccountState] = {}
        self._unsaved: dict[AccountId, AccountState] = {}
        self._news: dict[AccountId, AccountState] = {}
        self._wanted: dict[str, AccountId] = {}
        self._since = 0, "0"
        """The number of the connection, and its oldest transaction whose changes may be unknown here."""
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

    def load(self, accounts: Iterable[AccountId]) -> dict[AccountId, AccountState]:
        """Return the states that the database has of these accounts. Unreadable rows are logged and skipped."""
        states: dict[AccountId, AccountState] = {}
        with suppress(StateUnavailableError):
            self._load(accounts, states)
        return states

    def _load(self, accounts: Iterable[AccountId], states: dict[AccountId, AccountState]) -> None:
        """Add the states to ``states``, as far as the database can be used."""
        by_name = {name_of(account): account for account in accounts}
        names, decode = list(by_name), decoder()
        for start in range(0, len(names), _BATCH):
            found = {}
            for name, content, version in self._link.run(partial(_get, names=names[start : start + _BATCH]), "look"):
                try:
                    found[by_name[name]] = replace(decode(content), version=version)
                except ValueError as error:  # a bad row must not affect the others
                    logger.warning("state database: skipping account %s, counters at 0: %s", name, error)
            with self._lock:
                self._latest.update(
                    {account: state for account, state in found.items() if account not in self._unsaved}
                )
            states.update(found)

    def changes(self) -> dict[AccountId, AccountState]:
        """Return states that others saved since the last call, of the accounts that ``forget`` was told to keep.

        There are ``MOST_CHANGES`` at most, because a heartbeat waits for them. The next call returns more.
        """
        self.write_unsaved()
        connection = self._link.connections
        since = self._since[1] if self._since[0] == connection else "0"
        changed = self._link.run(lambda db: db.execute(_CHANGED, (since,)).fetchall(), "look")
        with self._lock:
            # What is unsaved here is merged when it is written.
            new = [
                account
                for name, version, _ in changed
                if (account := self._wanted.get(name)) is not None
                and account not in self._unsaved
                and ((known := self._latest.get(account)) is None or known.version != version)
            ]
        states: dict[AccountId, AccountState] = {}
        self._load(new[:MOST_CHANGES], states)
        if changed and len(new) <= MOST_CHANGES:
            self._since = connection, changed[0][2]
        with self._lock:
            news, self._news = self._news, {}
        return {**news, **states}  # what was loaded just now is the newest

    def save(self, account: AccountId, state: AccountState) -> AccountState:
        """Commit the state of one account, merged with what another has saved. It may be written later."""
        with self._lock:
            if self._closed:
                return state
            known = self._latest.get(account, state)
            self._latest[account] = self._unsaved[account] = state
            if known.version != state.version:
                # Another replica saved during the poll. No counter may fall here, although the database may be away.
                version = max(state.version, known.version)
                self._latest[account] = replace(merged(state, known), version=version)
        self.write_unsaved()
        with self._lock:
            return self._latest.get(account, state)

    def forget(self, keep: Iterable[AccountId]) -> None:
        """Drop the accounts that are not in ``keep``, and their history, once it is as old as history may be."""
        kept = list(keep)
        with self._lock:
            self._latest = {account: state for account in kept if (state := self._latest.get(account)) is not None}
            self._wanted = {name_of(account): account for account in kept}
        with suppress(StateUnavailableError):
            names, seconds = [name_of(account) for account in kept], max(KEEP_REMOVED_SECONDS, *self.kept)
            self._link.run(lambda db: db.execute(_FORGET, (seconds, names)))

    def catch_up(self) -> None:
        """Write what could not be written. A database in the place of the last one gets every account."""
        with self._lock:
            if self._salt not in (b"", self._link.salt):
                self._unsaved = {**self._latest, **self._unsaved}
            self._salt = self._link.salt
        self.write_unsaved()

    def write_unsaved(self) -> None:
        """Write the newest state of each account that is not written yet, in batches."""
        with suppress(StateUnavailableError):
            while self._unsaved:
                # Taken inside the transaction, so that no thread writes a state over a newer one of another thread.
                batch, saved = self._link.run(self._put_some, "save")
                with self._lock:
                    for account, state in batch.items():
                        if self._unsaved.get(account) is state:  # else a newer one came meanwhile
                            del self._unsaved[account]
                            self._latest[account] = saved[account]
                        if saved[account].version != state.version + 1:
                            self._news[account] = saved[account]

    def close(self) -> None:
        """Write unsaved states and end the connection. Later saves are ignored."""
        with self._lock:
            self._closed = True
        self.write_unsaved()
        if self._keys.has_ends:  # after polls by hand, which save nothing
            with suppress(StateUnavailableError):
                self._link.run(self._keys.write_ends)
        self._link.close()

    def _put_some(
        self, db: psycopg.Connection[Any]
    ) -> tuple[dict[AccountId, AccountState], dict[AccountId, AccountState]]:
        """Write some states that are not written yet. Return them, and what is in the database now."""
        self._keys.write_ends(db)
        with self._lock:
            batch = dict(sorted(self._unsaved.items(), key=lambda each: name_of(each[0]))[:_BATCH])
        # In the order of the names, so that no two processes wait for each other's rows.
        saved = _put(db, {account: replace(state, version=state.version + 1) for account, state in batch.items()})
        if conflicts := {account: state for account, state in batch.items() if account not in saved}:
            saved |= _put(db, _merged_with_others(db, conflicts))
        states = ((name_of(account), with_ledger_of(state, saved[account])) for account, state in batch.items())
        history.record(db, states, self.kept)
        self._link.tell_news(db)
        return batch, saved


def _put(db: psycopg.Connection[Any], states: dict[AccountId, AccountState]) -> dict[AccountId, AccountState]:
    """Write states over those of the version before, and return those that were written."""
    by_name = {name_of(account): account for account in states}
    rows = [(name, encode(states[account]).decode(), states[account].version) for name, account in by_name.items()]
    cursor, written = db.cursor(), {}
    cursor.executemany(_PUT, rows, returning=True)
    while rows:
        for (name,) in cursor.fetchall():
            written[by_name[name]] = states[by_name[name]]
        if not cursor.nextset():
            break
    return written


def _merged_with_others(
    db: psycopg.Connection[Any], states: dict[AccountId, AccountState]
) -> dict[AccountId, AccountState]:
    """Return states of the next version, merged with what another has saved. Their rows stay locked."""
    by_name, decode = {name_of(account): account for account in states}, decoder()
    result = {}
    for name, content, version in db.execute(_LOAD + " ORDER BY account FOR UPDATE", (list(by_name),)).fetchall():
        state = states[by_name[name]]
        with suppress(ValueError):  # what cannot be read is replaced
            state = merged(state, decode(content))
        result[by_name[name]] = replace(state, version=version + 1)
    return result


def _get(db: psycopg.Connection[Any], names: list[str]) -> list[tuple[str, str, int]]:
    return db.execute(_LOAD, (names,)).fetchall()
