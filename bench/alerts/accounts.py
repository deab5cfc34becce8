"""Accounts on the curves, of which it is known when their credits end, or how much they keep."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product

from bench.alerts.curves import DAY, HISTORY, PERIOD, STEP, spending

LIMIT = 500.0
END = HISTORY + PERIOD
DAYS_BEFORE_THE_RESET = (0.25, 1, 3, 7)
KEPT = (0.03, 0.10, 0.25, 0.50)
RUNAWAY_HOURS = (3, 8, 26, 72)
RUNAWAY_BEGINS = HISTORY + 12 * DAY
JOBS_BEGIN = HISTORY + 8 * DAY, HISTORY + 18 * DAY
BOUGHT_FOR_DAYS = (12, 25)


@dataclass(frozen=True)
class Account:
    """Balances after each step from the history's beginning on; `ends` is the step at which none is left."""

    name: str
    kind: str
    balances: Sequence[float]
    spent: Sequence[float]
    """What the ledger counter says after each step."""
    ends: int | None = None
    prepaid: bool = False
    begins: int | None = None
    """The step at which a job begins that takes all that is left."""

    @property
    def curve(self) -> str:
        """Return the kind of work that it is used for."""
        return self.name.partition(",")[0].rpartition(" ")[0]

    def series(self) -> dict[str, str]:
        """Return the families that rules read, as promtool writes series."""
        own = f'account="{self.name}",job="video-api-exporter",provider="videodb"'
        last = len(self.spent) - 1
        series = {
            f"video_api_credits_spent_total{{{own}}}": " ".join(f"{value:.3f}" for value in self.spent),
            f"video_api_credits_balance{{{own}}}": " ".join(f"{value:.3f}" for value in self.balances),
            f"video_api_reading_gap_seconds{{{own}}}": f"{STEP}x{last}",
        }
        for severity, share, credits in (("warning", 0.2, 20), ("critical", 0.05, 5)):
            threshold = credits if self.prepaid else share * LIMIT
            series[f'video_api_credits_threshold{{{own},severity="{severity}"}}'] = f"{threshold}x{last}"
        if not self.prepaid:
            ends = f"{HISTORY * STEP}x{HISTORY - 1} {END * STEP}x{last - HISTORY}"
            series[f'video_api_period_end_timestamp_seconds{{{own},period="billing"}}'] = ends
            series[f"video_api_credits_monthly_limit{{{own}}}"] = f"{LIMIT}x{last}"
        return series


def accounts(curves: Sequence[str], weekdays: Sequence[int]) -> Iterator[Account]:
    """Yield the accounts of each curve that begins on each of these weekdays."""
    for curve in curves:
        for weekday in weekdays:
            curve_spends, name = spending(curve, weekday), f"{curve} {weekday}"
            for days in DAYS_BEFORE_THE_RESET:
                until = sum(curve_spends[HISTORY : END - int(days * DAY)])
                yield _account(f"{name}, ends {days} d early", "ends", _scaled(curve_spends, LIMIT / until))
            for kept in KEPT:
                used = LIMIT * (1 - kept) / sum(curve_spends[HISTORY:])
                yield _account(f"{name}, keeps {kept:.0%}", f"keeps {kept:.0%}", _scaled(curve_spends, used))
            for hours in RUNAWAY_HOURS:
                yield _runaway(f"{name}, runaway of {hours} h", curve_spends, hours)
            for days in BOUGHT_FOR_DAYS:
                bought = sum(curve_spends[HISTORY : HISTORY + days * DAY])
                yield _account(
                    f"{name}, bought for {days} d", "prepaid, ends", _scaled(curve_spends, LIMIT / bought), prepaid=True
                )
            yield _topped_up(f"{name}, topped up", curve_spends)


def jobs(curves: Sequence[str], weekdays: Sequence[int]) -> Iterator[Account]:
    """Yield accounts of each curve and weekday, with a job at a time by chance and without one."""
    for curve, weekday in product(curves, weekdays):
        curve_spends, name = spending(curve, weekday), f"{curve} {weekday}"
        chance = random.Random(name)
        for hours in RUNAWAY_HOURS:
            yield _runaway(f"{name}, job of {hours} h", curve_spends, hours, chance.randrange(*JOBS_BEGIN))
        used = LIMIT * 0.75 / sum(curve_spends[HISTORY:])
        yield _account(f"{name}, no job", "no job", _scaled(curve_spends, used))


def _scaled(spends: Sequence[float], factor: float) -> list[float]:
    return [spend * factor for spend in spends]


def _account(name: str, kind: str, spends: Sequence[float], prepaid: bool = False) -> Account:
    """Return an account with `LIMIT` credits at the end of the history, whose calls fail when none is left.

    It had a tenth of them left then, before they were refilled.
    """
    total = list(accumulate(spends))
    before = [0.1 * LIMIT + total[HISTORY - 1] - at for at in total[:HISTORY]]
    begin = total[HISTORY - 1]
    # What rounding leaves of the last credit is none.
    ends = bisect_left(total, begin + LIMIT - 1e-6, HISTORY)
    if ends == len(total):
        return Account(name, kind, [*before, *(LIMIT + begin - at for at in total[HISTORY:])], total, None, prepaid)
    spent = [min(at, begin + LIMIT) for at in total[: ends + 1]]
    return Account(name, kind, [*before, *(LIMIT + begin - at for at in spent[HISTORY:])], spent, ends, prepaid)


def _runaway(name: str, curve_spends: Sequence[float], hours: int, begins: int = RUNAWAY_BEGINS) -> Account:
    """Return one that would keep a quarter, but for a job on top that takes all that is left in so many hours."""
    spends = _scaled(curve_spends, LIMIT * 0.75 / sum(curve_spends[HISTORY:]))
    job = range(begins, begins + hours * 3600 // STEP)
    left = LIMIT - sum(spends[HISTORY : job.stop])
    for step in job:
        spends[step] += left / len(job)
    return replace(_account(name, f"runaway of {hours} h", spends), begins=begins)


def _topped_up(name: str, curve_spends: Sequence[float]) -> Account:
    """Return a prepaid one that is topped up each week, so that it always has what ten days will take."""
    factor = LIMIT / sum(curve_spends[HISTORY:])
    spends = _scaled(curve_spends, factor)
    balances, balance = [], 0.0
    for step, spend in enumerate(spends):
        if step % (7 * DAY) == 0:
            ahead = spends[step : step + 17 * DAY]
            balance = max(balance, sum(ahead) * 17 * DAY / len(ahead))
        balance -= spend
        balances.append(balance)
    return Account(name, "prepaid, always 10 days left", balances, list(accumulate(spends)), None, prepaid=True)
