"""Tells whether other programs use the machine, because figures from a busy machine are worth nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST = 0.1
"""Share of one core that other programs may use."""


def disturbance(seconds: float = 3.0) -> str | None:
    """Watch the idle machine for some seconds. Return what disturbs a benchmark, or None.

    Call this while no program of the benchmark runs. The load average would still tell of the part before.
    """
    busy, waited = _busy(), _waited()
    time.sleep(seconds)
    cores = (_busy() - busy) / seconds
    waiting = (_waited() - waited) / seconds
    if cores > MOST:
        return f"other programs use {cores:.2f} cores"
    return f"programs wait for a core {waiting:.0%} of the time" if waiting > MOST else None


def _busy() -> float:
    """Return the seconds for which cores were busy since the machine started."""
    user, nice, system, _, _, interrupts, soft, stolen, *_ = map(int, _first_line("/proc/stat").split()[1:])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _waited() -> float:
    """Return the seconds for which some program had to wait for a core. A kernel without this count has none."""
    try:
        return int(_first_line("/proc/pressure/cpu").rpartition("total=")[2]) / 1e6
    except OSError:
        return 0.0


def _first_line(path: str) -> str:
    return Path(path).read_text().split("\n", 1)[0]
