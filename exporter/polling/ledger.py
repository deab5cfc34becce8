"""Books the credits spent, added and lapsed from one reading to the next. The sums are exact and never fall.

The rate of a balance alone misleads, because a top-up hides the credits that were spent, and a monthly reset looks
like a top-up. Here each reading is compared with the last one, pool by pool, and every difference is booked as
*spent*, *added* or *lapsed*. So each pool that stays limited keeps to

    spent + lapsed - added = first balance - last balance

Amounts are added up as the decimals that the vendor wrote (0.1 + 0.2 is 0.3), without rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

from exporter.readings import Ledger, Pool, Usage

# From the largest float to the smallest there are 633 digits. The rest is room for sums, so nothing is rounded.
_EXACT = Context(prec=1000)
_ZERO = Decimal(0)


class _Movement(NamedTuple):
    """The change of one pool between two readings, in credits. No part of it is negative."""

    spent: Decimal = _ZERO
    added: Decimal = _ZERO
    lapsed: Decimal = _ZERO


def advance(ledger: Ledger | None, usage: Usage, received_at: float, warning: float) -> Ledger | None:
    """Return the ledger after ``usage``, received at that Unix time; None while no pool ever had a balance.

    The caller leaves lagging responses out first (``is_lagging``). A pool that is missing in this response keeps its
    last amount, which is compared when the pool is there again. If the whole balance falls to 0 from above
    ``warning`` credits, that is booked only when the next reading confirms it.
    """
    present = {name: pool for name, pool in usage.pools.items() if pool.balance is not None}
    if ledger is None and not present:
        return None
    before = ledger or Ledger(began=received_at)
    if before.unit != usage.unit:  # amounts in two units cannot be compared
        before = replace(before, unit=usage.unit, pools={}, doubted={})
    before = replace(before, generated_at=_newest(before.generated_at, usage.generated_at, received_at))
    if before.doubted:
        if usage.balance is None and not any(pool.balance for pool in present.values()):
            return before  # it neither confirms the 0 nor takes it back
        if usage.balance == 0:
            before = _book(before, before.doubted)
        before = replace(before, doubted={})
    elif usage.balance == 0 and _whole(before.pools) > warning:
        # A vendor may report 0 when an outage begins. Booked at once, it would count as spent, and then as added.
        return replace(before, doubted=present)
    return _book(before, present)


def is_lagging(ledger: Ledger | None, usage: Usage) -> bool:
    """Tell whether the vendor made this response before the last one, as a replica that is behind does."""
    if ledger is None or ledger.generated_at is None or usage.generated_at is None:
        return False
    return usage.generated_at < ledger.generated_at


def _book(ledger: Ledger, present: Mapping[str, Pool]) -> Ledger:
    """Compare each of these pools with its last amount, and replace that."""
    spent, added, lapsed = ledger.spent, ledger.added, ledger.lapsed
    with localcontext(_EXACT):
        for name, pool in present.items():
            if (last := ledger.pools.get(name)) is not None:
                movement = _compare(last, pool)
                spent += movement.spent
                added += movement.added
                lapsed += movement.lapsed
    return replace(ledger, spent=spent, added=added, lapsed=lapsed, pools={**ledger.pools, **present})


def _whole(pools: Mapping[str, Pool]) -> float:
    return sum(pool.balance or 0.0 for pool in pools.values())


def _newest(last: float | None, generated_at: float | None, received_at: float) -> float | None:
    if generated_at is None:
        return last
    # A time in the future, by a vendor's bug or a clock that is off, must not make all later responses lag.
    known = min(generated_at, received_at)
    return known if last is None else max(last, known)


def _compare(last: Pool, now: Pool) -> _Movement:
    before, after = _credits(last.balance), _credits(now.balance)
    if before is None or after is None:
        return _Movement()
    limit = _credits(now.limit)
    if _differ(last.period_start, now.period_start):
        return _refilled(before, after, limit)
    last_limit = _credits(last.limit)
    if limit is None or last_limit is None:
        return _moved(before, after)
    # If the plan changed inside the period, the pool first changes by as much as its limit, but not below 0.
    change = limit - last_limit
    if change >= 0:
        spent, added, _ = _moved(before + change, after)
        return _Movement(spent, added + change)
    lapsed = min(-change, max(before, _ZERO))
    return _moved(before - lapsed, after)._replace(lapsed=lapsed)


def _moved(before: Decimal, after: Decimal) -> _Movement:
    if after < before:
        return _Movement(spent=before - after)
    return _Movement(added=after - before)


def _refilled(before: Decimal, after: Decimal, limit: Decimal | None) -> _Movement:
    """Book a new period. The rest lapses, or a debt is paid. Then the pool is filled, and credits are spent from it."""
    full = limit if limit is not None and limit >= max(after, _ZERO) else max(after, _ZERO)
    return _Movement(
        spent=full - after,
        added=full + max(-before, _ZERO),
        lapsed=max(before, _ZERO),
    )


def _differ(last: float | None, now: float | None) -> bool:
    return last is not None and now is not None and last != now


def _credits(amount: float | None) -> Decimal | None:
    """Return the decimal that the vendor wrote; None where it is missing or unlimited."""
    if amount is None or not math.isfinite(amount):
        return None
    return Decimal(repr(amount))
