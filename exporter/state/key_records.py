"""The requests and cool-downs of each key in the state file, where other processes and the next start see them.

Within one boot, ages are differences of the monotonic clock. All processes of a machine share it, and nobody can
set it. Only rows from before a reboot are dated by the wall clock. A request is dated to the latest time at which it
can end until its end is known. So one whose process was killed counts long enough.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from exporter.errors import StateUnavailableError
from exporter.runtime.clock import Clock
from exporter.state.base import (
    MAX_COOLDOWN_SECONDS,
    MAX_REQUEST_SECONDS,
    WINDOW_SECONDS,
    Cooldown,
    KeyTarget,
    Refusal,
)
from exporter.state.retention import Execute
from exporter.state.sqlite import StateFile

_FORGET_COOLDOWN_SECONDS = 30 * 86400.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_COOLDOWN_OF_KEY = "SELECT seconds, boot, monotonic, wall FROM cooldowns WHERE key = ?"
_COOLDOWNS = "SELECT key, seconds, boot, monotonic, wall FROM cooldowns"
_PUT_COOLDOWN = "INSERT OR REPLACE INTO cooldowns(key, seconds, boot, monotonic, wall) VALUES (?, ?, ?, ?, ?)"
_DATE_COOLDOWN = "UPDATE cooldowns SET boot = ?, monotonic = ? WHERE key = ?"
_FORGET_COOLDOWN = "DELETE FROM cooldowns WHERE key = ?"
_REQUESTS = "SELECT id, boot, monotonic, wall FROM requests"
_REQUESTS_OF_OTHERS = "SELECT boot, monotonic, wall FROM requests WHERE key = ? AND writer <> ?"
_PUT_REQUEST = "INSERT INTO requests(key, writer, boot, monotonic, wall) VALUES (?, ?, ?, ?, ?)"
_DATE_REQUEST = "UPDATE requests SET boot = ?, monotonic = ? WHERE id = ?"
_FORGET_REQUEST = "DELETE FROM requests WHERE id = ?"
_FORGET_OLD_REQUESTS = "DELETE FROM requests WHERE boot = ? AND monotonic <= ?"
# The time tells whether the row is still that request's, because SQLite uses the ids of deleted rows again.
_END_REQUEST = "UPDATE requests SET monotonic = ?, wall = ? WHERE id = ? AND writer = ? AND monotonic = ?"

T = TypeVar("T")


class KeyRecords:
    """The rows of keys in the state file. Each method is one transaction and may raise StateUnavailableError.

    What could not be written is written with the next change. Only one thread may call for a key at a time.
    ``boot`` identifies the machine's present boot, and is the kernel's boot id by default.
    """

    def __init__(self, state: StateFile, clock: Clock, boot: str | None = None) -> None:
        self._state = state
        self._clock = clock
        self._boot = _boot_id() if boot is None else boot
        self._writer = secrets.token_bytes(8)
        self._forget_at = float("-inf")
        self._salt_of: tuple[sqlite3.Connection | None, bytes] = None, b""
        """The salt of the file that is open. Another file may take its place."""
        self._under_way: dict[tuple[KeyTarget, float], tuple[int | None, float]] = {}
        """The row of each request that is under way, and the time in it."""
        self._unsaved: dict[KeyTarget, Cooldown] = {}
        self._lock = threading.Lock()
        self._unsaved_requests: list[tuple[KeyTarget, float]] = []
        self._restored: dict[bytes, Cooldown] = {}
        self._salt = b""
        with suppress(StateUnavailableError):
            state.write(self._date_by_this_boot)
        with suppress(StateUnavailableError):
            state.read(self._restore)

    def restored(self, target: KeyTarget) -> Cooldown | None:
        """Return the cool-down that the file had at the start. Never raises."""
        return self._restored.get(_digest(self._salt, target)) if self._restored else None

    def admit(
        self, target: KeyTarget, until: float, decide: Callable[[Cooldown | None, list[float]], Refusal | None]
    ) -> Refusal | None:
        """Record a request as one of ``until`` unless ``decide`` refuses it, and return the result of ``decide``.

        ``decide`` gets the cool-down of the key, and the times of requests by other processes in monotonic seconds.
        """

        def work(db: sqlite3.Connection) -> Refusal | None:
            self._forget_old(db)
            key = self._digest(db, target)
            row = db.execute(_COOLDOWN_OF_KEY, (key,)).fetchone()
            refusal = decide(None if row is None else self._cooldown_from(row), self._requests_of_others(db, key))
            if refusal is None:
                left = min(until - self._clock.monotonic(), MAX_REQUEST_SECONDS)
                latest = self._clock.monotonic() + left, self._clock.wall() + left
                row = db.execute(_PUT_REQUEST, (key, self._writer, self._boot, *latest))
                self._under_way[target, until] = row.lastrowid, latest[0]
            return refusal

        return self._write(work)

    def note_request(self, target: KeyTarget, until: float) -> None:
        """Note a request that could not be recorded. Never raises."""
        since = self._clock.monotonic() - WINDOW_SECONDS
        self._under_way.pop((target, until), None)  # its transaction may have failed at the end
        with self._lock:
            self._unsaved_requests = [*(each for each in self._unsaved_requests if each[1] > since), (target, until)]

    def end_request(self, target: KeyTarget, until: float) -> None:
        """Date the request that was admitted with ``until`` to now, in the transaction of the next save."""
        recorded, now = self._under_way.pop((target, until), None), self._clock.monotonic()
        if recorded is not None:
            number, latest = recorded
            ended = now, self._clock.wall(), number, self._writer, latest
            self._state.later.append(lambda db: db.execute(_END_REQUEST, ended))
            return
        with self._lock:
            noted = self._unsaved_requests
            self._unsaved_requests = [(target, now) if each == (target, until) else each for each in noted]

    def put_cooldown(self, target: KeyTarget, cooldown: Cooldown) -> Cooldown:
        """Write a cool-down, unless the file has a longer one. Return the cool-down that is in the file now."""
        self._unsaved[target] = cooldown

        def work(db: sqlite3.Connection) -> Cooldown:
            return self._cooldown_from(db.execute(_COOLDOWN_OF_KEY, (self._digest(db, target),)).fetchone())

        return self._write(work)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        unsaved: dict[KeyTarget, Cooldown] = {}
        requests: list[tuple[KeyTarget, float]] = []

        def whole(db: sqlite3.Connection) -> T:
            unsaved.update(self._unsaved)
            for target, cooldown in unsaved.items():
                self._put_cooldown(db, target, cooldown)
            with self._lock:  # taken here, because only one thread writes at a time
                requests.extend(self._unsaved_requests)
                self._unsaved_requests = []
            now, wall = self._clock.monotonic(), self._clock.wall()
            for target, at in requests:
                written = self._boot, at, wall - (now - at)
                db.execute(_PUT_REQUEST, (_digest(_salt(db), target), self._writer, *written))
            return work(db)

        try:
            result = self._state.write(whole)
        except BaseException:
            with self._lock:
                self._unsaved_requests = [*requests, *self._unsaved_requests]
            raise
        for target, cooldown in unsaved.items():
            if self._unsaved.get(target) is cooldown:  # else another thread has put a new one since
                self._unsaved.pop(target, None)
        return result

    def _put_cooldown(self, db: sqlite3.Connection, target: KeyTarget, cooldown: Cooldown) -> None:
        key = self._digest(db, target)
        row = db.execute(_COOLDOWN_OF_KEY, (key,)).fetchone()
        if row is None or self._cooldown_from(row).until < cooldown.until:
            now = self._clock.monotonic()
            left = max(0.0, cooldown.until - now)
            db.execute(_PUT_COOLDOWN, (key, left, self._boot, now, cooldown.ends_at - left))

    def _requests_of_others(self, db: sqlite3.Connection, key: bytes) -> list[float]:
        now = self._clock.monotonic()
        return [now - self._age(*written) for written in db.execute(_REQUESTS_OF_OTHERS, (key, self._writer))]

    def _forget_old(self, db: sqlite3.Connection) -> None:
        """Drop the requests that count no more, once a minute."""
        now = self._clock.monotonic()
        if now >= self._forget_at:
            self._forget_at = now + WINDOW_SECONDS
            db.execute(_FORGET_OLD_REQUESTS, (self._boot, now - WINDOW_SECONDS))

    def _digest(self, db: sqlite3.Connection, target: KeyTarget) -> bytes:
        if self._salt_of[0] is not db:
            self._salt_of = db, _salt(db)
        return _digest(self._salt_of[1], target)

    def _date_by_this_boot(self, db: sqlite3.Connection) -> None:
        """Convert rows of earlier boots to this boot's clock, so that later jumps of the wall clock change nothing."""
        now = self._clock.monotonic()
        for number, *written in db.execute(_REQUESTS).fetchall():
            age = self._age(*written)
            if age >= WINDOW_SECONDS:
                db.execute(_FORGET_REQUEST, (number,))
            else:
                db.execute(_DATE_REQUEST, (self._boot, now - age, number))
        for key, seconds, *written in db.execute(_COOLDOWNS).fetchall():
            age = self._age(*written)
            if age >= seconds + _FORGET_COOLDOWN_SECONDS:
                db.execute(_FORGET_COOLDOWN, (key,))
            else:
                db.execute(_DATE_COOLDOWN, (self._boot, now - age, key))

    def _restore(self, db: sqlite3.Connection) -> None:
        self._salt = _salt(db)
        for key, *row in db.execute(_COOLDOWNS):
            self._restored[key] = self._cooldown_from(row)

    def _cooldown_from(self, row: Sequence[Any]) -> Cooldown:
        seconds, boot, monotonic, wall = row
        left = min(seconds, MAX_COOLDOWN_SECONDS) - max(0.0, self._age(boot, monotonic, wall))
        return Cooldown(self._clock.monotonic() + left, wall + seconds)

    def _age(self, boot: str, monotonic: float, wall: float) -> float:
        return _age(self._clock, self._boot, boot, monotonic, wall)


def recent(execute: Execute, clock: Clock) -> dict[bytes, tuple[float | None, list[float]]]:
    """Return, by the digest of each key, the seconds that are left of its cool-down and the ages of its requests."""
    boot = _boot_id()
    ages: dict[bytes, list[float]] = {}
    for key, written_in, monotonic, wall in execute("SELECT key, boot, monotonic, wall FROM requests"):
        if (age := _age(clock, boot, written_in, monotonic, wall)) < WINDOW_SECONDS:
            ages.setdefault(key, []).append(age)
    left: dict[bytes, float] = {}
    for key, seconds, written_in, monotonic, wall in execute(_COOLDOWNS):
        age = max(0.0, _age(clock, boot, written_in, monotonic, wall))
        if (rest := min(seconds, MAX_COOLDOWN_SECONDS) - age) > 0:
            left[key] = rest
    return {key: (left.get(key), ages.get(key, [])) for key in {**ages, **left}}


def _age(clock: Clock, boot: str, written_in: str, monotonic: float, wall: float) -> float:
    """Return how many seconds ago the time of a row was. It is negative for a request that may be under way."""
    age = clock.monotonic() - monotonic
    # Where the boots have no ids, a time in the future is of an earlier boot.
    if written_in == boot and age >= (-MAX_REQUEST_SECONDS if boot else 0.0):
        return age
    return max(0.0, clock.wall() - wall)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # A sandbox hides it. Then rows count as rows of this boot, unless their clock is ahead of ours.
        return ""


def _salt(db: sqlite3.Connection) -> bytes:
    (salt,) = db.execute("SELECT salt FROM salt").fetchone()
    return bytes(salt)


def _digest(salt: bytes, target: KeyTarget) -> bytes:
    identity = json.dumps([target.provider, target.base_url, target.key])
    return hmac.digest(salt, identity.encode(), "sha256")
