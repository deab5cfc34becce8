"""Makes the texts and bars of an account's row in the table, ready for the template."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from exporter.status.selection import Row
from exporter.status.words import NONE, UNKNOWN, amount, duration, past, percent, runway, size

COLUMNS = {
    "plan": "Plan",
    "balance": "Balance",
    "runway": "Runway",
    "storage": "Storage",
    "channels": "Channels",
    "last": "Last poll",
    "next": "Next poll",
}
"""Headings of the columns after account and state, by the name of their sort order."""
_MUTED = {UNKNOWN: " not-known", NONE: " none"}
_LATE = 15.0
"""Seconds by which a poll may wait for a free connection before the page calls it late."""


class Bar(NamedTuple):
    """A bar of width 100 with its severity, its filled width, and an SVG path that marks each threshold."""

    level: str
    filled: str
    ticks: str


class Cell(NamedTuple):
    """A figure, the note under it, its bar, and its time in ISO 8601."""

    text: str
    note: str = ""
    bar: Bar | None = None
    at: str = ""


def cells(row: Row, now: float) -> dict[str, Any]:
    """Return the values for the template at the wall time ``now``. ``columns`` have their CSS classes."""
    figures = (
        _plan(row, now),
        _balance(row),
        Cell(runway(row)),
        _quota(row["storage"], size),
        _quota(row["channels"], amount),
        _last(row, now),
        _next(row, now),
    )
    return {
        "name": row["account"],
        "provider": row["provider"],
        "labels": ", ".join(f"{name}={value}" for name, value in row["labels"].items()),
        "severity": row["severity"],
        "attention": [item["text"] for item in row["attention"]],
        "message": row["failure"]["message"] if row["failure"] else "",
        "since": _since(row, now),
        "columns": [(column + _MUTED.get(cell.text, ""), cell) for column, cell in zip(COLUMNS, figures, strict=True)],
    }


def _since(row: Row, now: float) -> str:
    """Return when the last good answer came, if figures are missing now."""
    if not row["stale"] and not row["failure"]:
        return ""
    good = _unix(row["last_success"])
    return "No good answer yet." if good is None else f"Last good answer {past(now - good)}."


def _plan(row: Row, now: float) -> Cell:
    if row["stale"] or row["last_success"] is None:
        return Cell(UNKNOWN)
    end = _unix(row["period_end"])
    notes = [row["subscription"]] if row["plan"] and row["subscription"] else []
    if end is not None:
        notes.append(f"period ends in {duration(end - now)}" if end > now else f"period ended {past(now - end)}")
    return Cell(row["plan"] or NONE, ", ".join(notes))


def _balance(row: Row) -> Cell:
    credits = row["credits"]
    balance, limit = credits["balance"], credits["monthly_limit"]
    warning, critical = credits["warning_below"], credits["critical_below"]
    if balance is None or isinstance(balance, str):
        return Cell(amount(balance))
    note = f"warning < {amount(warning)}, critical < {amount(critical)}"
    # Without a limit the bar ends at four times the warning level, so a balance far above it looks full.
    whole = max(limit, balance) if isinstance(limit, (int, float)) else 4 * warning
    level = "critical" if credits["level"] == "exhausted" else credits["level"]
    bar = _bar(balance / whole, warning / whole, critical / whole, level) if whole > 0 else None
    of = f" of {amount(limit)} a month" if limit is not None else ""
    return Cell(amount(balance) + of, note, bar)


def _quota(quota: dict[str, Any] | None, write: Callable[[float | str | None], str]) -> Cell:
    if quota is None:
        return Cell(NONE)
    used, limit, ratio = quota["used"], quota["limit"], quota["ratio"]
    if used is None and ratio is None:
        return Cell(UNKNOWN)
    if ratio is None or isinstance(limit, str):
        return Cell(write(used), limit if isinstance(limit, str) else f"limit {write(limit)}")
    bar = _bar(ratio, quota["warning_from"], quota["critical_from"], quota["level"])
    return Cell(percent(ratio), f"{write(used)} of {write(limit)}", bar)


def _bar(ratio: float, warning: float, critical: float, level: str) -> Bar:
    ticks = "".join(f"M{_width(at)} 0v6" for at in (warning, critical) if 0 < at < 1)
    return Bar(level, _width(ratio), ticks)


def _width(ratio: float) -> str:
    return f"{min(max(ratio, 0.0), 1.0) * 100:.4g}"


def _last(row: Row, now: float) -> Cell:
    at = _unix(row["last_poll"])
    return Cell("never") if at is None else Cell(past(now - at), at=row["last_poll"])


def _next(row: Row, now: float) -> Cell:
    rest, due = _unix(row["cooldown_until"]), _unix(row["next_poll"])
    if rest is not None:
        return Cell("cool-down", f"{duration(rest - now)} more", at=row["cooldown_until"])
    if due is None:
        return Cell(UNKNOWN)
    late = now - due
    text = f"in {duration(-late)}" if late < -1 else "now" if late < _LATE else f"{duration(late)} late"
    return Cell(text, at=row["next_poll"])


def _unix(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
