"""Decides which accounts this replica polls, where several share a PostgreSQL database.

Each replica computes, from the list of those that live, which of them polls a group of accounts. A lease in the
database makes it certain. A replica releases it when no poll of the group runs any more. Then the next one takes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.errors import StateUnavailableError
from exporter.polling.groups import Groups
from exporter.polling.limits import Wait
from exporter.readings import AccountState
from exporter.runtime.clock import Clock
from exporter.state.base import Group, KeyTarget, Peer, Replicas

logger = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
"""Seconds from one step to the next at least, however much the others save."""
SETTLING_SECONDS = 10.0
"""Seconds after a connection in which others may still have to connect, so that none counts as dead."""
_TIDY_SECONDS = 10.0
_WAITING_SECONDS = 60.0
"""Seconds with different configurations after which an account that no replica has polled counts as waiting."""
MANY = 50
"""Changes that may not be all. The next step follows at once."""


class Holding:  # long because every method works on the same leases.
    """The groups that this replica holds, which a thread of its own keeps."""

    def __init__(self, replicas: Replicas, shard: tuple[int, int], clock: Clock) -> None:
        self._replicas = replicas
        self._shard = shard
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._accounts: Sequence[Account] = ()
        self._config = ""
        self._groups = Groups(clock, replicas.digest, self._wake.set)
        self._peers: tuple[Peer, ...] = ()
        self._told: set[int] = set()
        """The replicas of the last log line."""
        self._held: set[Group] = set()
        self._leaving: set[Group] = set()
        self._refused: set[Group] = set()
        self._scheduled = 0
        self._scheduled_from: object = None
        self._connection, self._salt, self._stepped_with = 0, b"", -1
        self._step_at = self._beat_at = self._settled_at = self._moves_at = self._tidy_at = float("-inf")
        self._config_differs = False
        self._differs_since = float("inf")
        self._known_to_others: set[AccountId] = set()
        self.waiting: set[AccountId] = set()
        """The accounts that no replica polls, because another one has their key and does not know them."""

    def attach(
        self,
        schedule: Callable[[Sequence[Account]], None],
        receive: Callable[[Mapping[AccountId, AccountState]], None],
        running: Callable[[], set[AccountId]],
        note_request: Callable[[Account, float], None],
    ) -> None:
        """Set what the first use needs. ``schedule`` gets the accounts to poll, ``receive`` what others saved.

        ``running`` returns the accounts that are being polled now. ``note_request`` gets the last request for an
        account that was another replica's, in monotonic seconds.
        """
        self._schedule, self._receive, self._running = schedule, receive, running
        self._note_request = note_request

    @property
    def has_reached_database(self) -> bool:
        """Return whether the database was connected since the start. Nothing is polled before."""
        return self._replicas.connections > 0

    @property
    def replicas(self) -> int:
        """Return how many replicas of this shard live, as far as it is known."""
        return max(1, len(self._peers))

    @property
    def accounts_held(self) -> int:
        """Return how many accounts this replica polls."""
        return self._scheduled

    @property
    def config_differs(self) -> bool:
        """Return whether a replica that lives has another configuration."""
        return self._config_differs

    def use(self, accounts: Sequence[Account], config: str) -> None:
        """Poll these accounts from now on, as far as they are ours. ``config`` is equal where all rules are."""
        self._accounts, self._config = accounts, config
        self._groups.replace(accounts)
        self._schedule_held()

    def start(self) -> None:
        """Begin to take part."""
        self._replicas.call_on_news(self._wake.set)
        self._thread = threading.Thread(target=self._keep, name="replicas", daemon=True)
        self._thread.start()

    def note_key(self, account: AccountId, target: KeyTarget) -> None:
        """Note the key that a poll of an account uses now."""
        if self._groups.of(account) != target and self._groups.note(account, target):
            self._tidy_at = float("-inf")

    def note_wait(self, account: AccountId, wait: Wait | None) -> None:
        """Poll an account no longer if its poll found that another replica holds it."""
        if wait is not None and wait.reason == "elsewhere":
            with self._lock:
                self._refused.add(self._groups.of(account))
            self._wake.set()

    def pause(self) -> None:
        """Change nothing any more."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def leave(self) -> None:
        """Let the others poll the accounts of this replica at once. Its polls must have ended."""
        try:
            self._replicas.leave()
        except StateUnavailableError:
            if self.has_reached_database:
                logger.info("the other replicas could not be told of the stop. They find out in some seconds")

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._is_due():
                    self.step()
                else:
                    self._look({})
            except StateUnavailableError:
                pass  # what is held stays held, which is nothing before the database was reached
            except Exception:
                logger.exception("unexpected exception while sharing accounts with other replicas")
            self._stopping.wait(_PAUSE_SECONDS)
            self._wake.wait(_BEAT_SECONDS - _PAUSE_SECONDS)
            self._wake.clear()

    def _is_due(self) -> bool:
        """Return whether to make a whole step. Looking for what others saved may be needed many times a second."""
        changed = self._refused or self._leaving or self._groups.version != self._stepped_with
        return bool(changed) or self._clock.monotonic() >= self._step_at

    def step(self) -> None:
        """Tell that we live, and take and release what follows from who else lives. Raises StateUnavailableError."""
        with self._lock:
            self._held -= self._refused
            self._refused.clear()
        config = self._config
        self._step_at, self._stepped_with = self._clock.monotonic() + _BEAT_SECONDS - 0.1, self._groups.version
        sizes = self._groups.digests(self._replicas.salt)
        self._peers = self._replicas.beat(self._shard, config, sizes)
        differed, self._config_differs = self._config_differs, any(peer.config != config for peer in self._peers)
        _tell_of_configs(differed, self._config_differs)
        self._recover()
        now = self._clock.monotonic()
        ours = self._groups.owned_by(self._replicas.id, self._peers)
        if now >= self._settled_at:  # before, those that connect later look as if they were lost
            self._tell_of_replicas(ours)
        self._find_waiting(now, ours)
        taken: Mapping[Group, float | None] = {}
        if now >= self._moves_at:
            self._leaving |= self._held - ours
            self._held &= ours
            self._release(now)
            # Nothing that a poll still uses which began when we had it before, and only after all that others saved.
            wanted = ours - self._held - self._leaving - {self._groups.of(account) for account in self._running()}
            if wanted and self._receive_changes():
                taken = self._taken(wanted, inherit=now >= self._settled_at)
                self._held |= taken.keys()
        self._look(taken)

    def _find_waiting(self, now: float, ours: set[Group]) -> None:
        """Find the accounts that no replica has polled for some time although configurations differ, and log them."""
        if not self._config_differs:
            self._differs_since, self.waiting = float("inf"), set()
            return
        self._differs_since = min(self._differs_since, now)
        if now - self._differs_since >= _WAITING_SECONDS:
            ids = {account.id for account in self._accounts}
            waiting = {key for key in ids - self._known_to_others if self._groups.of(key) not in ours}
            if len(waiting) > len(self.waiting):
                logger.warning(
                    "accounts that wait: %d, because another replica has their key and does not know them. Give all"
                    " replicas the same configuration",
                    len(waiting),
                )
            self.waiting = waiting

    def _tell_of_replicas(self, ours: set[Group]) -> None:
        """Log which replicas came and went. The start of this one is no news if it is alone."""
        old, new = self._told or {self._replicas.id}, {peer.id for peer in self._peers}
        self._told = new
        if old != new:
            logger.info(
                "replicas: %d joined, %d %s lost or stopped, %d live. This one polls %d accounts",
                len(new - old),
                len(old - new),
                "was" if len(old - new) == 1 else "were",
                len(new),
                sum(self._groups.of(account.id) in ours for account in self._accounts),
            )

    def _look(self, taken: Mapping[Group, float | None]) -> None:
        """Show what others saved. Then schedule, because it tells when the accounts are due that were ``taken``."""
        self._receive_changes()
        self._note_requests(taken)
        self._schedule_held()

    def _receive_changes(self) -> bool:
        """Show what others saved, and return whether that was all."""
        changes = self._replicas.changes()
        self._receive(changes)
        self._known_to_others.update(changes)
        self._groups.leave_to_others(changes)
        if len(changes) >= MANY:
            self._wake.set()
        return len(changes) < MANY

    def _recover(self) -> None:
        """Find out which leases are still ours after we were away."""
        now, connection = self._clock.monotonic(), self._replicas.connections
        was_silent, self._beat_at = now - self._beat_at > SETTLING_SECONDS, now
        if connection == self._connection and not was_silent:
            return
        if self._connection or self._held:  # else it is the start, and nothing is ours yet
            self._settled_at = now + SETTLING_SECONDS
            if self._salt not in (b"", self._replicas.salt):
                # A database in the place of the last one knows no leases, although the others poll.
                self._moves_at = self._settled_at
        self._connection, self._salt = connection, self._replicas.salt
        had = self._scheduled
        self._held = set(self._taken(self._held, inherit=False))
        self._schedule_held()  # before any is taken again, because its jobs are of the time before
        if self._scheduled < had:
            logger.info("others took %d accounts of this replica while it was away", had - self._scheduled)
        self._tidy_at = now

    def _taken(self, groups: set[Group], *, inherit: bool) -> dict[Group, float | None]:
        """Return those of these groups that we may poll. An account without a key needs no lease."""
        keyless = {group for group in groups if not isinstance(group, KeyTarget)}
        return {**dict.fromkeys(keyless), **self._replicas.take(groups - keyless, inherit=inherit)}

    def _note_requests(self, taken: Mapping[Group, float | None]) -> None:
        """Tell of the last requests for the accounts that have their key alone."""
        members = self._groups.members() if taken else {}
        for group, at in taken.items():
            if at is not None and len(members.get(group, ())) == 1:
                self._note_request(members[group][0], at)

    def _release(self, now: float) -> None:
        """Release the leases of the groups that another replica polls from now on, as soon as no poll uses them."""
        if self._leaving:
            self._schedule_held()
        elif now < self._tidy_at:
            return
        in_use = {self._groups.of(account) for account in self._running()}
        left = self._leaving - in_use
        if left or now >= self._tidy_at:
            self._leaving -= left
            self._replicas.keep_only(self._held | self._leaving | in_use)
            self._tidy_at = now + _TIDY_SECONDS

    def _schedule_held(self) -> None:
        with self._lock:
            scheduled_from = self._accounts, self._groups.version, frozenset(self._held)
            if scheduled_from != self._scheduled_from:
                self._scheduled_from = scheduled_from
                held = [account for account in self._accounts if self._groups.of(account.id) in self._held]
                self._scheduled = len(held)
                self._schedule(held)


def _tell_of_configs(differed: bool, differs: bool) -> None:
    if differs and not differed:
        logger.warning("replicas have different configurations. Each polls only the accounts that it knows")
    elif differed and not differs:
        logger.info("all replicas have the same configuration")
