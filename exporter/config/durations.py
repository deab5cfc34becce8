"""Reads and writes durations as Prometheus does, such as ``30s``, ``1h30m``, ``2w`` and ``500ms``."""

from __future__ import annotations

import re

_UNITS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_PATTERN = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)


def parse_duration(text: str) -> float:
    """Return a duration in seconds. Raise ValueError with a message for the user if it is not a duration."""
    match = _PATTERN.fullmatch(text)
    if not text or not match:
        raise ValueError("is not a duration. Write numbers with units from large to small, such as 30s, 5m or 1h30m")
    return sum(int(count or 0) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True)) / 1000


def format_duration(seconds: float) -> str:
    """Return a duration of whole milliseconds as text. Years and weeks are used only if nothing remains."""
    rest = round(seconds * 1000)
    parts: list[str] = []
    for name, unit in _UNITS.items():
        if rest >= unit and (name not in "yw" or rest % unit == 0):
            count, rest = divmod(rest, unit)
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"
