"""Serves the page of one account: what it is now and why, and what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from exporter.account_id import AccountId
from exporter.charts.axes import date_text
from exporter.metrics.view import View
from exporter.readings import Kept, PollRecord, Series
from exporter.runtime.clock import Clock
from exporter.state.base import DAY, HOUR, AccountHistory
from exporter.status import figures, tables
from exporter.status.cells import COLUMNS, row
from exporter.status.csv import as_csv, attachment
from exporter.status.figures import Figure, Stretch
from exporter.status.layout import Layout, packed
from exporter.status.movements import by_operation, finest, movements
from exporter.status.past import Past
from exporter.status.summary import Summary, summary
from exporter.status.words import iso
from exporter.web.messages import Request, Response, Route, text_response

RUNBOOKS = "https://video-api-exporter.github.io/video-api-exporter/runbooks/#"
"""The address of the runbooks, as the alerts have it."""
DAYS, MONTHS = 8, 400
"""Days of the charts of hours and of the charts of days."""
_YOUNG_DAYS = 30
"""Days that the charts of days have at least."""
_FORECASTS = ("VideoApiCreditsRunOutSoon", "VideoApiCreditsRunOutBeforeReset", "VideoApiSpendSpike")
"""The alerts that judge how fast the credits go. Their rules look at more than a page can."""


@dataclass
class AccountPast:
    """What the state has of the account."""

    hours: Series = field(default_factory=Series)
    days: Series = field(default_factory=Series)
    polls: list[PollRecord] = field(default_factory=list)


class AccountPage:
    """Shows one account. ``view`` returns it, or None if it is not served. ``kept`` returns what the history keeps."""

    def __init__(
        self,
        view: Callable[[AccountId], View | None],
        past: Past,
        layout: Layout,
        clock: Clock,
        kept: Callable[[], Kept],
    ) -> None:
        self._view = view
        self._kept = kept
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
            missing = missing or _begins(history, self._kept())
            return self._layout.page(request, "account.html", "../../", **_values(view, history, missing, now))
        if missing:
            return text_response(503, missing)
        table = packed(request, as_csv(history.hours, history.days).encode(), "text/csv; charset=utf-8")
        return replace(table, headers=(*table.headers, attachment(view.account.id)))


def _history(state: AccountHistory, account: AccountId, begin: float, now: float) -> AccountPast:
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
    sections = _sections(account, days, months, operations)
    shown = row(replace(account, quotas=()), now)  # because they have a table of their own
    return {
        "account": account,
        "row": shown,
        "cards": list(zip(COLUMNS.values(), shown.columns, strict=True)),
        "generated": iso(now),
        "runbooks": RUNBOOKS,
        "forecasts": _FORECASTS,
        "facts": list(tables.facts(view, account, now)),
        "missing": missing,
        "sections": sections,
        "ahead": any('class="ahead"' in figure.svg for figure in sections["Balance"]),
        "operations": tables.operations(days, months),
        "months": months.words.removeprefix("the "),
        "spent": list(tables.spent(view, days, months, now)),
        "paces": list(tables.paces(account, days, now)),
        "unit": account.credits.unit,
        "has_price": tables.price_of(view) is not None,
        "quotas": list(tables.quotas(account, now)),
        "polls": [tables.poll(each) for each in history.polls],
        "rejected": [name for part in view.state.parts.values() for name in part.rejected],
    }


def _parts(history: AccountPast, now: float) -> tuple[Stretch, Stretch]:
    first = history.days.at[0] if len(history.days) else now
    begin = max(now - MONTHS * DAY, min(first, now - _YOUNG_DAYS * DAY))
    words = "the last 13 months" if begin <= now - MONTHS * DAY else f"since {date_text(first, exact=False)}"
    return (
        Stretch("days", "the last 8 days", HOUR, now - DAYS * DAY, now, history.hours, movements(history.hours, HOUR)),
        Stretch("months", words, DAY, begin, now, history.days, movements(finest(history.hours, history.days), DAY)),
    )


def _begins(history: AccountPast, kept: Kept) -> str:
    """Return when charts begin, or an empty text if there are some."""
    if len(history.hours) > 1 or len(history.days) > 1:
        return ""
    if not any(kept):
        return (
            "There are no charts, because the configuration keeps no history. history.hourly and history.daily are 0."
        )
    second = "hour" if kept.hourly else "day"
    return f"The history has one reading so far, or none. Charts begin with the second {second}."


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
