"""What a key may do: requests in any sliding minute, and cool-downs. Decided before anything is sent.

One request too many gets a vendor's key banned for a minute, production traffic included. So each request
is recorded before it is sent: in memory, and in the state file, where ``poll`` by hand, a running daemon
and the next start after a crash see it. Where the file cannot be used, memory alone decides. Its minute runs
anew from its end: the vendor may have counted it at any moment in between.

Within one boot, ages are differences of the monotonic clock, which all processes of a machine share
and which no one sets; only what was written before a reboot is dated by the wall clock.
"""

from __future__ import annotations

import hmac
import json
import math
import re
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from exporter.errors import StateUnavailable
from exporter.runtime.clock import Clock
from exporter.state.sqlite import StateFile

WINDOW_SECONDS = 60.0
MAX_COOLDOWN_SECONDS = 6 * 3600.0
_DEFAULT_COOLDOWN_SECONDS = 60.0
_FORGET_COOLDOWN_SECONDS = 30 * 86400.0
_HAIR_SECONDS = 0.001  # a wait that ends by a rounding error too early would have to be repeated
_COOLDOWN_OF_KEY = "SELECT seconds, boot, monotonic, wall FROM cooldowns WHERE key = ?"
_COOLDOWNS = "SELECT key, seconds, boot, monotonic, wall FROM cooldowns"
_ENDED = (
    "UPDATE requests SET monotonic = ?, wall = ? WHERE id ="
    " (SELECT id FROM requests WHERE key = ? AND writer = ? AND monotonic <= ? ORDER BY monotonic DESC LIMIT 1)"
)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
T = TypeVar("T")


@dataclass(frozen=True)
class KeyTarget:
    """A key at a vendor: what limits and cool-downs are counted for."""

    provider: str
    base_url: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Wait:
    """Send nothing for so many seconds, and why."""

    seconds: float
    reason: Literal["cooldown", "budget", "refused"]


class _Rest(NamedTuple):
    """A cool-down: its end on the monotonic clock decides, its end on the wall clock is shown."""

    until: float
    ends_at: float


class Limits:
    """The requests and cool-downs of every key, shared through ``state`` with other processes; thread-safe.

    ``boot`` names the machine's present boot, the kernel's own by default.
    """

    def __init__(self, clock: Clock, state: StateFile | None, boot: str | None = None) -> None:
        self._clock = clock
        self._state = state
        self._boot = _boot_id() if boot is None else boot
        self._writer = secrets.token_bytes(8)
        self._mutex = threading.Lock()
        self._requests: dict[KeyTarget, list[float]] = {}
        self._sweep_at = 0.0
        self._rests: dict[KeyTarget, _Rest] = {}
        self._unsaved: dict[KeyTarget, _Rest] = {}
        self._restored: dict[bytes, _Rest] = {}
        self._salt = b""
        if state is not None:
            with suppress(StateUnavailable):
                state.write(self._settle)
            with suppress(StateUnavailable):
                state.read(self._restore)

    def admit(self, target: KeyTarget, per_minute: int) -> Wait | None:
        """Record one request and return None: send it now; or return the Wait and record nothing."""
        with self._mutex:
            wait = self._decide(target, per_minute, [])
            if wait is None and self._state is not None:
                with suppress(StateUnavailable):  # then memory alone decides
                    wait = self._write(self._state, lambda db: self._admit_in_file(db, target, per_minute))
            if wait is None:
                self._requests.setdefault(target, []).append(self._clock.monotonic())
            return wait

    def ended(self, target: KeyTarget, began: float) -> None:
        """Count a request that was admitted by ``began``, in monotonic seconds, as one of now."""
        with self._mutex:
            now = self._clock.monotonic()
            times = self._requests.setdefault(target, [])
            started = max((at for at in times if at <= began), default=None)
            if started is not None:
                times.remove(started)
            times.append(now)
            if self._state is not None:
                end = now, self._clock.wall()
                with suppress(StateUnavailable):
                    self._write(
                        self._state,
                        lambda db: db.execute(_ENDED, (*end, _digest(_salt(db), target), self._writer, began)),
                    )

    def rest(self, target: KeyTarget, seconds: float) -> None:
        """Send nothing with this key for so many seconds, 6 h at most; never ends a cool-down earlier."""
        seconds = min(seconds, MAX_COOLDOWN_SECONDS)
        if not seconds > 0:
            return
        with self._mutex:
            now = self._clock.monotonic()
            known = self._rest_of(target)
            if known is not None and known.until >= now + seconds:
                return
            self._rests[target] = self._unsaved[target] = _Rest(now + seconds, self._clock.wall() + seconds)
            if self._state is not None:
                with suppress(StateUnavailable):
                    self._write(self._state, self._put_rests)

    def cooldown(self, target: KeyTarget) -> float | None:
        """Return the seconds that this key still rests; None where it does not."""
        with self._mutex:
            known = self._rest_of(target)
        if known is None:
            return None
        left = known.until - self._clock.monotonic()
        return left if left > 0 else None

    def cooldown_until(self, target: KeyTarget) -> float | None:
        """Return the Unix time at which this key's present or last cool-down ends; None without any."""
        with self._mutex:
            known = self._rest_of(target)
        return None if known is None else known.ends_at

    # -- memory

    def _decide(self, target: KeyTarget, per_minute: int, others: list[float]) -> Wait | None:
        now = self._clock.monotonic()
        rest = self._rest_of(target)
        if rest is not None and rest.until > now:
            return Wait(rest.until - now + _HAIR_SECONDS, "cooldown")
        self._sweep(now)
        since = now - WINDOW_SECONDS
        times = sorted(at for at in (*self._requests.get(target, ()), *others) if at > since)
        if len(times) < per_minute:
            return None
        return Wait(times[-per_minute] - since + _HAIR_SECONDS, "budget")

    def _sweep(self, now: float) -> None:
        """Forget once a minute what no longer counts: keys are rotated, memory must not gather them."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + WINDOW_SECONDS
        since = now - WINDOW_SECONDS
        recent = ((target, [at for at in times if at > since]) for target, times in self._requests.items())
        self._requests = {target: times for target, times in recent if times}

    def _rest_of(self, target: KeyTarget) -> _Rest | None:
        rest = self._rests.get(target)
        if rest is None and self._restored:
            rest = self._restored.get(_digest(self._salt, target))
        return rest

    # -- the state file

    def _write(self, state: StateFile, work: Callable[[sqlite3.Connection], T]) -> T:
        result = state.write(work)
        self._unsaved.clear()
        return result

    def _admit_in_file(self, db: sqlite3.Connection, target: KeyTarget, per_minute: int) -> Wait | None:
        self._put_rests(db)
        key = _digest(_salt(db), target)
        row = db.execute(_COOLDOWN_OF_KEY, (key,)).fetchone()
        if row is not None:
            self._rests[target] = self._rest_from(row)
        others = []
        for number, writer, *written in db.execute(
            "SELECT id, writer, boot, monotonic, wall FROM requests WHERE key = ?", (key,)
        ).fetchall():
            age = self._age(*written)
            if age >= WINDOW_SECONDS:
                db.execute("DELETE FROM requests WHERE id = ?", (number,))
            elif writer != self._writer:  # our own are in memory
                others.append(self._clock.monotonic() - age)
        wait = self._decide(target, per_minute, others)
        if wait is None:
            db.execute(
                "INSERT INTO requests(key, writer, boot, monotonic, wall) VALUES (?, ?, ?, ?, ?)",
                (key, self._writer, self._boot, self._clock.monotonic(), self._clock.wall()),
            )
        return wait

    def _put_rests(self, db: sqlite3.Connection) -> None:
        for target, rest in self._unsaved.items():
            key = _digest(_salt(db), target)
            row = db.execute(_COOLDOWN_OF_KEY, (key,)).fetchone()
            if row is not None and (theirs := self._rest_from(row)).until >= rest.until:
                self._rests[target] = theirs
                continue
            now = self._clock.monotonic()
            left = max(0.0, rest.until - now)
            db.execute(
                "INSERT OR REPLACE INTO cooldowns(key, seconds, boot, monotonic, wall) VALUES (?, ?, ?, ?, ?)",
                (key, left, self._boot, now, rest.ends_at - left),
            )

    def _settle(self, db: sqlite3.Connection) -> None:
        """Date what an earlier boot wrote by this one, once: later jumps of the wall clock change nothing."""
        now = self._clock.monotonic()
        for number, *written in db.execute("SELECT id, boot, monotonic, wall FROM requests").fetchall():
            age = self._age(*written)
            if age >= WINDOW_SECONDS:
                db.execute("DELETE FROM requests WHERE id = ?", (number,))
            else:
                db.execute(
                    "UPDATE requests SET boot = ?, monotonic = ? WHERE id = ?",
                    (self._boot, now - age, number),
                )
        for key, seconds, *written in db.execute(_COOLDOWNS).fetchall():
            age = self._age(*written)
            if age >= seconds + _FORGET_COOLDOWN_SECONDS:
                db.execute("DELETE FROM cooldowns WHERE key = ?", (key,))
            else:
                db.execute("UPDATE cooldowns SET boot = ?, monotonic = ? WHERE key = ?", (self._boot, now - age, key))

    def _restore(self, db: sqlite3.Connection) -> None:
        self._salt = _salt(db)
        for key, *row in db.execute(_COOLDOWNS):
            self._restored[key] = self._rest_from(row)

    def _rest_from(self, row: Sequence[Any]) -> _Rest:
        seconds, boot, monotonic, wall = row
        left = min(seconds, MAX_COOLDOWN_SECONDS) - self._age(boot, monotonic, wall)
        return _Rest(self._clock.monotonic() + left, wall + seconds)

    def _age(self, boot: str, monotonic: float, wall: float) -> float:
        """Return how many seconds ago a row was written; never negative."""
        now = self._clock.monotonic()
        if boot == self._boot and monotonic <= now:
            return now - monotonic
        return max(0.0, self._clock.wall() - wall)


def cooldown_seconds(status: int, headers: Mapping[str, str], body: object, now_wall: float) -> float | None:
    """Return how long a key must rest after this answer, in seconds; None where the vendor asks for no rest.

    After a 429 that is the longest of ``Retry-After``, the body's ``retry_after_seconds`` and 60 s; after a
    503 the longest wait it names, if any. Both are capped at 6 h, and what cannot be read counts as not sent.
    """
    if status not in (429, 503):
        return None
    lowered = {name.lower(): value for name, value in headers.items()}
    waits = [_retry_after(lowered, now_wall), _body_wait(body)]
    if status == 429:
        waits.append(_DEFAULT_COOLDOWN_SECONDS)
    named = [wait for wait in waits if wait is not None and math.isfinite(wait) and wait > 0]
    return min(max(named), MAX_COOLDOWN_SECONDS) if named else None


def _retry_after(headers: Mapping[str, str], now_wall: float) -> float | None:
    value = headers.get("retry-after", "").strip()
    # A proxy may add a second header; they arrive joined by a comma.
    numbers = [part.strip() for part in value.split(",")]
    if all(_NUMBER.fullmatch(number) for number in numbers):
        return max(map(float, numbers))
    end = _http_date(value)
    if end is None:
        return None
    # The vendor's own clock, where it says what time it is: ours may be off by more than the wait.
    sent = _http_date(headers.get("date", ""))
    return end - (now_wall if sent is None else sent)


def _body_wait(body: object) -> float | None:
    value = body.get("retry_after_seconds") if isinstance(body, Mapping) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # an integer of 400 digits
            return None
    return None


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # HTTP dates are in UTC, also where a zone of -0000 makes Python leave it out.
    return (date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)).timestamp()


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # Hidden by a sandbox: rows then count as of this boot unless their clock is ahead of ours.
        return ""


def _salt(db: sqlite3.Connection) -> bytes:
    (salt,) = db.execute("SELECT salt FROM salt").fetchone()
    return bytes(salt)


def _digest(salt: bytes, target: KeyTarget) -> bytes:
    identity = json.dumps([target.provider, target.base_url, target.key])
    return hmac.digest(salt, identity.encode(), "sha256")
