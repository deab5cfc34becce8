"""The tables in the schema `video_api_exporter` of a database, and the way from one version to the next."""

from __future__ import annotations

import secrets
from typing import Any

import psycopg

SCHEMA = "video_api_exporter"
_OLDEST_SERVER = 140000
_LOCK = 0x76616578
"""Names the advisory locks: (this, 1) while tables are made, (this, 2) while a daemon uses them."""

MIGRATIONS = (
    """
CREATE TABLE meta(version int NOT NULL, salt bytea NOT NULL);
CREATE TABLE accounts(
    account text PRIMARY KEY, state text NOT NULL, saved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE keys(
    key bytea PRIMARY KEY, writers int8[] NOT NULL DEFAULT '{}', times timestamptz[] NOT NULL DEFAULT '{}',
    cooldown_until timestamptz, used_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
""",
)
"""What makes each version of the one before. The first one makes version 1 of an empty schema."""


class Unfit(Exception):
    """The database cannot be used, and a sentence says why."""


def prepare(db: psycopg.Connection[Any]) -> bytes:
    """Bring the tables to this release's version and return the salt of the database. Raises Unfit, psycopg.Error."""
    if db.info.server_version < _OLDEST_SERVER:
        raise Unfit(f"it is PostgreSQL {db.info.server_version // 10000}, and 14 or later is needed")
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s, 1)", (_LOCK,))
        if _value(db, "SELECT to_regnamespace(%s)", SCHEMA) is None:
            db.execute(f"CREATE SCHEMA {SCHEMA}")
        db.execute(f"SET search_path = {SCHEMA}")
        exists = _value(db, "SELECT to_regclass(%s)", f"{SCHEMA}.meta") is not None
        version = _value(db, "SELECT version FROM meta") if exists else 0
        if version > len(MIGRATIONS):
            raise Unfit(f"it has schema {version} of a later release, and this release writes {len(MIGRATIONS)}")
        for migration in MIGRATIONS[version:]:
            db.execute(migration)
        if not exists:
            db.execute("INSERT INTO meta VALUES (%s, %s)", (len(MIGRATIONS), secrets.token_bytes(32)))
        elif version < len(MIGRATIONS):
            db.execute("UPDATE meta SET version = %s", (len(MIGRATIONS),))
        return bytes(_value(db, "SELECT salt FROM meta"))


def take(db: psycopg.Connection[Any]) -> bool:
    """Take the lock of the daemon until the connection ends. Return False if another exporter has it."""
    return bool(_value(db, "SELECT pg_try_advisory_lock(%s, 2)", _LOCK))


def _value(db: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = db.execute(query, parameters).fetchone()
    return None if row is None else row[0]
