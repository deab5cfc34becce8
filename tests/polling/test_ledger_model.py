"""The ledger against models of an account, which count in thousandths of a credit to avoid rounding errors."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.polling.ledger import advance, is_lagging
from exporter.readings import AccountState, Ledger, Pool, Usage
from exporter.runtime.clock import SystemClock
from exporter.state.sqlite import StateFile

INF = float("inf")
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # many files, none to be kept
WARNING = 20.0
amounts = st.integers(0, 200_000)


def as_credits(thousandths: int) -> float:
    return thousandths / 1000


def whole(pools: dict[str, Pool]) -> float | None:
    """Return the balance that the page shows: absent without monthly credits, purchased ones may be left out."""
    monthly, purchased = pools.get("monthly", Pool(None)).balance, pools.get("purchased", Pool(None)).balance
    return None if monthly is None else monthly + (purchased or 0)


def thousandths(credits: Decimal) -> Decimal:
    return credits * 1000


class _Account(RuleBasedStateMachine):
    """A vendor's account, the exporter's ledger of it, and the restarts of the exporter."""

    def __init__(self) -> None:
        super().__init__()
        self.monthly, self.limit, self.purchased, self.period = 0, 0, 0, 1
        self.now = self.generated_at = 1000.0
        self.ledger: Ledger | None = None
        self.highest = (Decimal(0), Decimal(0), Decimal(0))
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.path = Path(self.folder.name, "state.db")

    def teardown(self) -> None:
        self.folder.cleanup()

    def read(self, pools: dict[str, Pool], *, lagging: bool = False) -> None:
        self.now += 300
        if lagging:
            assert is_lagging(self.ledger, Usage(pools=pools, generated_at=self.generated_at - 0.1))
        else:
            self.generated_at = self.now - 60
            usage = Usage(balance=whole(pools), pools=pools, generated_at=self.generated_at)
            assert not is_lagging(self.ledger, usage)
            self.ledger = advance(self.ledger, usage, self.now, WARNING)

    @property
    def in_doubt(self) -> bool:
        return self.ledger is not None and bool(self.ledger.doubted)

    def pools(self) -> dict[str, Pool]:
        return {
            "monthly": Pool(as_credits(self.monthly), as_credits(self.limit), float(self.period)),
            "purchased": Pool(as_credits(self.purchased)),
        }

    @rule()
    def restart(self) -> None:
        account = ("vidnavigator", "media")
        state = StateFile.open(self.path, SystemClock(), exclusive=True)
        state.save(account, AccountState(ledger=self.ledger))
        state.close()
        state = StateFile.open(self.path, SystemClock(), exclusive=True)
        self.ledger = state.load([account])[account].ledger
        state.close()

    @invariant()
    def no_total_ever_falls(self) -> None:
        if self.ledger is not None:
            now = (self.ledger.spent, self.ledger.added, self.ledger.lapsed)
            assert all(after >= before >= 0 for before, after in zip(self.highest, now, strict=True))
            self.highest = now


class Watched(_Account):
    """Read after every event: the totals are exactly what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.spent = self.added = self.lapsed = 0
        self.read_for_certain()

    def read_for_certain(self) -> None:
        self.read(self.pools())
        if self.in_doubt:
            self.read(self.pools())
        assert not self.in_doubt

    @precondition(lambda self: self.monthly + self.purchased > WARNING * 1000)
    @rule(without_credits=st.booleans())
    def outage_reads_zero(self, without_credits: bool) -> None:
        zero = Pool(0.0, as_credits(self.limit), float(self.period))
        self.read({"monthly": zero, "purchased": Pool(0.0)})
        assert self.in_doubt
        self.restart()
        if without_credits:
            self.read({})
        self.read(self.pools())

    @rule()
    def spend_all(self) -> None:
        self.spend_monthly_first(max(self.monthly, 0) + max(self.purchased, 0))

    @rule(amount=amounts)
    def spend_monthly_first(self, amount: int) -> None:
        from_monthly = min(amount, max(self.monthly, 0))
        self.monthly -= from_monthly
        self.purchased -= amount - from_monthly
        self.spent += amount
        self.read_for_certain()

    @rule(amount=amounts)
    def top_up(self, amount: int) -> None:
        self.purchased += amount
        self.added += amount
        self.read_for_certain()

    @rule(limit=amounts, spent=amounts, months=st.integers(1, 3))
    def new_period(self, limit: int, spent: int, months: int) -> None:
        spent = min(spent, limit)
        self.lapsed += self.monthly
        self.added += limit
        self.spent += spent
        self.monthly, self.limit, self.period = limit - spent, limit, self.period + months
        self.read_for_certain()

    @rule(limit=amounts)
    def change_plan(self, limit: int) -> None:
        if limit >= self.limit:
            self.monthly += limit - self.limit
            self.added += limit - self.limit
        else:
            taken = min(self.limit - limit, self.monthly)
            self.monthly -= taken
            self.lapsed += taken
        self.limit = limit
        self.read_for_certain()

    @rule(amount=amounts)
    def lagging_replica(self, amount: int) -> None:
        self.read({"monthly": Pool(as_credits(amount), as_credits(amount), 0.0)}, lagging=True)

    @rule()
    def response_without_credits(self) -> None:
        self.read({})

    @invariant()
    def the_totals_are_what_happened(self) -> None:
        assert self.ledger is not None
        assert thousandths(self.ledger.spent) == self.spent
        assert thousandths(self.ledger.added) == self.added
        assert thousandths(self.ledger.lapsed) == self.lapsed


class Unwatched(_Account):
    """Anything happens between readings, blocks missing or plans unlimited: the balances still add up."""

    def __init__(self) -> None:
        super().__init__()
        self.unlimited = False
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.settled = 0
        self.doubted: dict[str, int | None] = {}

    @rule(monthly=st.integers(-50_000, 200_000), purchased=st.integers(-50_000, 200_000))
    def credits_move(self, monthly: int, purchased: int) -> None:
        self.monthly, self.purchased = monthly, purchased

    @rule()
    def credits_run_out(self) -> None:
        self.monthly = self.purchased = 0

    @rule(limit=st.integers(-1000, 200_000), months=st.integers(0, 2))
    def plan_moves(self, limit: int, months: int) -> None:
        self.limit, self.period = limit, self.period + months

    @rule()
    def plan_turns_unlimited_or_back(self) -> None:
        self.unlimited = not self.unlimited

    @rule(
        missing=st.sets(st.sampled_from(["monthly", "purchased", "nulls", "limit", "period"])),
        read_twice=st.booleans(),
    )
    def reading(self, missing: set[str], read_twice: bool) -> None:
        sent: dict[str, int | None] = {"monthly": self.monthly, "purchased": self.purchased}
        if self.unlimited:
            sent["monthly"] = None
        limit = None if "limit" in missing else INF if self.unlimited else as_credits(self.limit)
        start = None if "period" in missing else float(self.period)
        pools = {
            "monthly": Pool(INF if self.unlimited else as_credits(self.monthly), limit, start),
            "purchased": Pool(as_credits(self.purchased)),
        }
        for name in missing & {"monthly", "purchased"}:
            del sent[name]
            if "nulls" in missing:
                pools[name] = Pool(None, pools[name].limit, pools[name].period_start)
            else:
                del pools[name]
        for _ in range(1 + read_twice):
            was_in_doubt = self.in_doubt
            self.read(pools)
            if not self.in_doubt:
                if was_in_doubt and whole(pools) == 0:
                    self.book(self.doubted)
                self.book(sent)
            elif not was_in_doubt:
                self.doubted = sent

    def book(self, sent: dict[str, int | None]) -> None:
        for name, balance in sent.items():
            if balance is None:  # unlimited: what is added up before and after has nothing between it
                if name in self.first:
                    self.settled += self.first.pop(name) - self.last.pop(name)
            else:
                self.first.setdefault(name, balance)
                self.last[name] = balance

    @precondition(lambda self: self.ledger is not None and not self.in_doubt)
    @invariant()
    def the_totals_explain_the_balances(self) -> None:
        assert self.ledger is not None
        expected = self.settled + sum(self.first[name] - self.last[name] for name in self.first)
        assert thousandths(self.ledger.spent + self.ledger.lapsed - self.ledger.added) == expected


SETTINGS = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestWatchedAccount = Watched.TestCase
TestWatchedAccount.settings = SETTINGS
TestUnwatchedAccount = Unwatched.TestCase
TestUnwatchedAccount.settings = SETTINGS
