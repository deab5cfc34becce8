"""Accounts whose polls are written to a state file as by the daemon, for reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from exporter.account_id import AccountId
from exporter.polling.ledger import advance
from exporter.readings import AccountState, Kept, Ledger, Pool, Usage
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock

DAY = 86400
OCTOBER = 1_790_812_800.0
"""1 October 2026, 00:00 UTC."""


@dataclass
class World:
    """A state file, and the accounts that are polled into it."""

    file: StateFile
    clock: FakeClock
    ledgers: dict[AccountId, Ledger | None] = field(default_factory=dict)

    def poll(
        self,
        account: AccountId,
        at: float,
        balance: float,
        *,
        unit: str = "credits",
        period: float | None = None,
        used: Mapping[str, float] | None = None,
    ) -> None:
        """Save what a poll at a Unix time finds."""
        pools = {"monthly": Pool(balance, period_start=period)}
        usage = Usage(balance=balance, pools=pools, unit=unit, used_by_operation=used or {})
        self.clock.wall_time = at
        ledger = self.ledgers[account] = advance(self.ledgers.get(account), usage, at, warning=-1.0)
        state = AccountState(parts={"usage": usage}, part_times={"usage": at}, ledger=ledger, last_poll=at, polls=1)
        self.file.save(account, state)

    def lose(self, account: AccountId) -> None:
        """Begin the ledger of an account anew, as after its state was damaged."""
        self.ledgers[account] = None


@contextmanager
def world(path: Path) -> Iterator[World]:
    with closing(StateFile.open(path, FakeClock(), exclusive=True)) as file:
        file.kept = Kept()
        clock = file._clock
        assert isinstance(clock, FakeClock)
        yield World(file, clock)
