"""Which accounts use the same key."""

from __future__ import annotations

import threading
from collections.abc import Callable

from exporter.account_id import AccountId
from exporter.state.base import KeyTarget


class Sharing:
    """The accounts of each key, known from their last polls; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: dict[AccountId, KeyTarget] = {}
        self._accounts: dict[KeyTarget, set[AccountId]] = {}

    def note(self, account: AccountId, target: KeyTarget) -> None:
        """Note that the account uses this key now, and no other."""
        with self._lock:
            if self._targets.get(account) != target:
                self._drop(account)
                self._targets[account] = target
                self._accounts.setdefault(target, set()).add(account)

    def others(self, account: AccountId, target: KeyTarget) -> list[AccountId]:
        """Return the other accounts that use this key."""
        with self._lock:
            return [other for other in self._accounts.get(target, ()) if other != account]

    def forget(self, keep: Callable[[AccountId], bool]) -> None:
        """Drop the accounts that are no longer there."""
        with self._lock:
            accounts = list(self._targets)
        gone = [account for account in accounts if not keep(account)]
        with self._lock:
            for account in gone:
                self._drop(account)

    def _drop(self, account: AccountId) -> None:
        target = self._targets.pop(account, None)
        if target is not None:
            self._accounts[target].discard(account)
            if not self._accounts[target]:
                del self._accounts[target]
