"""The end of one call, which every wait of the call asks for."""

from __future__ import annotations

import time


class Deadline:
    """A point in time; ``time.monotonic`` tells when it has passed."""

    def __init__(self, seconds: float) -> None:
        """Pass in so many seconds from now."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; raise TimeoutError where there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left
