"""Puts the pages together."""

from __future__ import annotations

from collections.abc import Callable

from exporter.metrics.store import Store
from exporter.options import Options
from exporter.readings import Kept
from exporter.runtime.clock import Clock
from exporter.status.account import AccountPage
from exporter.status.layout import Layout
from exporter.status.page import StatusPage
from exporter.status.past import OpenHistory, Past
from exporter.web.messages import Route


def routes(
    store: Store,
    history: OpenHistory | None,
    clock: Clock,
    options: Options,
    version: str,
    kept: Callable[[], Kept] = Kept,
) -> dict[str, Route]:
    """Return the routes of all pages over the accounts of ``store``.

    ``history`` is None without a state. ``kept`` returns how long the configuration in force keeps it.
    """
    layout, past = Layout(options, version), Past(history)
    pages = (StatusPage(store.views, past, layout, clock), AccountPage(store.view, past, layout, clock, kept))
    return {**layout.routes(), **pages[0].routes(), **pages[1].routes()}
