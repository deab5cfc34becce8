"""What polls need of a state, and the values that pass. ``opening`` opens one, which is SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from exporter.readings import AccountKey, AccountState, Kept, PollRecord, Series

WINDOW_SECONDS = 60.0
"""How long a request counts."""
MAX_COOLDOWN_SECONDS = 6 * 3600.0
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

    def load(self, accounts: Iterable[AccountKey]) -> dict[AccountKey, AccountState]:
        """Return the states of these accounts, as far as they are there and readable."""

    def save(self, account: AccountKey, state: AccountState) -> None:
        """Commit the state of one account. One that cannot be written now is written later."""

    def forget(self, keep: Iterable[AccountKey]) -> None:
        """Drop the accounts that are not in ``keep`` and were not saved for as long as they are kept."""

    def close(self) -> None:
        """Write what is not written yet, and let others use the state. Later saves are ignored."""


class AccountHistory(Protocol):
    """What a state has of the past, all of one moment. ``opening`` opens it, for reading alone."""

    def accounts(self) -> list[AccountKey]:
        """Return every account that has a state, also one that is no longer configured."""

    def readings(self, account: AccountKey, span: int, begin: float, end: float) -> Series:
        """Return the last reading of each hour or day (``span``) before ``end``, from the last one before ``begin``.

        Times are Unix seconds. The newest reading counts as that of its hour and day.
        """

    def every_account(self, span: int, begin: float, end: float) -> Iterator[tuple[AccountKey, Series]]:
        """Yield each account with its ``readings``."""

    def balances(self, accounts: Sequence[AccountKey], begin: float) -> Mapping[AccountKey, Sequence[Balance]]:
        """Return the balance of each hour about ``begin`` (Unix seconds) and later, where it was a number.

        The newest reading is not among them. The last ``Balance`` of an account may be an hour old.
        """

    def polls(self, account: AccountKey) -> list[PollRecord]:
        """Return the last polls of an account, newest first."""


class Keys(Protocol):
    """The requests and cool-downs of each key. Each change is one transaction and may raise StateUnavailableError."""

    def restored(self, target: KeyTarget) -> Cooldown | None:
        """Return the cool-down that the state had at the start. Never raises."""

    def admit(
        self, target: KeyTarget, decide: Callable[[Cooldown | None, list[float]], Refusal | None]
    ) -> Refusal | None:
        """Record a request unless ``decide`` refuses it, and return the result of ``decide``.

        ``decide`` gets the cool-down of the key, and the times of requests by other processes in monotonic seconds.
        """

    def end_request(self, target: KeyTarget, began: float) -> None:
        """Date this process's last request of ``began`` or before (monotonic seconds) to now."""

    def put_cooldown(self, target: KeyTarget, cooldown: Cooldown) -> Cooldown:
        """Write a cool-down, unless the state has a longer one. Return the cool-down that is there now."""


@dataclass(frozen=True)
class State:
    """What outlives the process."""

    accounts: AccountStates
    keys: Keys
