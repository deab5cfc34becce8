"""Saves the states of accounts and shows them, one change of an account at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.metrics.store import Store
from exporter.readings import AccountState
from exporter.runtime.logs import fields

logger = logging.getLogger(__name__)


class Commits:
    """Saves each state with ``save`` before the store shows it. Thread-safe.

    A poll that ends must not be undone by a change that was made of the state before it. So the changes of an account
    take turns. A slow save holds up few other accounts, because there are 64 locks.
    """

    def __init__(self, store: Store, save: Callable[[AccountId, AccountState], AccountState]) -> None:
        self._store = store
        self._save = save
        self._turns = [threading.Lock() for _ in range(64)]

    def commit(self, account: Account, state: AccountState) -> None:
        """Save a state and then show it, unless a reload has replaced the account."""
        with self._turn_of(account.id):
            if self._store.account(account.id) is account:
                self._store.publish(account, self._save(account.id, state))

    def change(
        self,
        key: AccountId,
        changed: Callable[[AccountState], AccountState],
        *,
        save: bool,
        first_poll_done: bool = True,
    ) -> None:
        """Show what ``changed`` makes of the present state of an account, and save it where that is wanted."""
        with self._turn_of(key):
            account = self._store.account(key)
            if account is not None:
                before = self._store.state(key)
                state = changed(before)
                if state is before and not save:
                    return
                state = self._save(key, state) if save else state
                self._store.publish(account, state, first_poll_done=first_poll_done)

    def receive(self, states: Mapping[AccountId, AccountState]) -> None:
        """Show the states that other replicas saved."""
        for key, state in states.items():
            with self._turn_of(key):
                account = self._store.account(key)
                if account is None or state.version <= self._store.state(key).version:
                    continue
                about = fields(provider=account.provider, account=account.name)
                try:
                    self._store.publish(account, state)
                except ValueError:  # it must not hold up the others
                    logger.exception("a state that another replica saved cannot be shown", extra=about)

    def _turn_of(self, account: AccountId) -> threading.Lock:
        return self._turns[hash(account) % len(self._turns)]
