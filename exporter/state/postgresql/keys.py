"""The requests and cool-downs of each key in the database, dated by its clock, a row for each key."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from exporter.errors import HeldElsewhereError, StateUnavailableError
from exporter.runtime.clock import Clock
from exporter.state.base import (
    MAX_COOLDOWN_SECONDS,
    MAX_REQUEST_SECONDS,
    WINDOW_SECONDS,
    Cooldown,
    KeyTarget,
    Refusal,
)
from exporter.state.postgresql.link import Link

_BATCH = 500
_ROW = (
    "SELECT extract(epoch FROM cooldown_until - clock_timestamp())::float8, extract(epoch FROM cooldown_until)::float8,"
    " writers, ARRAY(SELECT extract(epoch FROM clock_timestamp() - at)::float8"
    "  FROM unnest(times) WITH ORDINALITY AS all_times(at, n) ORDER BY n)"
    # Waits for a replica that takes the lease now, and lets none take it before the request is recorded.
    ", (SELECT holder FROM leases WHERE lease = %s FOR SHARE) FROM keys WHERE key = %s FOR UPDATE"
)
_NEW_ROW = "INSERT INTO keys(key) VALUES (%s) ON CONFLICT DO NOTHING"
_ADD = (
    "UPDATE keys SET writers = writers[%(first)s:] || %(writer)s::int8, used_at = clock_timestamp(),"
    " times = times[%(first)s:] || (clock_timestamp() + %(left)s * interval '1 second') WHERE key = %(key)s"
    " RETURNING times[cardinality(times)]::text"
)
_END = (
    "UPDATE keys SET times[array_position(times, %(latest)s::timestamptz)] ="
    " clock_timestamp() - %(age)s * interval '1 second'"
    " WHERE key = %(key)s AND %(latest)s::timestamptz = ANY(times)"
)
_ADD_LATE = (
    "INSERT INTO keys(key, writers, times) SELECT %s, array_agg(%s::int8),"
    " array_agg(clock_timestamp() - age * interval '1 second') FROM unnest(%s::float8[]) AS ages(age)"
    " ON CONFLICT (key) DO UPDATE SET writers = keys.writers || excluded.writers,"
    " times = keys.times || excluded.times, used_at = excluded.used_at"
)
_COOL_DOWN = (
    "INSERT INTO keys(key, cooldown_until) VALUES (%s, clock_timestamp() + %s * interval '1 second')"
    " ON CONFLICT (key) DO UPDATE SET cooldown_until = greatest(keys.cooldown_until, excluded.cooldown_until)"
)
_COOLDOWNS = (
    "SELECT key, extract(epoch FROM cooldown_until - clock_timestamp())::float8,"
    " extract(epoch FROM cooldown_until)::float8 FROM keys WHERE cooldown_until IS NOT NULL"
)
_FORGET = (
    "DELETE FROM keys WHERE used_at < clock_timestamp() - interval '30 days'"
    " AND (cooldown_until IS NULL OR cooldown_until < clock_timestamp() - interval '30 days')"
)


@dataclass
class _KeyRow:
    """A key's row, its ages turned into times of our monotonic clock."""

    cooldown: Cooldown | None
    writers: list[int]
    times: list[float]
    holder: int | None


class PostgresKeys:
    """The rows of keys. Each method is one transaction and may raise StateUnavailableError. Thread-safe.

    What could not be written is written when the database is back. These are cool-downs, and requests that still count.
    """

    def __init__(self, link: Link, clock: Clock, *, is_replica: bool) -> None:
        """With ``is_replica`` send only with keys whose lease this process holds. The command ``poll`` needs none."""
        self._link = link
        self._clock = clock
        self.writer = secrets.randbits(63)
        """The number of this process, which is also that of the replica."""
        self.shard = 0, 1
        """The shard of the replica, which has leases of its own. Shards may have accounts of one key."""
        self._is_replica = is_replica
        self._lock = threading.Lock()
        self._under_way: dict[tuple[KeyTarget, float], tuple[bytes, str]] = {}
        """The key's digest and the time in the database of each request that is under way."""
        self._ended: deque[tuple[bytes, str, float]] = deque()
        """The same with the monotonic second of its end, for each one whose end is not written yet."""
        self._unsaved: dict[KeyTarget, Cooldown] = {}
        self._unsaved_requests: dict[KeyTarget, list[float]] = {}
        self._restored: dict[bytes, Cooldown] = {}

    def restored(self, target: KeyTarget) -> Cooldown | None:
        """Return the cool-down that the database had at the last connection. Never raises."""
        return self._restored.get(self.digest(target)) if self._restored else None

    def admit(
        self, target: KeyTarget, until: float, decide: Callable[[Cooldown | None, list[float]], Refusal | None]
    ) -> Refusal | None:
        """Record a request as one of ``until`` unless ``decide`` refuses it, and return the result of ``decide``.

        A free lease is not taken here, because the poll may be of a time when another replica had it.
        """
        key = self.digest(target)

        def work(db: psycopg.Connection[Any]) -> Refusal | None:
            row, now = self._read(db, target), self._clock.monotonic()
            if self._is_replica and row.holder != self.writer:
                raise HeldElsewhereError("another replica polls the accounts of this key")
            others = [at for writer, at in zip(row.writers, row.times, strict=True) if writer != self.writer]
            refusal = decide(row.cooldown, others)
            if refusal is None:
                # From the first one on that still counts; array indexes start at 1.
                count = len(row.times)
                first = next((n for n, at in enumerate(row.times) if now - at < WINDOW_SECONDS), count)
                left = min(until - self._clock.monotonic(), MAX_REQUEST_SECONDS)
                values = {"first": first + 1, "writer": self.writer, "key": key, "left": left}
                (latest,) = db.execute(_ADD, values).fetchone() or ("",)
                self._under_way[target, until] = key, latest
            return refusal

        return self._link.run(work)

    def note_request(self, target: KeyTarget, until: float) -> None:
        """Note a request that could not be recorded. Never raises."""
        now = self._clock.monotonic()
        self._under_way.pop((target, until), None)  # its transaction may have failed at the end
        with self._lock:
            times = self._unsaved_requests.get(target, ())
            self._unsaved_requests[target] = [*(at for at in times if now - at < WINDOW_SECONDS), until]

    def end_request(self, target: KeyTarget, until: float) -> None:
        """Date the request that was admitted with ``until`` to now, in the transaction of the next save."""
        recorded, now = self._under_way.pop((target, until), None), self._clock.monotonic()
        if recorded is not None:
            self._ended.append((*recorded, now))
            return
        with self._lock:
            times = self._unsaved_requests.get(target, [])
            if until in times:
                times[times.index(until)] = now

    @property
    def has_ends(self) -> bool:
        """Return whether a request has ended whose end is not written yet."""
        return bool(self._ended)

    def write_ends(self, db: psycopg.Connection[Any]) -> None:
        """Date the requests that have ended to their ends, in the transaction of a save, before it locks an account."""
        now = self._clock.monotonic()
        values: list[dict[str, Any]] = []
        while self._ended:
            key, latest, ended = self._ended.popleft()
            values.append({"key": key, "latest": latest, "age": now - ended})
        values.sort(key=lambda each: each["key"])  # so that no two processes wait for each other's rows
        if values:
            db.cursor().executemany(_END, values)

    def put_cooldown(self, target: KeyTarget, cooldown: Cooldown) -> Cooldown:
        """Write a cool-down, unless the database has a longer one. Return the one that is there now."""
        with self._lock:
            self._unsaved[target] = cooldown
        return self._write(target, cooldown)

    def catch_up(self) -> None:
        """Take the cool-downs that the database has, and write those that it has not."""
        rows = self._link.run(lambda db: db.execute(_COOLDOWNS).fetchall(), "look")
        self._restored = {bytes(key): self._cooldown(left, ends_at) for key, left, ends_at in rows}
        self._link.run(lambda db: db.execute(_FORGET))
        with self._lock:
            unsaved = list(self._unsaved.items())
        for target, cooldown in unsaved:
            self._write(target, cooldown)
        self._write_requests()

    def _write_requests(self) -> None:
        """Write the requests that could not be recorded and still count."""
        with self._lock:
            noted, self._unsaved_requests = self._unsaved_requests, {}
        now = self._clock.monotonic()
        ages = {
            self.digest(target): [now - at for at in times if now - at < WINDOW_SECONDS]
            for target, times in noted.items()
        }
        # In one order, so that no two processes wait for each other's rows.
        rows = [(key, self.writer, late) for key, late in sorted(ages.items()) if late]
        try:
            for start in range(0, len(rows), _BATCH):
                self._link.run(partial(_add_late, rows=rows[start : start + _BATCH]))
        except StateUnavailableError:
            with self._lock:
                for target, times in noted.items():
                    self._unsaved_requests[target] = [*times, *self._unsaved_requests.get(target, ())]
            raise

    def _write(self, target: KeyTarget, cooldown: Cooldown) -> Cooldown:
        key = self.digest(target)

        def work(db: psycopg.Connection[Any]) -> Cooldown:
            db.execute(_COOL_DOWN, (key, max(0.0, cooldown.until - self._clock.monotonic())))
            return self._read(db, target).cooldown or cooldown

        result = self._link.run(work)
        with self._lock:
            if self._unsaved.get(target) is cooldown:
                del self._unsaved[target]
        return result

    def _read(self, db: psycopg.Connection[Any], target: KeyTarget) -> _KeyRow:
        """Return the key's row, locked until the transaction ends. It is made where there is none."""
        key, lease = self.digest(target), self.lease(target)
        row = db.execute(_ROW, (lease, key)).fetchone()
        if row is None:
            db.execute(_NEW_ROW, (key,))
            row = db.execute(_ROW, (lease, key)).fetchone()
            assert row is not None  # noqa: S101  # nobody deletes a row that was used just now
        left, ends_at, writers, ages, holder = row
        now = self._clock.monotonic()
        cooldown = None if left is None else self._cooldown(left, ends_at)
        return _KeyRow(cooldown, list(writers), [now - age for age in ages], holder)

    def _cooldown(self, left: float, ends_at: float) -> Cooldown:
        return Cooldown(self._clock.monotonic() + min(left, MAX_COOLDOWN_SECONDS), ends_at)

    def digest(self, target: KeyTarget) -> bytes:
        """Return what the row of a key is known by. The key cannot be guessed from it."""
        return self._hashed(target.provider, target.base_url, target.key)

    def lease(self, target: KeyTarget) -> bytes:
        """Return what the lease of a key is known by in the shard of this replica."""
        return self._hashed(target.provider, target.base_url, target.key, *self.shard)

    def _hashed(self, *identity: object) -> bytes:
        return hmac.digest(self._link.salt, json.dumps(identity).encode(), "sha256")


def _add_late(db: psycopg.Connection[Any], rows: Sequence[tuple[bytes, int, list[float]]]) -> None:
    db.cursor().executemany(_ADD_LATE, rows)
