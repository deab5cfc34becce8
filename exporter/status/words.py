"""Writes figures for people. An unknown figure is written in words and never as 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "not known"
NONE = "none"
"""Text for something that the vendor does not have."""
_FIXED = "\N{NO-BREAK SPACE}"
_BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def amount(value: float | str | None) -> str:
    """Return a number of credits or channels with at most two decimals. A tiny number is not rounded to 0."""
    if value is None or isinstance(value, str):
        return value or UNKNOWN
    if 0 < abs(value) < 0.01:
        return "less than 0.01" if value > 0 else "just below 0"
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.2f}".rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def size(value: float | str | None) -> str:
    """Return bytes in the largest binary unit that leaves at least 1."""
    if value is None or isinstance(value, str):
        return value or UNKNOWN
    unit = 0
    while abs(value) >= 1024 and unit < len(_BYTES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g}{_FIXED}{_BYTES[unit]}" if abs(value) < 1000 else f"{value:,.0f}{_FIXED}{_BYTES[unit]}"


def percent(ratio: float | None) -> str:
    """Return a ratio as a percentage."""
    return UNKNOWN if ratio is None else f"{ratio * 100:.3g}{_FIXED}%" if ratio < 10 else f"{ratio * 100:,.0f}{_FIXED}%"


def duration(seconds: float) -> str:
    """Return seconds in one or two units."""
    if seconds < 59.5:
        return f"{seconds:.0f}{_FIXED}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}{_FIXED}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}{_FIXED}h" + (f" {minutes}{_FIXED}min" if minutes else "")
    days, hours = divmod(hours, 24)
    if days < 10:
        return f"{days}{_FIXED}d" + (f" {hours}{_FIXED}h" if hours else "")
    return f"{days}{_FIXED}d" if days < 730 else "over 2 years"


def past(seconds: float) -> str:
    """Return how long ago something was. A time in the future, after the clock was set back, is "just now"."""
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def runway(row: Mapping[str, Any]) -> str:
    """Return how long the balance lasts at the mean spend of this period."""
    credits = row["credits"]
    if credits["balance"] is None:
        return UNKNOWN
    if credits["balance"] == "unlimited":
        return "unlimited"
    if credits["runway_seconds"] is None:
        return "nothing spent yet" if credits["monthly_used"] == 0 else UNKNOWN
    return duration(credits["runway_seconds"]) if credits["runway_seconds"] else "used up"
