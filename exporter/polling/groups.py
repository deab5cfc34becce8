"""The accounts of each key, which one replica polls together."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.errors import CredentialError, PollError
from exporter.readings import AccountState
from exporter.runtime.clock import Clock
from exporter.state.base import Group, KeyTarget, Peer

READ_SECONDS = 10.0
"""Seconds that the key files have. Then an account whose file is on a dead mount counts as one without a key."""


def owner(group: int, peers: Sequence[Peer]) -> int | None:
    """Return the id of the replica that polls a group, which is one that knows the most accounts of it.

    This is rendezvous hashing. A replica that comes or goes moves only the groups that it gets or had.
    """
    most = max((peer.groups.get(group, 0) for peer in peers), default=0)
    knowing = (peer.id for peer in peers if most and peer.groups.get(group) == most)
    return max(knowing, key=lambda id_: blake2b(b"%d %d" % (group, id_), digest_size=8).digest(), default=None)


class Groups:
    """The group of each account, by its key as it was last read. Thread-safe.

    Keys are read when the accounts are replaced, and told by polls.
    """

    def __init__(self, clock: Clock, digest: Callable[[Group], int], wake: Callable[[], None]) -> None:
        """Call ``wake`` when groups have changed."""
        self._clock = clock
        self._digest = digest
        self._wake = wake
        self._lock = threading.Lock()
        self._accounts: Sequence[Account] = ()
        self._groups: dict[AccountId, Group] = {}
        self._left_until: dict[Group, float] = {}
        self._read_by = float("inf")
        self._digests: dict[Group, int] = {}
        self._sizes: Mapping[int, int] = {}
        self._digested: object = None
        self._owned: set[Group] = set()
        self._owned_from: object = None
        self.version = 0
        """Another number after each change."""

    def replace(self, accounts: Sequence[Account]) -> None:
        """Have the groups of these accounts alone, and read their keys again."""
        ids = {account.id for account in accounts}
        with self._lock:
            self._accounts = accounts
            self._groups = {key: group for key, group in self._groups.items() if key in ids}
            self._read_by = self._clock.monotonic() + READ_SECONDS
            self.version += 1
        # In a thread of its own, because a file on a dead mount is never read.
        threading.Thread(target=self._read_keys, args=(accounts,), name="keys", daemon=True).start()

    def of(self, account: AccountId) -> Group:
        """Return the group of an account. It is the account itself as long as its key is not known."""
        return self._groups.get(account, account)

    def note(self, account: AccountId, group: Group) -> bool:
        """Note the group of an account, and return whether it had another one."""
        with self._lock:
            if self._groups.get(account) == group:
                return False
            self._groups[account] = group
            self.version += 1
        self._wake()
        return True

    def digests(self, salt: bytes) -> Mapping[int, int]:
        """Return the digest of each group, which is another with another salt, and how many accounts it has."""
        with self._lock:
            if self._clock.monotonic() > self._read_by:
                self._groups = {account.id: self.of(account.id) for account in self._accounts}
                self._read_by, self.version = float("inf"), self.version + 1
            if self._digested != (self.version, salt):
                self._digested = self.version, salt
                self._digests = {group: self._digest(group) for group in self._groups.values()}
                self._sizes = Counter(self._digests[group] for group in self._groups.values())
            return self._sizes

    def members(self) -> dict[Group, list[Account]]:
        """Return the accounts of each group."""
        members: dict[Group, list[Account]] = {}
        for account in self._accounts:
            members.setdefault(self.of(account.id), []).append(account)
        return members

    def leave_to_others(self, states: Mapping[AccountId, AccountState]) -> None:
        """Take from what others saved which accounts they can read the key of, where we cannot."""
        now = self._clock.monotonic()
        for account in self._accounts if states else ():
            state = states.get(account.id)
            if state is not None and self.of(account.id) == account.id:
                is_keyless = state.failure is not None and state.failure.reason == CredentialError.reason
                self._left_until[account.id] = 0.0 if is_keyless else now + 2 * account.interval

    def owned_by(self, replica: int, peers: tuple[Peer, ...]) -> set[Group]:
        """Return the groups that this replica should poll. An account that others poll waits until they missed it."""
        if self._owned_from != (self._digests, peers):
            self._owned_from = self._digests, peers
            self._owned = {group for group, digest in self._digests.items() if owner(digest, peers) == replica}
        now = self._clock.monotonic()
        return self._owned - {account for account, until in self._left_until.items() if until > now}

    def _read_keys(self, accounts: Sequence[Account]) -> None:
        for account in accounts:
            try:
                group: Group = KeyTarget(account.provider, account.base_url, account.key.read())
            except PollError:
                group = account.id
            if self._accounts is not accounts:
                return
            self.note(account.id, group)
