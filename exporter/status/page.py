"""Serves the status page as HTML and as JSON, and the files that the HTML needs.

The server sorts and filters. The script of the page only fetches the page again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.metrics.negotiation import gzip_accepted
from exporter.metrics.view import View
from exporter.options import Options
from exporter.runtime.clock import Clock
from exporter.status.cells import COLUMNS, row
from exporter.status.json import as_json
from exporter.status.selection import SORTS, Selection
from exporter.status.summary import EXPLANATIONS, SEVERITIES, Summary, summary
from exporter.status.words import iso
from exporter.web.messages import Request, Response, Route, text_response

if TYPE_CHECKING:
    from jinja2 import Template

ROWS = 1000
"""Accounts on one page of the table."""
_HERE = Path(__file__).parent
_ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_UNREACHABLE = frozenset({"connection", "timeout"})


class StatusPage:
    """Shows the accounts of ``views`` as HTML and as JSON."""

    def __init__(self, views: Callable[[], Sequence[View]], clock: Clock, options: Options, version: str) -> None:
        self._views = views
        self._clock = clock
        self._options = options
        self._version = version
        self._assets = {name: (_HERE / "static" / name).read_bytes() for name in _ASSETS}

    @cached_property
    def _template(self) -> Template:
        """The compiled page. It is made when a page is first asked for, because a start must not wait for it."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals |= {
            # The address of an asset contains a hash of its content, so a browser may cache it forever.
            "assets": {name: f"static/{name}?v={_digest(data)}" for name, data in self._assets.items()},
            "links": {
                "Metrics": self._options.telemetry_path.lstrip("/"),
                "JSON": "api/v1/accounts",
                "Healthy": "-/healthy",
                "Ready": "-/ready",
            },
            "version": self._version,
            "shard": self._shard(),
            "sorts": SORTS,
            "columns": COLUMNS,
            "words": {severity: severity.capitalize() for severity in SEVERITIES} | {"ok": "OK"},
        }
        return environment.get_template("page.html")

    def _shard(self) -> str:
        index, count = self._options.shard_index, self._options.shard_count
        return f"shard {index} of {count}" if count > 1 else ""

    def routes(self) -> dict[str, Route]:
        """Return the routes of the page. Both views of the accounts run in a thread, so that no scrape waits."""
        assets = {f"/static/{name}": Route(self._serve_asset) for name in _ASSETS}
        return {
            "/": Route(self._serve_page, threaded=True),
            "/api/v1/accounts": Route(self._serve_json, threaded=True),
            **assets,
        }

    def _serve_page(self, request: Request) -> Response:
        try:
            selection = Selection.parse(request.query)
        except ValueError as error:
            return text_response(400, str(error))
        return _response(request, self._page(selection).encode("utf-8", "replace"), "text/html; charset=utf-8")

    def _serve_json(self, request: Request) -> Response:
        try:
            selection = Selection.parse(request.query)
        except ValueError as error:
            return text_response(400, str(error))
        now = self._clock.wall()
        document = {
            "generated": iso(now),
            "version": self._version,
            "shard": {"index": self._options.shard_index, "count": self._options.shard_count},
        }
        # Encode account by account, because one call for all would block other threads, and with them scrapes.
        accounts = ",\n".join(
            json.dumps(as_json(account), allow_nan=False)
            for account in selection.chosen(selection.found(self._accounts(now)))
        )
        body = f'{json.dumps(document)[:-1]}, "accounts": [\n{accounts}\n]}}\n'
        return _response(request, body.encode(), "application/json")

    def _serve_asset(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2]
        keep = (("cache-control", "max-age=31536000, immutable"),)
        return Response(200, self._assets[name], _ASSETS[name], keep)

    def _accounts(self, now: float) -> list[Summary]:
        return [summary(view, now) for view in self._views()]

    def _page(self, selection: Selection) -> str:
        now = self._clock.wall()
        accounts = self._accounts(now)
        found = selection.found(accounts)
        chosen = selection.chosen(found)
        first = (selection.page - 1) * ROWS
        shown = chosen[first : first + ROWS]
        counts = Counter(account.severity for account in found)
        return self._template.render(
            selection=selection,
            title=_title(Counter(account.severity for account in accounts)),
            generated=iso(now),
            notice=_notice(accounts, self._options.shard_count > 1),
            total=len(accounts),
            counts={"": len(found), **{severity: counts[severity] for severity in SEVERITIES}},
            providers=sorted({account.provider for account in accounts} | ({selection.provider} - {""})),
            matching=len(chosen),
            first=first + 1,
            accounts=[row(account, now) for account in shown],
            more=first + ROWS < len(chosen),
        )


def _title(counts: Counter[str]) -> str:
    """Return the title of the browser's tab, which tells what is wrong while another tab is open."""
    wrong = [f"{counts[severity]} {severity}" for severity in SEVERITIES[:-1] if counts[severity]]
    return ", ".join(wrong) or "all OK"


def _notice(accounts: Sequence[Summary], sharded: bool) -> str:
    """Return a sentence about all accounts together, or an empty text."""
    if not accounts:
        return "This exporter polls no account" + (", because none belongs to this shard." if sharded else ".")
    if all(account.up is None for account in accounts):
        return "No account has been polled yet. The first responses come in a moment."
    reasons = {account.failure.reason if account.failure else "" for account in accounts}
    if len(accounts) == 1 or "" in reasons:
        return ""
    if reasons <= _UNREACHABLE:
        return "No vendor can be reached. Check the exporter's own network, DNS and proxy first."
    if len(reasons) == 1:
        return f"The last poll of every account failed for the same reason. {EXPLANATIONS[reasons.pop()]}"
    return "The last poll of every account failed, for several reasons."


def _response(request: Request, body: bytes, content_type: str) -> Response:
    if not gzip_accepted(request.headers.get("accept-encoding", "")):
        return Response(200, body, content_type, (("vary", "accept-encoding"),))
    headers = (("vary", "accept-encoding"), ("content-encoding", "gzip"))
    return Response(200, gzip.compress(body, 1), content_type, headers)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
