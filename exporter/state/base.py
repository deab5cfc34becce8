"""What polls need of a state, and the values that pass. ``opening`` opens one, which is SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from exporter.account_id import AccountId
from exporter.readings import AccountState, Kept, PollRecord, Series
from exporter.runtime.clock import Clock

WINDOW_SECONDS = 60.0
"""How long a request counts."""
MAX_COOLDOWN_SECONDS = 6 * 3600.0
MAX_REQUEST_SECONDS = 3600.0
"""How far in the future the end of a request may be. A time that is further ahead is of another clock."""
HOUR, DAY = 3600, 86400
"""Seconds, and the two spans of which the history keeps the last reading."""
POLLS = 50
"""Polls that are kept of each account."""
KEEP_REMOVED_SECONDS = 30 * 86400.0
"""How long an account is kept that is no longer configured, or longer where its history is."""

Refusal = TypeVar("Refusal")
Balance = tuple[int, float]
"""The Unix time of a reading, and its balance."""


@dataclass(frozen=True)
class KeyTarget:
    """A key at a vendor. Limits and cool-downs are counted for it."""

    provider: str
    base_url: str
    key: str = field(repr=False)

    def __hash__(self) -> int:
        # It is looked up many times in a poll, and two keys that are equal are rarely of different vendors.
        return hash(self.key)


Group = KeyTarget | AccountId
"""What one replica polls. It is all accounts of a key, or an account whose key cannot be read."""


class Peer(NamedTuple):
    """A replica that lives. ``config`` is a digest of its rules.

    ``groups`` has the digest of each group that it knows, and how many accounts of the group.
    """

    id: int
    config: str
    groups: Mapping[int, int]


class Cooldown(NamedTuple):
    """The end of a cool-down. ``until`` (monotonic clock) decides, ``ends_at`` (wall clock) is shown."""

    until: float
    ends_at: float


class AccountStates(Protocol):
    """The last state of each account. No method raises where the state cannot be used; the memory decides then."""

    kept: Kept
    """How long readings are kept."""

    @property
    def write_failures(self) -> int:
        """Return the number of changes that could not be committed since the start."""

    @property
    def is_up(self) -> bool:
        """Return whether the state could be used when it was last tried."""

    def load(self, accounts: Iterable[AccountId]) -> dict[AccountId, AccountState]:
        """Return the states of these accounts, as far as they are there and readable."""

    def save(self, account: AccountId, state: AccountState) -> AccountState:
        """Commit the state of one account, or write it later. Return what is there now, as another may have saved."""

    def forget(self, keep: Iterable[AccountId]) -> None:
        """Drop the accounts that are not in ``keep`` and were not saved for as long as they are kept."""

    def close(self) -> None:
        """Write what is not written yet, and let others use the state. Later saves are ignored."""


class AccountHistory(Protocol):
    """What a state has of the past, all of one moment. ``opening`` opens it, for reading alone."""

    def accounts(self) -> list[AccountId]:
        """Return every account that has a state, also one that is no longer configured."""

    def readings(self, account: AccountId, span: int, begin: float, end: float) -> Series:
        """Return the last reading of each hour or day (``span``) before ``end``, from the last one before ``begin``.

        Times are Unix seconds. The newest reading counts as that of its hour and day.
        """

    def every_account(self, span: int, begin: float, end: float) -> Iterator[tuple[AccountId, Series]]:
        """Yield each account with its ``readings``."""

    def balances(self, accounts: Sequence[AccountId], span: int, begin: float) -> Mapping[AccountId, Sequence[Balance]]:
        """Return the last balance of each hour or day from about ``begin`` (Unix seconds) on, if it was a number.

        The newest reading is not among them. The last ``Balance`` of an account may be an hour or a day old.
        """

    def polls(self, account: AccountId) -> list[PollRecord]:
        """Return the last polls of an account, newest first."""


class Keys(Protocol):
    """The requests and cool-downs of each key. Each change is one transaction and may raise StateUnavailableError."""

    def restored(self, target: KeyTarget) -> Cooldown | None:
        """Return the cool-down that the state had at the start. Never raises."""

    def admit(
        self, target: KeyTarget, until: float, decide: Callable[[Cooldown | None, list[float]], Refusal | None]
    ) -> Refusal | None:
        """Record a request unless ``decide`` refuses it, and return the result of ``decide``.

        The request is dated to ``until``, the monotonic second by which it ends. Raises HeldElsewhereError where
        another replica polls the accounts of the key. ``decide`` gets the cool-down of the key, and the times of
        requests by other processes in monotonic seconds. One that is under way may have a time in the future.
        """

    def note_request(self, target: KeyTarget, until: float) -> None:
        """Note a request that could not be recorded. Never raises.

        It is written when the state can be used again, if it still counts then.
        """

    def end_request(self, target: KeyTarget, until: float) -> None:
        """Date the request that was admitted with ``until`` to now, in the transaction that saves the next account.

        Never raises. If that transaction fails, the request stays dated to ``until``, which is later.
        """

    def put_cooldown(self, target: KeyTarget, cooldown: Cooldown) -> Cooldown:
        """Write a cool-down, unless the state has a longer one. Return the cool-down that is there now."""


class Replicas(Protocol):
    """The processes that share a state. ``share`` and ``reset`` never raise, the rest StateUnavailableError."""

    id: int
    """The number of this replica, which is new at each start."""

    @property
    def connections(self) -> int:
        """Return how often the state was connected. A lease may be lost meanwhile."""

    @property
    def salt(self) -> bytes:
        """Return what is mixed into digests. It is another one if the database was replaced."""

    def share(self) -> int:
        """Return by how many each key's limit is divided while the state is away, or 0 if nothing may be sent."""

    def digest(self, group: Group) -> int:
        """Return a number for a group, from which its key cannot be guessed."""

    def beat(self, shard: tuple[int, int], config: str, groups: Mapping[int, int]) -> tuple[Peer, ...]:
        """Tell that this replica lives, and return all that live in its shard. Peers are known by their identity."""

    def take(self, groups: Iterable[Group], *, inherit: bool) -> dict[Group, float | None]:
        """Take the leases that are free, with ``inherit`` also those of the dead. Return the groups that are ours.

        Each has the monotonic second of the key's last request, if another replica sent it.
        """

    def keep_only(self, groups: Iterable[Group]) -> None:
        """Release all leases but those of ``groups``."""

    def changes(self) -> dict[AccountId, AccountState]:
        """Return some of the states that others saved since the last call. The next call returns more."""

    def call_on_news(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` soon after another replica saved a state or released a lease."""

    def leave(self) -> None:
        """Release all leases, and let the others know at once that this replica ends."""


@dataclass(frozen=True)
class State:
    """What outlives the process. ``clock`` tells the time that all who share it have."""

    accounts: AccountStates
    keys: Keys
    clock: Clock
    replicas: Replicas | None = None
