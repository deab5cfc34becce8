"""The tables of the state file, as each release wrote them, and the way from one schema to the next."""

from __future__ import annotations

from collections.abc import Mapping

# When a row was written. The checks find a damaged file before its times are used.
_MOMENT = """
    boot TEXT NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL,
    CHECK (typeof(monotonic) = 'real' AND abs(monotonic) < 1e12),
    CHECK (typeof(wall) = 'real' AND abs(wall) < 1e12)
"""
_KEYS = f"""
CREATE TABLE salt(salt BLOB NOT NULL);
CREATE TABLE requests(id INTEGER PRIMARY KEY, key BLOB NOT NULL, writer BLOB NOT NULL, {_MOMENT});
CREATE INDEX requests_by_key ON requests(key);
CREATE TABLE cooldowns(
    key BLOB PRIMARY KEY, seconds REAL NOT NULL, {_MOMENT},
    CHECK (typeof(seconds) = 'real' AND seconds BETWEEN 0 AND 21600)
) WITHOUT ROWID;
"""
_ACCOUNTS_1 = """
CREATE TABLE accounts(
    account TEXT PRIMARY KEY, state BLOB NOT NULL, checksum INTEGER NOT NULL, saved_at REAL NOT NULL
);
"""
# The last reading stands beside the state, and moves to the history when a later one is of another hour.
_ACCOUNTS = """
CREATE TABLE accounts(
    id INTEGER PRIMARY KEY, account TEXT NOT NULL UNIQUE,
    state BLOB NOT NULL, checksum INTEGER NOT NULL, saved_at REAL NOT NULL,
    read_at INTEGER, reading BLOB
);
"""
_HISTORY = """
CREATE TABLE history(
    account INTEGER NOT NULL, span INTEGER NOT NULL, chunk INTEGER NOT NULL, readings BLOB NOT NULL,
    UNIQUE (account, span, chunk)
);
CREATE TABLE polls(
    account INTEGER NOT NULL, slot INTEGER NOT NULL,
    at REAL NOT NULL, seconds REAL NOT NULL, status INTEGER, reason TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (account, slot)
) WITHOUT ROWID;
"""
SCHEMAS: Mapping[int, str] = {1: _KEYS + _ACCOUNTS_1, 2: _KEYS + _ACCOUNTS + _HISTORY}
"""The tables of each version. A state file must have exactly those of its version."""
SCHEMA_VERSION = max(SCHEMAS)
MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE accounts RENAME TO accounts_1",
        _ACCOUNTS,
        "INSERT INTO accounts(account, state, checksum, saved_at) SELECT * FROM accounts_1",
        "DROP TABLE accounts_1",
        _HISTORY,
    )
}
"""What makes the next version of a file of this version."""
