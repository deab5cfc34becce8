"""Opens the state that the configuration names."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from exporter.runtime.clock import Clock
from exporter.state.base import AccountHistory, State
from exporter.state.source import StateSource


def open_state(source: StateSource, clock: Clock, *, exclusive: bool) -> State:
    """Open the state. ``exclusive`` is for the daemon.

    A file that another daemon has then raises StartError. In a database, the daemon is one of the replicas.
    """
    # The import of what is not used would cost each start its time.
    if source.kind != "path":
        return _open_database(source, clock, exclusive=exclusive)
    from exporter.state.key_records import KeyRecords
    from exporter.state.sqlite import StateFile

    file = StateFile.open(Path(source.value), clock, exclusive=exclusive)
    return State(file, KeyRecords(file, clock), clock)


def open_history(source: StateSource) -> AbstractContextManager[AccountHistory]:
    """Open the history in a state beside running exporters, and write nothing. Raises StateUnavailableError."""
    if source.kind != "path":
        from exporter.state.postgresql.history import open_database

        return open_database(source)
    from exporter.state.history import open_file

    return open_file(Path(source.value))


def _open_database(source: StateSource, clock: Clock, *, exclusive: bool) -> State:
    from exporter.state.postgresql.accounts import PostgresAccounts
    from exporter.state.postgresql.clock import DatabaseClock
    from exporter.state.postgresql.keys import PostgresKeys
    from exporter.state.postgresql.link import Link
    from exporter.state.postgresql.replicas import PostgresReplicas

    common = DatabaseClock(clock)
    link = Link(source, common, is_replica=exclusive)
    keys = PostgresKeys(link, common, is_replica=exclusive)
    accounts = PostgresAccounts(link, keys)
    replicas = PostgresReplicas(link, common, keys, accounts) if exclusive else None
    link.open(keys.catch_up, accounts.catch_up)
    return State(accounts, keys, common, replicas)
