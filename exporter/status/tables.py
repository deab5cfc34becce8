"""The figures and tables of an account's page, as texts."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isfinite
from typing import NamedTuple

from exporter.charts.axes import date_text
from exporter.metrics.view import View
from exporter.providers.base import Price
from exporter.readings import PollRecord
from exporter.state.base import DAY, HOUR
from exporter.status import figures
from exporter.status.cells import Bar, bar_of
from exporter.status.figures import Stretch
from exporter.status.movements import by_operation, totals
from exporter.status.summary import EXPLANATIONS, Fill, Summary
from exporter.status.words import amount, duration, iso, money, past, percent

_SPANS = (("last 24 hours", 1), ("last 8 days", 8), ("last 30 days", 30))
_PACES = (("hour", 1), ("6 hours", 6), ("day", 24), ("week", 168))


class OperationRow(NamedTuple):
    """An operation with what it used in the last days and in the months, and its share of the latter."""

    name: str
    colour: int
    days: str
    months: str
    share: str
    bar: Bar


class PollRow(NamedTuple):
    """A poll as a row of the table."""

    at: str
    time: str
    took: str
    status: str
    reason: str
    explanation: str
    message: str


def price_of(view: View) -> Price | None:
    """Return what a credit costs, unless the credits are that money themselves."""
    price, usage = view.account.price, view.usage
    return None if price is not None and usage is not None and price == Price(1.0, usage.unit) else price


def facts(view: View, account: Summary, now: float) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of figures that the overview has no room for."""
    credits, price = account.credits, price_of(view)
    if price is not None:
        of = "Price of a credit" if credits.unit == "credits" else f"Price of one ({credits.unit})"
        yield of, f"{price.amount:g} {price.currency}"
        if credits.balance is not None and isfinite(credits.balance):
            yield "Balance in money", money(credits.balance, price)
    for name, value in (
        ("Monthly limit", credits.monthly_limit),
        ("Used this month", credits.monthly_used),
        ("Purchased", credits.purchased),
    ):
        if value is not None:
            worth = money(value, price)
            yield name, f"{amount(value)} {credits.unit}" + (f", {worth}" if worth else "")
    if account.period_end is not None:
        yield "End of the period", date_text(account.period_end, exact=True)
    yield "Polled every", duration(account.interval)
    good = account.last_success
    yield "Last good response", "none yet" if good is None else f"{date_text(good, exact=True)}, {past(now - good)}"
    if view.auto_recharge is not None and view.auto_recharge.enabled is not None:
        yield "Auto recharge", _recharge(view)
    if view.invoices is not None and view.invoices.last_status:
        invoice = view.invoices
        currency = invoice.last_currency.upper()
        amount_of = "" if invoice.last_amount is None else f", {invoice.last_amount:,.2f} {currency}"
        yield "Newest invoice", f"{invoice.last_status}{amount_of}"


def _recharge(view: View) -> str:
    recharge = view.auto_recharge
    if recharge is None or not recharge.enabled:
        return "off"
    if recharge.amount is None or recharge.threshold is None:
        return "on"
    return f"{amount(recharge.amount)} below {amount(recharge.threshold)}"


def operations(days: Stretch, months: Stretch) -> list[OperationRow]:
    """Return the use by operation, the largest first, and what no operation tells of."""
    lately, used = by_operation(days.changes), by_operation(months.changes)
    spent = [sum(change.spent for change in part.changes) for part in (days, months)]
    unsplit = spent[1] - sum(used.values())
    if used and unsplit > 0.005 * spent[1]:  # below that it is the rounding of the vendor
        lately[figures.UNSPLIT], used[figures.UNSPLIT] = max(0.0, spent[0] - sum(lately.values())), unsplit
    whole = sum(used.values())
    return [
        OperationRow(
            name,
            min(number, figures.OPERATIONS) + 1,
            amount(lately.get(name, 0.0)),
            amount(each),
            percent(each / whole),
            Bar("", f"{each / whole * 100:.4g}", ""),
        )
        for number, (name, each) in enumerate(used.items())
    ]


def spent(view: View, days: Stretch, months: Stretch, now: float) -> Iterator[tuple[str, ...]]:
    """Yield what was spent, added and lapsed in several spans, as far as the history goes back."""
    if view.usage is not None and view.usage.balance == inf:
        return  # the ledger counts what a balance loses
    price, whole = price_of(view), (now - months.begin) / DAY
    for words, length in (*_SPANS, (months.words.removeprefix("the "), whole)):
        begin, part = now - length * DAY, days if length * DAY <= now - days.begin else months
        if length != whole and (not part.changes or part.changes[0].after > begin):
            continue
        spent, added, lapsed = totals(part.changes, begin)
        worth = (money(spent, price),) if price is not None else ()
        yield words[0].upper() + words[1:], amount(spent), *worth, amount(added), amount(lapsed)


def paces(account: Summary, days: Stretch, now: float) -> Iterator[tuple[str, str, str]]:
    """Yield how long the balance lasts at the spend of the last hours and days."""
    balance = account.credits.balance
    if balance is None or not isfinite(balance) or not days.changes:
        return
    for words, hours in _PACES:
        if days.series.at[0] > now - hours * HOUR:
            continue
        spent, _, _ = totals(days.changes, now - hours * HOUR)
        lasts = "nothing spent" if not spent else duration(max(0.0, balance) / spent * hours * HOUR)
        yield f"Last {words}", amount(spent), lasts


def quotas(account: Summary, now: float) -> Iterator[tuple[str, str, str, str, Bar | None]]:
    """Yield the name, use, rest, end and bar of each named quota."""
    for quota in account.quotas:
        ends = [
            f"{verb} in {duration(at - now)}"
            for verb, at in (("refilled", quota.resets_at), ("expires", quota.expires_at))
            if at is not None and at > now
        ]
        left = inf if quota.remaining is None and quota.fill.limit == inf else quota.remaining
        yield f"{quota.name} ({quota.unit})", _use(quota.fill), amount(left), ", ".join(ends), bar_of(quota.fill)


def _use(fill: Fill) -> str:
    """Return what is used of a quota, and its limit."""
    used, limit = amount(fill.used), amount(fill.limit)
    if fill.limit is None:
        return used
    if fill.limit == inf:
        return f"{used}, without a limit"
    return f"{used}, the limit is {limit}" if fill.used is None else f"{used} of {limit}"


def poll(record: PollRecord) -> PollRow:
    """Return a poll as a row."""
    at = iso(record.at)
    return PollRow(
        at,
        at.replace("T", " ").replace("Z", " UTC"),
        f"{record.seconds:.2f}\N{NO-BREAK SPACE}s",
        "" if record.status is None else str(record.status),
        record.reason,
        EXPLANATIONS.get(record.reason, ""),
        record.message,
    )
