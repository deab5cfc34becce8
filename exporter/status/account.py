"""Serves the page of one account: what it is now and why, and what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from exporter.charts.axes import date_text
from exporter.metrics.view import View
from exporter.readings import AccountKey, PollRecord, Series
from exporter.runtime.clock import Clock
from exporter.state.base import DAY, HOUR, AccountHistory
from exporter.status import figures
from exporter.status.cells import COLUMNS, Bar, bar_of, row
from exporter.status.csv import as_csv
from exporter.status.figures import Figure, Stretch
from exporter.status.layout import Layout, packed
from exporter.status.movements import by_operation, finest, movements, totals
from exporter.status.past import Past
from exporter.status.summary import EXPLANATIONS, Summary, summary
from exporter.status.words import amount, duration, iso, money, past, percent
from exporter.web.messages import Request, Response, Route, text_response

RUNBOOKS = "https://video-api-exporter.github.io/video-api-exporter/runbooks/#"
"""The address of the runbooks, as the alerts have it."""
DAYS, MONTHS = 8, 400
"""Days of the charts of hours and of the charts of days."""
_YOUNG_DAYS = 30
"""Days that the charts of days have at least."""
_SPANS = (("last 24 hours", 1), ("last 8 days", 8), ("last 30 days", 30))
_PACES = (("hour", 1), ("6 hours", 6), ("day", 24), ("week", 168))
_FORECASTS = ("VideoApiCreditsRunOutSoon", "VideoApiCreditsRunOutBeforeReset", "VideoApiSpendSpike")
"""The alerts that judge how fast the credits go. Their rules look at more than a page can."""


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


@dataclass
class AccountPast:
    """What the state has of the account."""

    hours: Series = field(default_factory=Series)
    days: Series = field(default_factory=Series)
    polls: list[PollRecord] = field(default_factory=list)


class AccountPage:
    """Shows one account. ``view`` returns it, or None if it is not served."""

    def __init__(self, view: Callable[[AccountKey], View | None], past: Past, layout: Layout, clock: Clock) -> None:
        self._view = view
        self._past = past
        self._layout = layout
        self._clock = clock

    def routes(self) -> dict[str, Route]:
        """Return the route of all accounts. It runs in a thread, because it reads the state."""
        return {"/accounts/": Route(self._serve, threaded=True)}

    def _serve(self, request: Request) -> Response:
        # The name of an account may have a slash, that of a provider has none.
        provider, _, name = request.path.removeprefix("/accounts/").partition("/")
        view = self._view((provider, name))
        if view is None:
            return text_response(
                404, "404 Not Found: this exporter serves no such account. The page at / lists them all."
            )
        form, now = request.query.get("format", "html"), self._clock.wall()
        if form not in ("html", "csv"):
            return text_response(400, f"format={form}: must be html or csv")
        begin = now - MONTHS * DAY
        if form == "csv":
            begin = 0.0
        history, missing = self._past.read(lambda state: _history(state, view.account.id, begin, now), AccountPast())
        if form == "html":
            return self._layout.page(request, "account.html", "../../", **_values(view, history, missing, now))
        if missing:
            return text_response(503, missing)
        return packed(request, as_csv(history.hours, history.days).encode(), "text/csv; charset=utf-8")


def _history(state: AccountHistory, account: AccountKey, begin: float, now: float) -> AccountPast:
    hourly = max(begin, now - DAYS * DAY) if begin else 0.0
    return AccountPast(
        state.readings(account, HOUR, hourly, now + 1),
        state.readings(account, DAY, begin, now + 1),
        state.polls(account),
    )


def _values(view: View, history: AccountPast, missing: str, now: float) -> dict[str, object]:
    """Return what the template shows."""
    account = summary(view, now)
    days, months = _parts(history, now)
    operations = list(by_operation(months.changes))[: figures.OPERATIONS]
    shown = row(account, now)
    return {
        "account": account,
        "row": shown,
        "cards": list(zip(COLUMNS.values(), shown.columns, strict=True)),
        "generated": iso(now),
        "runbooks": RUNBOOKS,
        "forecasts": _FORECASTS,
        "facts": list(_facts(view, account, now)),
        "missing": missing or _begins(history),
        "sections": _sections(account, days, months, operations),
        "operations": _operations(days, months),
        "months": months.words.removeprefix("the "),
        "spent": list(_spent(view, days, months, now)),
        "paces": list(_paces(account, days, now)),
        "unit": account.credits.unit,
        "has_price": view.account.price is not None,
        "quotas": list(_quotas(account, now)),
        "polls": [_poll(poll) for poll in history.polls],
        "rejected": [name for part in view.state.parts.values() for name in part.rejected],
    }


def _parts(history: AccountPast, now: float) -> tuple[Stretch, Stretch]:
    first = history.days.at[0] if len(history.days) else now
    begin = max(now - MONTHS * DAY, min(first, now - _YOUNG_DAYS * DAY))
    words = "the last 13 months" if begin == now - MONTHS * DAY else f"since {date_text(begin, exact=False)}"
    return (
        Stretch("days", "the last 8 days", HOUR, now - DAYS * DAY, now, history.hours, movements(history.hours, HOUR)),
        Stretch("months", words, DAY, begin, now, history.days, movements(finest(history.hours, history.days), DAY)),
    )


def _begins(history: AccountPast) -> str:
    if len(history.hours) > 1 or len(history.days) > 1:
        return ""
    return "The history has one reading so far, or none. Charts begin with the second hour."


def _sections(account: Summary, days: Stretch, months: Stretch, operations: list[str]) -> dict[str, list[Figure]]:
    """Return the charts under their headings, the last days before the months."""
    drawn = {
        "Balance": [figures.balance(part, account) for part in (days, months)],
        "Spend": [figures.spend(part, operations) for part in (days, months)],
        "Storage": [
            figures.share(part, account, "Storage", account.storage, part.series.storage) for part in (days, months)
        ],
        "Channels": [
            figures.share(part, account, "Channels", account.channels, part.series.channels) for part in (days, months)
        ],
    }
    return {heading: [figure for figure in each if figure is not None] for heading, each in drawn.items()}


def _facts(view: View, account: Summary, now: float) -> Iterator[tuple[str, str]]:
    credits, price = account.credits, view.account.price
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
        price_of = "" if invoice.last_amount is None else f", {invoice.last_amount:,.2f} {invoice.last_currency}"
        yield "Newest invoice", f"{invoice.last_status}{price_of}"


def _recharge(view: View) -> str:
    recharge = view.auto_recharge
    if recharge is None or not recharge.enabled:
        return "off"
    if recharge.amount is None or recharge.threshold is None:
        return "on"
    return f"{amount(recharge.amount)} below {amount(recharge.threshold)}"


def _operations(days: Stretch, months: Stretch) -> list[OperationRow]:
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


def _spent(view: View, days: Stretch, months: Stretch, now: float) -> Iterator[tuple[str, ...]]:
    """Yield what was spent, added and lapsed in several spans, as far as the history goes back."""
    price = view.account.price
    for words, length in (*_SPANS, (months.words.removeprefix("the "), MONTHS)):
        begin, part = now - length * DAY, days if length <= DAYS else months
        if length < MONTHS and (not part.changes or part.changes[0].after > begin):
            continue
        spent, added, lapsed = totals(part.changes, begin)
        worth = (money(spent, price),) if price is not None else ()
        yield words[0].upper() + words[1:], amount(spent), *worth, amount(added), amount(lapsed)


def _paces(account: Summary, days: Stretch, now: float) -> Iterator[tuple[str, str, str]]:
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


def _quotas(account: Summary, now: float) -> Iterator[tuple[str, str, str, str, Bar | None]]:
    for quota in account.quotas:
        ends = [
            f"{verb} in {duration(at - now)}"
            for verb, at in (("refilled", quota.resets_at), ("expires", quota.expires_at))
            if at is not None and at > now
        ]
        of = amount(quota.fill.used) + (f" of {amount(quota.fill.limit)}" if quota.fill.limit is not None else "")
        yield f"{quota.name} ({quota.unit})", of, amount(quota.remaining), ", ".join(ends), bar_of(quota.fill)


def _poll(poll: PollRecord) -> PollRow:
    at = iso(poll.at)
    return PollRow(
        at,
        at.replace("T", " ").replace("Z", " UTC"),
        f"{poll.seconds:.2f}\N{NO-BREAK SPACE}s",
        "" if poll.status is None else str(poll.status),
        poll.reason,
        EXPLANATIONS.get(poll.reason, ""),
        poll.message,
    )
