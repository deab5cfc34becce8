"""Decides before each request whether its key may send it, by its requests in any sliding minute and its cool-downs.

One request too many gets a vendor's key banned for a minute, and production traffic with it. So each request is
recorded before it is sent, in memory and in the state. A ``poll`` by hand, a running daemon, other replicas and the
next start after a crash read it there. If the state cannot be used, memory alone decides. A request counts for a minute
from its end on, because the vendor may have counted it at any moment until then. While it is under way, and in the
state until its account is saved, it counts as one of the latest time at which it can end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

from exporter.errors import HeldElsewhereError, StateUnavailableError
from exporter.runtime.clock import Clock
from exporter.state.base import MAX_COOLDOWN_SECONDS, WINDOW_SECONDS, Cooldown, Keys, KeyTarget

_UNSURE_SECONDS = 10.0
_HAIR_SECONDS = 0.001  # a wait that ends by a rounding error too early would have to be repeated


@dataclass(frozen=True)
class Wait:
    """The seconds for which nothing is sent, and the reason. With ``elsewhere`` another replica polls the accounts.

    With ``state`` the state would have to admit the request, and cannot be used.
    """

    seconds: float
    reason: Literal["cooldown", "budget", "refused", "elsewhere", "state"]


class Limits:
    """The requests and cool-downs of every key, shared with other processes through ``records``. Thread-safe."""

    def __init__(self, clock: Clock, records: Keys | None, share: Callable[[], int] = lambda: 1) -> None:
        """Divide each limit by ``share()`` while ``records`` cannot be used, and send nothing while that is 0."""
        self._clock = clock
        self._records = records
        self._share = share
        self._mutex = threading.Lock()
        self._turns: WeakValueDictionary[KeyTarget, threading.Lock] = WeakValueDictionary()
        self._requests: dict[KeyTarget, list[float]] = {}
        """The end of each request in monotonic seconds, which is in the future while it is under way."""
        self._others: dict[KeyTarget, list[float]] = {}
        """The same of other processes, as the state had them at the last request of ours."""
        self._sweep_at = 0.0
        self._cooldowns: dict[KeyTarget, Cooldown] = {}

    def admit(self, target: KeyTarget, per_minute: int, until: float | None = None) -> Wait | None:
        """Record one request and return None if it may be sent now. Otherwise record nothing and return the Wait.

        ``until`` is the monotonic second by which the request ends, which is now by default.
        """
        end = self._clock.monotonic() if until is None else until

        def decide(theirs: Cooldown | None, others: list[float]) -> Wait | None:
            if theirs is not None:
                self._cooldowns[target] = theirs
            self._others[target] = others
            return self._decide(target, per_minute, others)

        with self._turn_of(target):
            wait = self._decide(target, per_minute, [])
            if wait is None and self._records is not None:
                try:
                    wait = self._records.admit(target, end, decide)
                except HeldElsewhereError:
                    wait = Wait(0.0, "elsewhere")
                except StateUnavailableError:  # then memory alone decides
                    wait = self._decide_alone(target, per_minute)
                    if wait is None:
                        self._records.note_request(target, end)
            if wait is None:
                self._requests.setdefault(target, []).append(end)
            return wait

    def end_request(self, target: KeyTarget, until: float) -> None:
        """Count the request that was admitted with ``until`` as one of now."""
        with self._turn_of(target):
            times = self._requests.setdefault(target, [])
            with suppress(ValueError):  # it ended a minute later than it should
                times.remove(until)
            times.append(self._clock.monotonic())
        if self._records is not None:
            self._records.end_request(target, until)

    def cool_down(self, target: KeyTarget, seconds: float) -> None:
        """Send nothing with this key for so many seconds, at most 6 h. A longer cool-down stays as it is."""
        seconds = min(seconds, MAX_COOLDOWN_SECONDS)
        if not seconds > 0:
            return
        with self._turn_of(target):
            now = self._clock.monotonic()
            known = self._cooldown_of(target)
            if known is not None and known.until >= now + seconds:
                return
            self._cooldowns[target] = cooldown = Cooldown(now + seconds, self._clock.wall() + seconds)
            if self._records is not None:
                with suppress(StateUnavailableError):
                    self._cooldowns[target] = self._records.put_cooldown(target, cooldown)

    def cooldown(self, target: KeyTarget) -> float | None:
        """Return the seconds for which this key is still in cool-down, or None if it is not."""
        known = self._cooldown_of(target)
        if known is None:
            return None
        left = known.until - self._clock.monotonic()
        return left if left > 0 else None

    def cooldown_until(self, target: KeyTarget) -> float | None:
        """Return the Unix time at which this key's present or last cool-down ends; None without any."""
        known = self._cooldown_of(target)
        return None if known is None else known.ends_at

    def _turn_of(self, target: KeyTarget) -> threading.Lock:
        """Return the lock of a key. A slow transaction holds up the requests of its own key alone."""
        with self._mutex:
            return self._turns.setdefault(target, threading.Lock())

    def _decide(self, target: KeyTarget, per_minute: int, others: list[float]) -> Wait | None:
        now = self._clock.monotonic()
        cooldown = self._cooldown_of(target)
        if cooldown is not None and cooldown.until > now:
            return Wait(cooldown.until - now + _HAIR_SECONDS, "cooldown")
        self._sweep(now)
        since = now - WINDOW_SECONDS
        ours = self._requests[target] = [at for at in self._requests.get(target, ()) if at > since]
        if len(ours) + len(others) < per_minute:
            return None
        # One that is under way ends now at the earliest.
        times = sorted(min(at, now) for at in (*ours, *others) if at > since)
        if len(times) < per_minute:
            return None
        return Wait(times[-per_minute] - since + _HAIR_SECONDS, "budget")

    def _decide_alone(self, target: KeyTarget, per_minute: int) -> Wait | None:
        """Decide from memory, within the share of one replica."""
        share = self._share()
        if not share:
            return Wait(_UNSURE_SECONDS, "state")
        return self._decide(target, max(1, per_minute // share), self._others.get(target, []))

    def _sweep(self, now: float) -> None:
        """Forget once a minute the keys that are not in use: keys are rotated, memory must not gather them."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + WINDOW_SECONDS
        with self._mutex:  # then no thread begins to use a key
            for target, times in list(self._requests.items()):
                if target not in self._turns and not any(at > now - WINDOW_SECONDS for at in times):
                    del self._requests[target]
                    self._others.pop(target, None)

    def _cooldown_of(self, target: KeyTarget) -> Cooldown | None:
        cooldown = self._cooldowns.get(target)
        if cooldown is None and self._records is not None:
            cooldown = self._records.restored(target)
        return cooldown
