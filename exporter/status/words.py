"""Writes figures for people. An unknown figure is written in words and never as 0."""

from __future__ import annotations

from datetime import datetime, timezone
from math import inf, isfinite

from exporter.providers.base import Price

UNKNOWN = "not known"
UNLIMITED = "unlimited"
NONE = "none"
"""Text for something that the vendor does not have."""
_FIXED = "\N{NO-BREAK SPACE}"
_BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def amount(value: float | None) -> str:
    """Return a number of credits or channels with at most two decimals. A tiny number is not rounded to 0."""
    if value is None or value == inf:
        return UNKNOWN if value is None else UNLIMITED
    if not value:
        return "0"
    size = abs(value)
    if size < 0.01:
        return "less than 0.01" if value > 0 else "just below 0"
    if size >= 1e15:
        return f"{value:.3g}"
    text = f"{value:,.0f}" if size >= 10_000 else f"{value:,.2f}".rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def size(value: float | None) -> str:
    """Return bytes in the largest binary unit that leaves at least 1."""
    if value is None or value == inf:
        return UNKNOWN if value is None else UNLIMITED
    unit = 0
    while abs(value) >= 1024 and unit < len(_BYTES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g}{_FIXED}{_BYTES[unit]}" if abs(value) < 1000 else f"{value:,.0f}{_FIXED}{_BYTES[unit]}"


def percent(ratio: float, digits: int = 3, space: str = _FIXED) -> str:
    """Return a ratio as a percentage of so many digits, or as a whole one if it has more."""
    value = ratio * 100
    return (f"{value:.{digits}g}" if value < 10**digits else f"{value:,.0f}") + f"{space}%"


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


def iso(unix: float) -> str:
    """Return a time in ISO 8601, in UTC and to the second."""
    return datetime.fromtimestamp(unix, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def money(credits: float | None, price: Price | None) -> str:
    """Return what credits cost, or an empty text without a price."""
    if credits is None or price is None or not isfinite(credits):
        return ""
    return f"{credits * price.amount:,.2f}{_FIXED}{price.currency}".replace("-", "\N{MINUS SIGN}")
