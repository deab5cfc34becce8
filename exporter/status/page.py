"""Serves the overview of all accounts, as HTML and as JSON.

The server sorts and filters. The script of the page only fetches the page again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from exporter.account_id import AccountId
from exporter.metrics.view import View
from exporter.readings import AccountState
from exporter.runtime.clock import Clock
from exporter.state.base import DAY, HOUR, Balance
from exporter.status.cells import COLUMNS, row
from exporter.status.figures import trend
from exporter.status.json import as_json
from exporter.status.layout import Layout, packed_pieces
from exporter.status.outline import Outlines
from exporter.status.past import Past
from exporter.status.selection import SORTS, Selection
from exporter.status.summary import EXPLANATIONS, SEVERITIES, summary
from exporter.status.words import iso
from exporter.web.messages import Request, Response, Route, text_response

ROWS = 1000
"""Accounts on one page of the table."""
_DETAILED_ROWS = 100
"""The most rows whose week has a point for each hour. Points for each day cost a tenth."""
_WEEK_SECONDS = 7 * 86_400.0
_PIECE = 200
"""Accounts in a piece of the JSON, which takes some 10 ms."""
_ENCODER = json.JSONEncoder(allow_nan=False)
_UNREACHABLE = frozenset({"connection", "timeout"})


class StatusPage:
    """Shows the accounts of ``views`` as HTML and as JSON."""

    def __init__(self, views: Callable[[], Sequence[View]], past: Past, layout: Layout, clock: Clock) -> None:
        self._outlines = Outlines(views)
        self._past = past
        self._layout = layout
        self._clock = clock

    def routes(self) -> dict[str, Route]:
        """Return the routes of the page. Both views of the accounts run in a thread, so that no scrape waits."""
        return {
            "/": Route(self._serve_page, threaded=True),
            "/api/v1/accounts": Route(self._serve_json, threaded=True),
        }

    def _serve_page(self, request: Request) -> Response:
        try:
            selection = Selection.parse(request.query)
        except ValueError as error:
            return text_response(400, str(error))
        return self._layout.page(request, "overview.html", "", **self._values(selection))

    def _serve_json(self, request: Request) -> Response:
        try:
            selection = Selection.parse(request.query)
        except ValueError as error:
            return text_response(400, str(error))
        return packed_pieces(request, self._json(selection), "application/json")

    def _json(self, selection: Selection) -> Iterator[bytes]:
        """Yield the accounts in pieces, because all of 100,000 take seconds and 500 MB."""
        now = self._clock.wall()
        index, count = self._layout.shard
        document = {"generated": iso(now), "version": self._layout.version, "shard": {"index": index, "count": count}}
        chosen = selection.in_order(selection.with_severity(selection.found(self._outlines.at(now), now)), now)
        text, comma = f'{json.dumps(document)[:-1]}, "accounts": [\n', ""
        while accounts := [summary(outline.view, now) for outline in islice(chosen, _PIECE)]:
            # Encode account by account, because one call for all would block other threads, and with them scrapes.
            yield (text + comma + ",\n".join(_ENCODER.encode(as_json(account)) for account in accounts)).encode()
            text, comma = "", ",\n"
        yield f"{text}\n]}}\n".encode()

    def _values(self, selection: Selection) -> dict[str, object]:
        now = self._clock.wall()
        accounts = self._outlines.at(now)
        found = selection.found(accounts, now)
        chosen = selection.with_severity(found)
        first = (selection.page - 1) * ROWS
        shown = [summary(each.view, now) for each in islice(selection.in_order(chosen, now), first, first + ROWS)]
        counts = Counter(account.severity for account in found)
        begin, keys = now - _WEEK_SECONDS, [(account.provider, account.name) for account in shown]
        none: Mapping[AccountId, Sequence[Balance]] = {}
        span = HOUR if len(shown) <= _DETAILED_ROWS else DAY
        balances, _ = self._past.read(lambda history: history.balances(keys, span, begin), none)
        providers = {account.view.account.provider for account in accounts}
        return {
            "selection": selection,
            "sorts": SORTS,
            "columns": COLUMNS,
            "title": _title(Counter(account.severity for account in accounts)),
            "generated": iso(now),
            "notice": _notice([account.view.state for account in accounts], self._layout.shard[1] > 1),
            "total": len(accounts),
            "counts": {"": len(found), **{severity: counts[severity] for severity in SEVERITIES}},
            "providers": sorted(providers | ({selection.provider} - {""})),
            "matching": len(chosen),
            "first": first + 1,
            "accounts": [
                row(account, now, trend(account, balances.get(key, ()), begin, now))
                for key, account in zip(keys, shown, strict=True)
            ],
            "more": first + ROWS < len(chosen),
        }


def _title(counts: Counter[str]) -> str:
    """Return the title of the browser's tab, which tells what is wrong while another tab is open."""
    wrong = [f"{counts[severity]} {severity}" for severity in SEVERITIES[:-1] if counts[severity]]
    return ", ".join(wrong) or "all OK"


def _notice(accounts: Sequence[AccountState], sharded: bool) -> str:
    """Return a sentence about all accounts together, or an empty text."""
    if not accounts:
        return "This exporter polls no account" + (", because none belongs to this shard." if sharded else ".")
    if not any(account.polls for account in accounts):
        return "No account has been polled yet. The first responses come in a moment."
    reasons = {account.failure.reason if account.failure else "" for account in accounts}
    if len(accounts) == 1 or "" in reasons:
        return ""
    if reasons <= _UNREACHABLE:
        return "No vendor can be reached. Check the exporter's own network, DNS and proxy first."
    if len(reasons) == 1:
        return f"The last poll of every account failed for the same reason. {EXPLANATIONS[reasons.pop()]}"
    return "The last poll of every account failed, for several reasons."
