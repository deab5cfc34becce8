"""The two clocks: wall time for what people and Prometheus see, monotonic time for every wait and age.

The wall clock may jump by hours (NTP, a resumed virtual machine); nothing that decides when a request
is sent may depend on it.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time; tests drive one of their own."""

    def wall(self) -> float:
        """Return Unix time in seconds."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point; never falls, never jumps."""


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
