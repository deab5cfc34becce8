"""The rules of `state:`: where it is, given in one way, and what a database needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from exporter.config.account_rules import Head, beside
from exporter.config.document import Map
from exporter.config.report import Report
from exporter.config.state_schema import StateBlock
from exporter.state.source import URL_FIELDS, StateSource


def state_source(head: Head, environ: Mapping[str, str], report: Report) -> StateSource | None:
    """Return where the state is kept, or None where nothing outlives the process."""
    location, block = head.location.at("state"), head.checked.model.state
    raw = head.location.document.value["state"] if block is not None else None
    if block is None or not isinstance(raw, Map) or any(head.checked.hits("state", name) for name in raw):
        return None
    given = [name for name in ("path", *URL_FIELDS) if name in raw]
    if len(given) > 1:
        both = " and ".join(given)
        report.problem(location.at(given[-1]), f"the state is given in more than one way: {both}. Keep one")
    if len(given) != 1:
        return None
    if block.path is not None:
        return StateSource("path", beside(head.location, block.path))
    if find_spec("psycopg") is None:
        report.problem(
            location.at(given[0]), "needs the package psycopg. Install video-api-exporter with the extra postgresql"
        )
        return None
    source = _database(head, block, environ)
    try:
        source.url()
    except ValueError as error:
        report.doubt(location.at(given[0]), str(error))
    return source


def _database(head: Head, block: StateBlock, environ: Mapping[str, str]) -> StateSource:
    if block.url_file is not None:
        return StateSource("url_file", beside(head.location, block.url_file))
    if block.url_env is not None:
        return StateSource("url_env", block.url_env, environ)
    return StateSource("url", block.url or "")
