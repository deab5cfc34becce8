"""Computes when polls are due. Each account has a phase of its own in its interval, so that polls spread evenly."""

from __future__ import annotations

from hashlib import blake2b

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.runtime.clock import Clock


class Slots:
    """Poll times on the monotonic clock.

    They are computed from the wall clock, so that an account's phase is the same after a restart. The difference of the
    clocks is taken once, at the start, so that a jump of the wall clock moves no poll.
    """

    def __init__(self, clock: Clock) -> None:
        self._wall_minus_monotonic = clock.wall() - clock.monotonic()

    def after(self, account: AccountId, interval: float, monotonic: float) -> float:
        """Return the account's first slot after this time, in monotonic seconds."""
        phase = fraction(account) * interval
        wall = monotonic + self._wall_minus_monotonic
        passed = (wall - phase) % interval
        return monotonic + interval - passed


def poll_order(account: Account) -> tuple[float, float]:
    """Return a key that sorts accounts of one interval as their polls follow each other."""
    return account.interval, fraction(account.id)


def fraction(account: AccountId) -> float:
    """Return the phase of an account, from 0 to 1, in its interval."""
    digest = blake2b("\0".join(account).encode("utf-8", "replace"), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)
