"""Makes the texts and bars of an account's row in the table, ready for the template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple
from urllib.parse import quote

from exporter.status.summary import Attention, CreditSummary, Fill, QuotaSummary, Summary
from exporter.status.words import NONE, UNKNOWN, UNLIMITED, amount, duration, iso, past, percent, size

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
_QUOTAS = 5
"""Named quotas that a row shows, the fullest first."""
_LATE_SECONDS = 15.0
"""Seconds by which a poll may wait for a free connection before the page calls it late."""


class Bar(NamedTuple):
    """A bar of width 100 with its severity, its filled width, and an SVG path that marks each threshold."""

    level: str
    filled: str
    ticks: str


class Cell(NamedTuple):
    """A figure, the note under it, its bar, its time in ISO 8601, and a chart as SVG."""

    text: str
    note: str = ""
    bar: Bar | None = None
    at: str = ""
    chart: str = ""


class Row(NamedTuple):
    """The texts of an account's row. ``columns`` are cells with their CSS classes, ``href`` is the account's page."""

    name: str
    href: str
    provider: str
    labels: str
    severity: str
    attention: tuple[Attention, ...]
    message: str
    since: str
    columns: list[tuple[str, Cell]]


def row(account: Summary, now: float, trend: str = "") -> Row:
    """Return the row of an account at the wall time ``now``. ``trend`` is a chart of its balance, as SVG."""
    figures = (
        _plan(account, now),
        _with_quotas(_balance(account.credits), account.quotas),
        _runway(account.credits)._replace(chart=trend),
        _quota(account.storage, size),
        _quota(account.channels, amount),
        _last(account, now),
        _next(account, now),
    )
    return Row(
        name=account.name,
        href=address(account.provider, account.name),
        provider=account.provider,
        labels=", ".join(f"{name}={value}" for name, value in account.labels.items()),
        severity=account.severity,
        attention=account.attention,
        message=account.failure.message if account.failure else "",
        since=_since(account, now),
        columns=[(column + _MUTED.get(cell.text, ""), cell) for column, cell in zip(COLUMNS, figures, strict=True)],
    )


def address(provider: str, name: str) -> str:
    """Return the address of an account's page, relative to ``/``."""
    return f"accounts/{quote(provider, safe='')}/{quote(name, safe='', errors='replace')}"


def _since(account: Summary, now: float) -> str:
    """Return when the last good response came, if figures are missing now."""
    if not account.stale and not account.failure:
        return ""
    good = account.last_success
    return "No good response yet." if good is None else f"Last good response {past(now - good)}."


def _plan(account: Summary, now: float) -> Cell:
    if account.stale or account.last_success is None:
        return Cell(UNKNOWN)
    end = account.period_end
    notes = [account.subscription] if account.plan and account.subscription else []
    if end is not None:
        notes.append(f"period ends in {duration(end - now)}" if end > now else f"period ended {past(now - end)}")
    return Cell(account.plan or NONE, ", ".join(notes))


def _balance(credits: CreditSummary) -> Cell:
    balance, limit = credits.balance, credits.monthly_limit
    warning, critical = credits.warning_below, credits.critical_below
    if balance is None or balance == inf:
        return Cell(amount(balance))
    note = f"warning < {amount(warning)}, critical < {amount(critical)}"
    # Without a limit the bar ends at four times the warning level, so a balance far above it looks full.
    whole = 4 * warning if limit is None or limit == inf else max(limit, balance)
    level = "critical" if credits.level == "exhausted" else credits.level or ""
    bar = _bar(balance / whole, warning / whole, critical / whole, level) if whole > 0 else None
    unit = "" if credits.unit == "credits" else f" {credits.unit}"
    of = f" of {amount(limit)}{unit} a month" if limit is not None else unit
    return Cell(amount(balance) + of, note, bar)


def _with_quotas(cell: Cell, quotas: Sequence[QuotaSummary]) -> Cell:
    """Add the named quotas to the note under the balance."""
    fullest = sorted(quotas, key=lambda quota: -(quota.fill.ratio or 0.0))
    texts = [named_quota(quota) for quota in fullest[:_QUOTAS]]
    if len(fullest) > _QUOTAS:
        texts.append(f"{len(fullest) - _QUOTAS} more quotas")
    return cell._replace(note=", ".join(filter(None, (cell.note, *texts))))


def named_quota(quota: QuotaSummary) -> str:
    """Return a quota with its name, its figures and its unit."""
    if quota.fill.used is None and quota.remaining is None:
        limit = quota.fill.limit
        return f"{quota.name}: {UNLIMITED if limit == inf else f'limit {amount(limit)} {quota.unit}'}"
    if quota.fill.used is None:
        return f"{quota.name}: {amount(quota.remaining)} {quota.unit} left"
    if quota.fill.limit == inf:
        return f"{quota.name}: {amount(quota.fill.used)} {quota.unit}, {UNLIMITED}"
    of = f" of {amount(quota.fill.limit)}" if quota.fill.limit is not None else ""
    return f"{quota.name}: {amount(quota.fill.used)}{of} {quota.unit}"


def _runway(credits: CreditSummary) -> Cell:
    """Return how long the balance lasts at the mean spend of this period."""
    if credits.runway_seconds is None:
        return Cell("nothing spent yet" if credits.balance is not None and credits.monthly_used == 0 else UNKNOWN)
    if credits.runway_seconds == inf:
        return Cell(UNLIMITED)
    return Cell(duration(credits.runway_seconds) if credits.runway_seconds else "used up")


def _quota(fill: Fill | None, write: Callable[[float | None], str]) -> Cell:
    if fill is None:
        return Cell(NONE)
    if fill.used is None and fill.ratio is None:
        return Cell(UNKNOWN)
    if fill.ratio is None or fill.limit == inf:
        return Cell(write(fill.used), UNLIMITED if fill.limit == inf else f"limit {write(fill.limit)}")
    return Cell(percent(fill.ratio), f"{write(fill.used)} of {write(fill.limit)}", bar_of(fill))


def bar_of(fill: Fill) -> Bar | None:
    """Return the bar of a used share, if it is known."""
    if fill.ratio is None:
        return None
    return _bar(fill.ratio, fill.warning_from, fill.critical_from, fill.level or "")


def _bar(ratio: float, warning: float, critical: float, level: str) -> Bar:
    ticks = "".join(f"M{_width(at)} 0v6" for at in (warning, critical) if 0 < at < 1)
    return Bar(level, _width(ratio), ticks)


def _width(ratio: float) -> str:
    return f"{min(max(ratio, 0.0), 1.0) * 100:.4g}"


def _last(account: Summary, now: float) -> Cell:
    at = account.last_poll
    return Cell("never") if at is None else Cell(past(now - at), at=iso(at))


def _next(account: Summary, now: float) -> Cell:
    rest, due = account.cooldown_until, account.next_poll
    if rest is not None:
        return Cell("cool-down", f"{duration(rest - now)} more", at=iso(rest))
    if due is None:
        return Cell(UNKNOWN)
    late = now - due
    text = f"in {duration(-late)}" if late < -1 else "now" if late < _LATE_SECONDS else f"{duration(late)} late"
    return Cell(text, at=iso(due))
