"""One account as the table shows it: every text and bar of its row, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.statuspage.selection import Row
from exporter.statuspage.words import UNKNOWN, amount, duration, past, percent, runway, size

_NONE = "none"
_LATE = 15.0
"""Seconds by which a poll may wait for a free connection before the page calls it late."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of width 100: how far it is filled, and where its thresholds are."""

    level: str
    filled: str
    ticks: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, what stands under it, and its bar. ``muted`` where there is no figure."""

    text: str
    note: str = ""
    bar: Bar | None = None
    muted: bool = False
    at: str = ""
    """The moment that the text is about, ISO 8601."""


def cells(row: Row, now: float) -> dict[str, Any]:
    """Return what the template shows of an account, at the wall time ``now``."""
    known = not row["stale"] and row["last_success"] is not None
    return {
        "name": row["account"],
        "provider": row["provider"],
        "labels": "  ".join(f"{name}={value}" for name, value in row["labels"].items()),
        "severity": row["severity"],
        "attention": [item["text"] for item in row["attention"]],
        "message": row["failure"]["message"] if row["failure"] else "",
        "since": _since(row, now),
        "plan": _plan(row, known, now),
        "balance": _balance(row),
        "runway": _figure(runway(row)),
        "storage": _quota(row["storage"], size),
        "channels": _quota(row["channels"], amount),
        "last": _last(row, now),
        "next": _next(row, now),
    }


def _figure(text: str, note: str = "", bar: Bar | None = None) -> Cell:
    return Cell(text, note, bar, muted=text == UNKNOWN)


def _since(row: Row, now: float) -> str:
    """Return since when figures are missing, where they are."""
    if not row["stale"] and not row["failure"]:
        return ""
    good = _unix(row["last_success"])
    return "No good answer yet." if good is None else f"Last good answer {past(now - good)}."


def _plan(row: Row, known: bool, now: float) -> Cell:
    if not known:
        return _figure(UNKNOWN)
    end = _unix(row["period_end"])
    notes = [row["subscription"]] if row["plan"] and row["subscription"] else []
    if end is not None:
        notes.append(f"period ends in {duration(end - now)}" if end > now else f"period ended {past(now - end)}")
    return Cell(row["plan"] or _NONE, ", ".join(notes), muted=not row["plan"])


def _balance(row: Row) -> Cell:
    credits = row["credits"]
    balance, limit = credits["balance"], credits["monthly_limit"]
    warning, critical = credits["warning_below"], credits["critical_below"]
    if balance is None or isinstance(balance, str):
        return _figure(amount(balance))
    note = f"warning below {amount(warning)}, critical below {amount(critical)}"
    # Without a limit the bar ends at four times the warning level: what is well above it looks full.
    whole = max(limit, balance) if isinstance(limit, (int, float)) else 4 * warning
    level = "critical" if credits["level"] == "exhausted" else credits["level"]
    bar = _bar(balance / whole, warning / whole, critical / whole, level) if whole > 0 else None
    of = f" of {amount(limit)} a month" if limit is not None else ""
    return Cell(amount(balance) + of, note, bar)


def _quota(quota: dict[str, Any] | None, write: Any) -> Cell:
    if quota is None:
        return Cell(_NONE, muted=True)
    used, limit, ratio = quota["used"], quota["limit"], quota["ratio"]
    if used is None and ratio is None:
        return _figure(UNKNOWN)
    of = f"{write(used)} of {write(limit)}"
    if ratio is None or isinstance(limit, str):
        return Cell(of)
    return Cell(percent(ratio), of, _bar(ratio, quota["warning_from"], quota["critical_from"], quota["level"]))


def _bar(ratio: float, warning: float, critical: float, level: str) -> Bar:
    ticks = "".join(f"M{_width(at)} 0v6" for at in (warning, critical) if 0 < at < 1)
    return Bar(level, _width(ratio), ticks)


def _width(ratio: float) -> str:
    return f"{min(max(ratio, 0.0), 1.0) * 100:.4g}"


def _last(row: Row, now: float) -> Cell:
    at = _unix(row["last_poll"])
    return Cell("never", muted=True) if at is None else Cell(past(now - at), at=row["last_poll"])


def _next(row: Row, now: float) -> Cell:
    rest, due = _unix(row["cooldown_until"]), _unix(row["next_poll"])
    if rest is not None:
        return Cell("cool-down", f"{duration(rest - now)} more", at=row["cooldown_until"])
    if due is None:
        return _figure(UNKNOWN)
    late = now - due
    text = f"in {duration(-late)}" if late < 0 else "now" if late < _LATE else f"{duration(late)} late"
    return Cell(text, at=row["next_poll"])


def _unix(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
