"""The polls of the daemon: those of all accounts, or where replicas share them, of the accounts that this one holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from exporter.account_id import AccountId
from exporter.config.accounts import Account, Config
from exporter.polling.holding import MANY, Holding
from exporter.polling.poller import Poller
from exporter.polling.scheduler import Scheduler
from exporter.polling.slots import Slots, poll_order
from exporter.readings import AccountState
from exporter.runtime.clock import Clock

GRACE_SECONDS = 2.0
"""Seconds that running polls have to end by themselves when the exporter stops. Then they are cut."""


class Polls:
    """Keeps the poller, its scheduler and, where replicas share the polls, the ``holding`` in step."""

    def __init__(
        self, poller: Poller, clock: Clock, observe_lag: Callable[[float], object], holding: Holding | None
    ) -> None:
        self._poller = poller
        self._clock = clock
        self._slots = Slots(clock)
        self._holding = holding
        self._concurrency = 1
        self.scheduler = Scheduler(self._poll, clock, observe_lag)
        if holding is not None:
            holding.attach(self._schedule, self._receive, self.scheduler.running, self._note_request)
        self.is_current = holding is None
        """Whether what other replicas saved until now is shown."""

    @property
    def waits_for_database(self) -> bool:
        """Return whether nothing is polled yet, because the state database was not reached since the start."""
        return self._holding is not None and not self._holding.has_reached_database

    @property
    def waiting(self) -> Collection[AccountId]:
        """Return the accounts that no replica polls, because one that does not know them has their key."""
        return self._holding.waiting if self._holding is not None else ()

    def use(self, config: Config, accounts: Sequence[Account]) -> None:
        """Poll these accounts by the rules of this configuration from now on."""
        self._concurrency = config.concurrency
        self._poller.use_providers(config.providers)
        if self._holding is None:
            self._schedule(accounts)
        else:
            self._holding.use(accounts, config.digest)

    def start(self) -> None:
        """Begin to poll."""
        self.scheduler.start()
        if self._holding is not None:
            self._holding.start()

    def stop(self, cut: Callable[[], None]) -> bool:
        """Stop polling, and ``cut`` what runs for too long. Return whether every poll has ended."""
        if self._holding is not None:
            self._holding.pause()
        if not self.scheduler.stop(GRACE_SECONDS):
            cut()
            if not self.scheduler.stop(1.0):
                return False
        if self._holding is not None:
            self._holding.leave()
        return True

    def _receive(self, states: Mapping[AccountId, AccountState]) -> None:
        self._poller.commits.receive(states)
        self.is_current = self.is_current or len(states) < MANY

    def _schedule(self, accounts: Sequence[Account]) -> None:
        self.is_current = self.is_current or bool(accounts)
        held = {account.id for account in accounts}
        self._poller.forget(held.__contains__)
        in_page = sorted(accounts, key=poll_order)  # the first round, which is due at once, goes along the page
        self.scheduler.replace(in_page, self._concurrency, self._poller.first_due)

    def _note_request(self, account: Account, at: float) -> None:
        """Take a request of ``at`` (monotonic seconds) for a poll, if a replica died before it saved the response.

        ``at`` may be the end of the request, which can be an interval later.
        """
        ahead = self._clock.wall() - self._clock.monotonic()

        def changed(state: AccountState) -> AccountState:
            wall, planned = at + ahead, state.next_poll or 0.0
            if wall < max(
                (state.last_poll or 0.0) + 1.0, planned - 1.0
            ):  # its response was saved, or it was taken before
                return state
            due = planned if wall - planned <= account.interval else wall
            following = self._slots.after(account.id, account.interval, due - ahead + account.interval / 2)
            return replace(state, next_poll=following + ahead)

        self._poller.commits.change(account.id, changed, save=False)

    def _poll(self, account: Account) -> float:
        result = self._poller.poll(account)
        if self._holding is not None:
            self._holding.note_wait(account.id, result.wait)
        return result.next_due
