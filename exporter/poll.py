"""The command ``poll``, which polls accounts once within the daemon's limits and prints the result."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exporter import __version__
from exporter.account_id import AccountId, full_name
from exporter.config.accounts import Account, Config
from exporter.config.load import load
from exporter.errors import UsageError
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits, Wait
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.runtime import garbage
from exporter.runtime.clock import SystemClock
from exporter.runtime.output import write
from exporter.runtime.redaction import Redactor
from exporter.state.opening import open_state
from exporter.status.cells import named_quota
from exporter.status.json import as_json
from exporter.status.summary import EXPLANATIONS, CreditSummary, Fill, Summary, summary
from exporter.status.words import amount, percent
from exporter.transport.transports import Transports

logger = logging.getLogger(__name__)

_MAX_QUOTAS = 20
"""Named quotas that are printed of an account."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An account after its poll, the paths of rejected fields, and why it had to wait, if it had to."""

    account: Summary
    rejected: list[str]
    waits: str | None


def poll_once(path: Path, names: Sequence[str], output: str, environ: Mapping[str, str], redactor: Redactor) -> int:
    """Poll the named accounts, or all, and print the result. Return 1 if an account failed or had to wait."""
    config = load(path, PROVIDERS, environ)
    garbage.collect()
    accounts = _chosen(config, names)
    clock = SystemClock()
    metrics = SelfMetrics(__version__, "", 0, 1)
    exposition = Exposition(FAMILIES, metrics.registry, clock)
    store = Store(exposition, clock)
    state = open_state(config.state, clock, exclusive=False) if config.state else None
    try:
        restored = state.accounts.load(account.id for account in accounts) if state is not None else {}
        store.replace(accounts, config.label_names, restored)
        keys = state.keys if state is not None else None
        limits = Limits(clock, keys, lambda: int(not _is_shared(config)))
        transports, stopping = Transports(), threading.Event()
        poller = Poller(
            providers=config.providers,
            sender=Sender(transports.of, limits, redactor, clock, stopping.wait),
            store=store,
            save=lambda _account, state: state,  # only the daemon keeps the ledger
            metrics=metrics,
        )
        waits = _polled(poller, accounts, config.concurrency, [stopping.set, transports.abort])
    finally:
        if state is not None:
            state.accounts.close()
    outcomes = [
        Outcome(
            summary(view, clock.wall()),
            [path for part in view.state.parts.values() for path in part.rejected],
            _in_words(wait),
        )
        for view, wait in zip(store.views(), waits, strict=True)
    ]
    if output == "prometheus":
        write(exposition.body("", "").data)
    elif output == "json":
        rows = [{**as_json(each.account), "rejected": each.rejected, "waits": each.waits} for each in outcomes]
        write(json.dumps(rows, indent=2) + "\n")
    else:
        write(_table(outcomes) + "\n")
    return 1 if any(each.account.failure or each.waits for each in outcomes) else 0


def _polled(
    poller: Poller, accounts: Sequence[Account], concurrency: int, cut: Sequence[Callable[[], None]]
) -> list[Wait | None]:
    """Poll all accounts, and return why any of them had to wait. Call all of ``cut`` if the user interrupts this."""
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            waits = list(pool.map(lambda account: poller.poll(account).wait, accounts))
        except KeyboardInterrupt:
            for step in cut:
                step()  # because the end of the block waits for the polls that are running
            pool.shutdown(cancel_futures=True)
            raise
    if any(wait is not None and wait.reason == "state" for wait in waits):
        logger.error("the state database cannot be reached. Nothing was sent with keys that others may use")
    return waits


def _is_shared(config: Config) -> bool:
    """Return whether processes elsewhere may use the keys, so that the state must admit each request."""
    return config.state is not None and config.state.kind != "path"


def _chosen(config: Config, names: Sequence[str]) -> list[Account]:
    if not names:
        return list(config.accounts)
    chosen: dict[AccountId, Account] = {}
    mistakes = []
    for name in names:
        found = [a for a in config.accounts if name in (a.name, full_name(a.id))]
        if not found:
            known = ", ".join(full_name(a.id) for a in config.accounts[:10])
            more = ", …" if len(config.accounts) > 10 else ""
            mistakes.append(f"poll: there is no such account. The accounts are {known}{more}")
        elif len(found) > 1:
            full = " or ".join(full_name(a.id) for a in found)
            mistakes.append(f"poll: several providers have an account named {name!r}. Write {full}")
        else:
            chosen[found[0].id] = found[0]
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return list(chosen.values())


def _in_words(wait: Wait | None) -> str | None:
    if wait is None:
        return None
    if wait.reason == "state":
        return "not polled, because the state database cannot be reached, and others may use the key"
    why = {
        "cooldown": "the vendor put this key into cool-down",
        "budget": "the key has used all its requests of this minute",
        "refused": "the vendor refused this key before. Replace it, or reload the daemon's configuration",
    }
    return f"not polled for another {wait.seconds:.0f} s, because {why[wait.reason]}"


def _table(outcomes: Sequence[Outcome]) -> str:
    """Return a table with one line for each account, and explanations of failures below it."""
    lines = [("ACCOUNT", "RESULT", "BALANCE", "MONTHLY LIMIT", "PLAN", "STORAGE", "CHANNELS")]
    notes = []
    for outcome in outcomes:
        account, failure = outcome.account, outcome.account.failure
        name = _printable(f"{account.provider}/{account.name}")
        result = "waits" if outcome.waits else failure.reason if failure else "ok"
        if outcome.waits:
            notes.append(f"{name}: {outcome.waits}")
        elif failure:
            message = failure.message[:1].upper() + failure.message[1:]
            notes.append(f"{name}: {EXPLANATIONS[failure.reason]} {_printable(message)}")
        elif account.subscription == "none":
            result = "no subscription"
        elif any("has no balance" in problem.text for problem in account.attention):
            notes.append(f"{name}: the response has no balance that can be read")
        if account.quotas and not failure:
            quotas = ", ".join(named_quota(quota) for quota in account.quotas[:_MAX_QUOTAS])
            notes.append(f"{name}: {_printable(quotas)}")
        if outcome.rejected:
            notes.append(f"{name}: fields that could not be read: {_printable(', '.join(outcome.rejected[:10]))}")
        lines.append(
            (
                name,
                result,
                _amount(account.credits.balance) + _unit(account.credits),
                _amount(account.credits.monthly_limit),
                _printable(account.plan or "-"),
                _share(account.storage),
                _share(account.channels),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*table, "", *notes] if notes else table)


def _amount(value: float | None) -> str:
    return "-" if value is None else amount(value)


def _unit(credits: CreditSummary) -> str:
    return "" if credits.unit == "credits" or credits.balance is None else f" {_printable(credits.unit)}"


def _share(fill: Fill | None) -> str:
    return "-" if fill is None or fill.ratio is None else percent(fill.ratio, space="")


def _printable(text: str) -> str:
    """Replace control characters in a text from outside, because they could control the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
