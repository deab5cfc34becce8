"""Keeps the latest state of each account and withdraws data that is too old."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.metrics.family import Family
from exporter.metrics.grid import SEGMENT
from exporter.metrics.page import Exposition
from exporter.metrics.render import Renderer
from exporter.metrics.view import View
from exporter.readings import AccountState, AutoRecharge, Invoices, Usage
from exporter.runtime.clock import Clock

BILLING_STALE_AFTER_SECONDS = 3 * 3600.0
"""Age at which invoices and auto recharge are withdrawn. They are asked for once an hour."""


@dataclass(slots=True)
class _Entry:
    account: Account
    state: AccountState
    render: Renderer
    first_poll_done: bool
    shown: View | None = None
    """What the page shows of the account, or None if that is not known."""
    expiry: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The wall time at which each part came, and the monotonic time at which it becomes stale."""
    looked: tuple[View, float] | None = None
    """The last view, and the monotonic time at which a part of it becomes stale."""


class Store:
    """Keeps the states of all accounts, and renews the text of an account when its state changes. Thread-safe."""

    def __init__(
        self,
        exposition: Exposition,
        clock: Clock,
        poll_order: Callable[[Account], tuple[float, float]] = lambda _: (0.0, 0.0),
    ) -> None:
        """Sort the accounts of a large page by ``poll_order``.

        What changes between two scrapes lies together then, and each scrape compresses a few segments again. In a
        small page every segment has all accounts.
        """
        self._exposition = exposition
        self._clock = clock
        self._poll_order = poll_order
        self._lock = threading.Lock()
        self._names: tuple[str, ...] = ()
        self._entries: dict[AccountId, _Entry] = {}
        self._ageing: list[tuple[float, AccountId]] = []

    def replace(
        self,
        accounts: Sequence[Account],
        label_names: Sequence[str],
        restored: Mapping[AccountId, AccountState],
    ) -> None:
        """Serve these accounts only. A known account keeps its state, a new one gets its restored state."""
        with self._lock:
            names = ("provider", "account", *label_names)
            same_labels, self._names = names == self._names, names
            in_page = sorted(accounts, key=self._poll_order) if len(accounts) > SEGMENT else accounts
            self._exposition.reset([account.id for account in in_page])
            entries: dict[AccountId, _Entry] = {}
            try:
                for number, account in enumerate(in_page):
                    if number % SEGMENT == 0:
                        self._exposition.pack()
                    entries[account.id] = self._entry(account, same_labels, restored)
            except BaseException:
                for entry in self._entries.values():
                    entry.shown = None  # the page has lost it, or shows it with what was refused
                raise
            # Replace the dict in one step. Polls and /-/ready read it without the lock, and a poll that found no state
            # for its account would start its counters at 0.
            self._entries = {account.id: entries[account.id] for account in accounts}

    def _entry(self, account: Account, same_labels: bool, restored: Mapping[AccountId, AccountState]) -> _Entry:
        """Return the entry of an account, shown on the page."""
        key = account.id
        before = self._entries.get(key)
        if before is not None and before.shown is not None and before.account is account and same_labels:
            return before
        values = (*key, *(account.labels.get(name, "") for name in self._names[2:]))
        state = before.state if before else restored.get(key, AccountState())
        entry = _Entry(
            account,
            state,
            Renderer(self._names, values),
            first_poll_done=before.first_poll_done if before else _was_tried(state),
            expiry=before.expiry if before and before.account.stale_after == account.stale_after else {},
        )
        self._show(key, entry)
        return entry

    def account(self, key: AccountId) -> Account | None:
        """Return the account's present configuration, or None if it is not served."""
        entry = self._entries.get(key)
        return entry.account if entry else None

    def state(self, key: AccountId) -> AccountState:
        """Return the account's latest state."""
        entry = self._entries.get(key)
        return entry.state if entry else AccountState()

    def publish(self, account: Account, state: AccountState, *, first_poll_done: bool = True) -> bool:
        """Show a new state. Return False if the account is no longer served with this configuration.

        ``first_poll_done`` tells that the account's first poll ended or that its key is in cool-down.
        Raises ValueError and keeps the old state if a value cannot be exported.
        """
        key = account.id
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.account is not account:
                return False
            shown = entry.state
            entry.state = state
            try:
                self._show(key, entry)
            except ValueError:
                entry.state = shown
                raise
            entry.first_poll_done = entry.first_poll_done or first_poll_done
            return True

    def first_polls_done(self, waiting: Collection[AccountId] = ()) -> bool:
        """Return whether every account but ``waiting`` was polled once, restored, or found in cool-down.

        Takes no lock.
        """
        return all(entry.first_poll_done or key in waiting for key, entry in self._entries.items())

    def withdraw_stale(self, most: float = float("inf")) -> bool:
        """Withdraw the data that became too old since the last call. Call this before each scrape.

        Return False if more than ``most`` parts became too old, and leave the rest to another call.
        """
        now = self._clock.monotonic()
        with self._lock:
            while self._ageing and self._ageing[0][0] <= now:
                at, key = self._ageing[0]
                entry = self._entries.get(key)
                is_stale = entry is not None and any(at == stale_at for _, stale_at in entry.expiry.values())
                if is_stale and most <= 0:
                    return False
                heapq.heappop(self._ageing)
                if entry is not None and is_stale:
                    most -= 1
                    self._show(key, entry)
        return True

    def views(self) -> list[View]:
        """Return the data of each account that may be shown now, in the configured order. Takes no lock.

        The view of an account stays the same object until its state changes or a part becomes stale.
        """
        return [self._view(entry) for entry in self._entries.values()]

    def view(self, key: AccountId) -> View | None:
        """Return the data of an account that may be shown now, or None if it is not served."""
        entry = self._entries.get(key)
        return self._view(entry) if entry else None

    def _show(self, key: AccountId, entry: _Entry) -> None:
        self._age(key, entry)
        view = self._view(entry)
        self._exposition.put(key, [_fragment(entry, family, view) for family in self._exposition.families])
        entry.shown = view

    def _age(self, key: AccountId, entry: _Entry) -> None:
        """Note when each part becomes stale, by the monotonic clock, so that a jump of the wall clock ages nothing."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for part, came in entry.state.part_times.items():
            if entry.expiry.get(part, (None, 0.0))[0] == came:
                continue
            limit = entry.account.stale_after
            if part != "usage":
                limit = max(limit, BILLING_STALE_AFTER_SECONDS)
            stale_at = now + limit - max(0.0, wall - came)
            entry.expiry[part] = came, stale_at
            heapq.heappush(self._ageing, (stale_at, key))

    def _view(self, entry: _Entry) -> View:
        now, state, looked = self._clock.monotonic(), entry.state, entry.looked
        if looked is not None and looked[0].state is state and now < looked[1]:
            return looked[0]
        ends = {part: entry.expiry[part] for part in state.parts if part in entry.expiry}
        fresh = {part: state.parts[part] for part, (_, stale_at) in ends.items() if stale_at > now}
        usage, invoices, recharge = fresh.get("usage"), fresh.get("invoices"), fresh.get("auto_recharge")
        view = View(
            entry.account,
            state,
            usage if isinstance(usage, Usage) else None,
            invoices if isinstance(invoices, Invoices) else None,
            recharge if isinstance(recharge, AutoRecharge) else None,
        )
        # A poll that ends now may have put in the state, but not yet when its parts become stale.
        if all(ends.get(part, (None, 0.0))[0] == state.part_times.get(part) for part in state.parts):
            entry.looked = view, min((ends[part][1] for part in fresh), default=inf)
        return view


def _was_tried(state: AccountState) -> bool:
    return state.polls > 0 or state.cooldown_until is not None


def _fragment(entry: _Entry, family: Family, view: View) -> bytes | None:
    """Return a family's text, or None if it has not changed. Comparing samples costs a tenth of writing them."""
    samples = tuple(family.samples(view))
    if entry.shown is not None and samples == tuple(family.samples(entry.shown)):
        return None
    return entry.render(family, samples)
