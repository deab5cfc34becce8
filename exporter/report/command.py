"""The command ``report``. It reads the state beside a running exporter and writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Context, localcontext
from pathlib import Path

from exporter.config.accounts import Config
from exporter.config.load import load
from exporter.errors import StartError, StateUnavailableError, UsageError
from exporter.providers import PROVIDERS
from exporter.readings import Series
from exporter.report.booking import Booked, book
from exporter.report.html import as_html
from exporter.report.rows import Grouping
from exporter.report.span import Span, span_of
from exporter.report.spending import Spending, spending
from exporter.report.texts import as_csv, as_json, as_table
from exporter.runtime.output import tell, write
from exporter.state.base import DAY, AccountHistory
from exporter.state.opening import open_history

Days = tuple[str | None, str | None, str | None]
"""The values of --month, --from and --to."""
OUTPUTS: Mapping[str, Callable[[Spending], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
    "html": as_html,
}
_EXACT = Context(prec=1000)
"""As in the ledger, so that nothing is rounded."""


def report(path: Path, days: Days, by: str, output: str, environ: Mapping[str, str], now: float) -> int:
    """Print what was spent, and return the exit status. ``now`` is in Unix seconds."""
    if sys.stdout is None:
        raise StartError("report: standard output is closed, so there is nowhere to write")
    span = span_of(*days, now)
    config = load(path, PROVIDERS, environ)
    grouping = Grouping(by, config)
    if config.state is None:
        raise UsageError(f"report: {path} has no `state:`, so there is no history to report on")
    with localcontext(_EXACT):
        # A step for each day costs time, and says nothing where only sums are printed.
        daily = output in ("table", "html") or by in ("day", "month", "operation")
        try:
            with open_history(config.state) as history:
                found = spending(_accounts(history, config, span, now, daily=daily), grouping, span, now)
        except StateUnavailableError as error:
            raise StartError(f"report: {error}") from error
        write(OUTPUTS[output](found))
    if output in ("csv", "json"):
        for note in found.notes:
            tell(f"Note: {note}")
    return 0 if found.is_known else 1


def _accounts(history: AccountHistory, config: Config, span: Span, now: float, *, daily: bool) -> Iterator[Booked]:
    """Yield the accounts of the configuration, and those that were removed but have readings in the span."""
    missing = dict.fromkeys(account.id for account in config.accounts)
    end = min(span.end, now + 1)  # readings of a clock that ran ahead are not of the past
    for account, series in history.every_account(DAY, span.begin, end):
        booked = book(account, series, span.begin, daily=daily)
        if account in missing or booked.steps:
            missing.pop(account, None)
            yield booked
    for account in missing:
        yield Booked(account, Series())
