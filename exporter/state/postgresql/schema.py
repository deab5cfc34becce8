"""The tables in the schema `video_api_exporter` of a database, and the way from one version to the next."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

SCHEMA = "video_api_exporter"
_OLDEST_SERVER = 140000
_LOCK = 0x76616578
"""Names the advisory lock (this, 1), which is held while tables are made."""
_NEW_META = "INSERT INTO meta(version, oldest_writer, salt) VALUES (%s, %s, %s)"
_LATER = "it has schema {version} of a later release, and this release uses {newest}"
READ_ONLY = "it is read-only, and must be writable"
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
)


class Migration(NamedTuple):
    """What makes a version of the one before, and the oldest version whose releases may still write afterwards.

    ``oldest_writer`` stays what it was where the statements only add tables, or columns that have a default. Then the
    replicas of the release before go on during a rollout.
    """

    statements: str
    oldest_writer: int


MIGRATIONS = (
    Migration(
        """
CREATE TABLE meta(version int NOT NULL, oldest_writer int NOT NULL, salt bytea NOT NULL);
CREATE TABLE accounts(
    account text COLLATE "C" PRIMARY KEY, state text NOT NULL, saved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version int8 NOT NULL DEFAULT 1, changed xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX accounts_changed ON accounts(changed);
CREATE TABLE keys(
    key bytea PRIMARY KEY, writers int8[] NOT NULL DEFAULT '{}', times timestamptz[] NOT NULL DEFAULT '{}',
    cooldown_until timestamptz, used_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE TABLE leases(lease bytea PRIMARY KEY, holder int8 NOT NULL);
CREATE TABLE replicas(
    id int8 PRIMARY KEY, host text NOT NULL, release text NOT NULL, shard int NOT NULL, shards int NOT NULL,
    config text NOT NULL, changes int NOT NULL, groups int8[] NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE TABLE latest(
    account text COLLATE "C" PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    read_at int8 NOT NULL, reading bytea NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE history(
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE, span int NOT NULL, chunk int NOT NULL,
    readings bytea NOT NULL, PRIMARY KEY (account, span, chunk)
);
CREATE TABLE polls(
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE, slot int NOT NULL, at float8 NOT NULL,
    seconds float8 NOT NULL, status int, reason text NOT NULL, message text NOT NULL, PRIMARY KEY (account, slot)
);
""",
        oldest_writer=1,
    ),
)
"""The first one makes version 1 of an empty schema."""


class Unfit(Exception):
    """The database cannot be used, and a sentence says why."""


def prepare(db: psycopg.Connection[Any], migrations: Sequence[Migration] = MIGRATIONS) -> bytes:
    """Bring the tables to this release's version and return the salt of the database. Raises Unfit, psycopg.Error."""
    if db.info.server_version < _OLDEST_SERVER:
        raise Unfit(f"it is PostgreSQL {db.info.server_version // 10000}, and 14 or later is needed")
    if _value(db, "SHOW transaction_read_only") == "on":  # also where it is a standby
        raise Unfit(READ_ONLY)
    with db.transaction():
        lock(db)
        if _value(db, "SELECT to_regnamespace(%s)", SCHEMA) is None:
            db.execute(f"CREATE SCHEMA {SCHEMA}")
        db.execute(f"SET search_path = {SCHEMA}")
        _migrate(db, migrations)
        return bytes(_value(db, "SELECT salt FROM meta"))


def lock(db: psycopg.Connection[Any]) -> None:
    """Let no other process connect until this transaction ends."""
    db.execute("SELECT pg_advisory_xact_lock(%s, 1)", (_LOCK,))


def require_readable(db: psycopg.Connection[Any]) -> None:
    """Make the tables the ones that statements name. Raises Unfit if this release cannot read them, psycopg.Error."""
    if _value(db, "SELECT to_regclass(%s)", f"{SCHEMA}.meta") is None:
        raise Unfit("no exporter has used it yet")
    db.execute(f"SET search_path = {SCHEMA}")
    version, oldest_writer = _value(db, "SELECT version FROM meta"), _value(db, "SELECT oldest_writer FROM meta")
    if version < len(MIGRATIONS):
        raise Unfit("an earlier release wrote it. Start this release on it once, which converts it")
    if oldest_writer > len(MIGRATIONS):
        raise Unfit(_LATER.format(version=version, newest=len(MIGRATIONS)))


def _migrate(db: psycopg.Connection[Any], migrations: Sequence[Migration]) -> None:
    newest, oldest_writer = len(migrations), migrations[-1].oldest_writer
    exists = _value(db, "SELECT to_regclass(%s)", f"{SCHEMA}.meta") is not None
    version = _value(db, "SELECT version FROM meta") if exists else 0
    if exists and newest < _value(db, "SELECT oldest_writer FROM meta"):
        raise Unfit(_LATER.format(version=version, newest=newest))
    if 0 < version < oldest_writer:
        db.execute(_END_OTHERS)  # older releases among them, which find out when they connect again
    for migration in migrations[version:]:
        db.execute(migration.statements.encode())
    if not exists:
        db.execute(_NEW_META, (newest, oldest_writer, secrets.token_bytes(32)))
    elif version < newest:
        db.execute("UPDATE meta SET version = %s, oldest_writer = %s", (newest, oldest_writer))


def _value(db: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = db.execute(query, parameters).fetchone()
    return None if row is None else row[0]
