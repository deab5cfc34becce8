"""The two clocks. People and Prometheus see wall time. Every wait and age uses monotonic time.

The wall clock may jump by hours (NTP, a resumed virtual machine), so it must not decide when a request is sent.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Tests use a clock of their own."""

    def wall(self) -> float:
        """Return Unix time in seconds."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary point. They never fall and never jump."""


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
