"""The rate limit of the web configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RateLimit:
    """A token bucket for all requests. It gains a token every ``interval`` seconds and holds at most ``burst``."""

    interval: float
    burst: int


class TokenBucket:
    """Starts full, and gains a token each interval up to the burst of the limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit: RateLimit | None = None
        self._tokens = 0.0
        self._looked = 0.0

    def take(self, limit: RateLimit) -> bool:
        """Take a token, and return whether there was one. A changed limit starts a new bucket."""
        now = self._clock()
        if limit != self._limit:
            self._limit, self._tokens = limit, float(limit.burst)
        else:
            self._tokens = min(limit.burst, self._tokens + (now - self._looked) / limit.interval)
        self._looked = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
