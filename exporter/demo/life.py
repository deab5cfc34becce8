"""The figures of a demo account over time. Credits are spent, periods end, storage fills, and invoices come.

All figures depend only on simulated time (in seconds, 0 at the demo's start, negative before). More requests or a
jump in time do not change a response. Between full hours the figures follow a formula. Events (a period's end, a
top-up, a recharge) happen on full hours. A life begins two periods before the demo starts.

Credits are counted in whole ten-thousandths, which is the price of the cheapest request. So all fields of a response
agree exactly, and the cost of the services together is what the pools lost.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from exporter.demo import apis, faults
from exporter.demo.apis import DAY, VIDEODB, VIDNAVIGATOR, Api, Json, Plan
from exporter.demo.faults import Fault

DataAt = Callable[[float], object]
HOUR = 3600.0
PERIOD_SECONDS = 30 * DAY
BIRTH = -2 * PERIOD_SECONDS
UNITS = 10_000  # in one credit


@dataclass(frozen=True)
class Calendar:
    """Converts simulated and real time. Second 0 is the real time `start`, and `speed` seconds pass each second."""

    start: float
    speed: float = 1.0

    def simulated(self, real: float) -> float:
        """Return the simulated second at a real time (Unix seconds)."""
        return (real - self.start) * self.speed

    def real(self, simulated: float) -> float:
        """Return the real time (Unix seconds) of a simulated second."""
        return self.start + simulated / self.speed


@dataclass(frozen=True)
class Demand:
    """Credits that users want to spend. The rate has a daily mean, and waves of a day and of 97 minutes."""

    per_day: float
    phase: float = 0.0

    def between(self, start: float, end: float) -> float:
        """Return the credits that users want to spend between two simulated seconds. They are never negative."""
        return max(0.0, self._since_zero(end) - self._since_zero(start))

    def _since_zero(self, at: float) -> float:
        days = at / DAY
        # The strengths of the waves add up to less than 1, so that the sum never falls.
        for strength, length in ((0.6, 1.0), (0.3, 97 / 1440)):
            days -= strength * length / math.tau * math.cos(math.tau * at / DAY / length + self.phase)
        return self.per_day * days


@dataclass(frozen=True)
class Service:
    """A service with a share of the demand. A credit buys `per_credit` units, counted in steps of 1 / `scale`."""

    name: str
    share: float
    per_credit: int = 1
    scale: int = 1
    unit: str | None = None

    def count(self, consumed: float) -> int:
        """Return the number of steps that were used when all services together consumed this many credits."""
        return math.floor(self.share * consumed * self.per_credit * self.scale)

    def cost(self, consumed: float) -> int:
        """Return the cost of these steps in ten-thousandths of a credit."""
        return self.count(consumed) * (UNITS // (self.per_credit * self.scale))

    def used(self, consumed: float) -> float:
        """Return the amount as the vendor shows it."""
        count = self.count(consumed)
        return count / self.scale if self.scale > 1 else count

    def field(self, consumed: float) -> Json:
        """Return the service's entry in VidNavigator's `usage` block."""
        return {"used": self.used(consumed), **({"unit": self.unit} if self.unit else {})}


@dataclass(frozen=True)
class Filling:
    """A level that rises from `low` to `high` in `days` days, drops to `low`, and rises again.

    `start` is how far it has risen when the demo starts, from 0 to 1.
    """

    low: float
    high: float
    days: float
    start: float = 0.0

    def at(self, now: float) -> float:
        """Return the level at a simulated second."""
        return self.low + (self.high - self.low) * ((self.start + now / DAY / self.days) % 1.0)


class Pools(NamedTuple):
    """An account's credits at a time, in ten-thousandths. None is unlimited. `consumed` is in credits."""

    monthly: int | None
    purchased: int
    consumed: float


class Life:
    """The credits of an account. Monthly credits are renewed and spent first, then purchased credits.

    `granted` (for each period, None means unlimited) and `purchased` are credits. `into_period` is the days of the
    period that are over when the demo starts, a whole number of hours. Subclasses add events on full hours.
    """

    api: ClassVar[Api]

    def __init__(
        self,
        services: Sequence[Service],
        demand: Demand,
        *,
        granted: int | None,
        purchased: int = 0,
        into_period: float = 0.0,
    ) -> None:
        self.services = tuple(services)
        self.demand = demand
        self.granted = None if granted is None else granted * UNITS
        self._first_purchased = purchased * UNITS
        self._into = into_period * DAY
        self._lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self._hour = BIRTH
        self._consumed = 0.0  # since the period began
        self._purchased = self._first_purchased  # at the period's start, and bought since

    def period(self, now: float) -> tuple[float, float]:
        """Return start and end (simulated seconds) of the period that a moment is in."""
        start = math.floor((now + self._into) / PERIOD_SECONDS) * PERIOD_SECONDS - self._into
        return start, start + PERIOD_SECONDS

    def pools(self, now: float) -> Pools:
        """Return the credits at a simulated second."""
        with self._lock:
            self._advance(now)
            return self._pools_after(self._consumed_at(now))

    def _advance(self, now: float) -> None:
        if now < self._hour:  # the clock was set back
            self._begin()
        while self._hour + HOUR <= now:
            self._consumed = self._consumed_at(self._hour + HOUR)
            self._hour += HOUR
            if self.period(self._hour)[0] == self._hour:
                self._purchased = self._pools_after(self._consumed).purchased
                self._consumed = 0.0
            self._on_hour()

    def _on_hour(self) -> None:
        """Handle the events of the full hour `self._hour`."""

    def _consumed_at(self, now: float) -> float:
        wanted = self._consumed + self.demand.between(self._hour, now)
        if self.granted is None:
            return wanted
        return min(wanted, (self.granted + self._purchased) / UNITS)

    def _pools_after(self, consumed: float) -> Pools:
        if self.granted is None:
            return Pools(None, self._purchased, consumed)
        spent = sum(service.cost(consumed) for service in self.services)
        monthly = max(0, self.granted - spent)
        return Pools(monthly, self._purchased - max(0, spent - self.granted), consumed)


class VidNavigatorLife(Life):
    """A VidNavigator account on a plan.

    `top_up` credits are bought 22 days into a period if fewer than 50 purchased credits are left. A `leaving`
    account is cancelled, so it has no subscription after the first period that ends after the demo's start.
    """

    api = VIDNAVIGATOR

    def __init__(  # wide because each keyword is one trait of an account that the demo shows.
        self,
        plan: Plan,
        services: Sequence[Service],
        demand: Demand,
        *,
        storage: Filling,
        channels: Filling,
        purchased: int = 0,
        into_period: float = 0.0,
        top_up: int = 0,
        status: str = "active",
        leaving: bool = False,
    ) -> None:
        self._top_up = top_up * UNITS
        super().__init__(services, demand, granted=plan.credits, purchased=purchased, into_period=into_period)
        self.plan = plan
        self.storage = storage
        self.channels = channels
        self.status = status
        self.leaving = leaving

    def _on_hour(self) -> None:
        the_day = self._hour - self.period(self._hour)[0] == 22 * DAY
        if the_day and self._pools_after(self._consumed).purchased < 50 * UNITS:
            self._purchased += self._top_up

    def responses(self, calendar: Calendar) -> dict[str, DataAt]:
        """Return, by path, the functions from a simulated second to the `data` of a response."""
        return {"/usage": lambda now: self.usage(now, calendar)}

    def usage(self, now: float, calendar: Calendar) -> Json | Fault:
        """Return the `data` of GET /usage at a simulated second, or the 404 of an account that has left."""
        start, end = self.period(now)
        if self.leaving and start >= 0:
            return faults.no_subscription()
        pools = self.pools(now)
        return apis.vidnavigator_usage(
            plan=self.plan,
            monthly_remaining=None if pools.monthly is None else pools.monthly / UNITS,
            purchased=pools.purchased / UNITS,
            services={service.name: service.field(pools.consumed) for service in self.services},
            channels_used=int(self.channels.at(now)),
            storage_used=int(self.storage.at(now)),
            period=(calendar.real(start), calendar.real(end)),
            status=self.status,
            cancel_at_period_end=self.leaving,
            generated_at=calendar.real(now),
        )


class VideoDbLife(Life):
    """A VideoDB account with a balance, and with a monthly plan (`granted`), automatic recharge, or both.

    The recharge checks the balance every hour. With `card_declined` it fails once a day while it is needed, and
    somebody pays by hand when a period begins. A credit costs a dollar. An invoice is pending for its first hour.
    With `example_names` the responses have the field names of the vendor's example code.
    """

    api = VIDEODB

    def __init__(  # wide because each keyword is one trait of an account that the demo shows.
        self,
        services: Sequence[Service],
        demand: Demand,
        *,
        granted: int = 0,
        purchased: int = 0,
        into_period: float = 0.0,
        threshold: int = 0,
        recharge: int = 0,
        card_declined: bool = False,
        example_names: bool = False,
    ) -> None:
        self.threshold = threshold
        self.recharge = recharge
        self.card_declined = card_declined
        self.example_names = example_names
        super().__init__(services, demand, granted=granted, purchased=purchased, into_period=into_period)

    def _begin(self) -> None:
        super()._begin()
        self._invoices: deque[tuple[int, float, int, str]] = deque(maxlen=50)
        self._declined_at = -math.inf

    def _on_hour(self) -> None:
        pools = self._pools_after(self._consumed)
        renewed = self.period(self._hour)[0] == self._hour
        if self.granted and renewed:
            self._bill(self.granted // UNITS, "paid")
        if not self.recharge:
            return
        needed = (pools.monthly or 0) + pools.purchased < self.threshold * UNITS
        if renewed if self.card_declined else needed:
            self._purchased += self.recharge * UNITS
            self._bill(self.recharge, "paid")
        elif needed and self._hour - self._declined_at >= DAY:
            self._declined_at = self._hour
            self._bill(self.recharge, "failed")

    def _bill(self, amount: int, status: str) -> None:
        number = self._invoices[-1][0] + 1 if self._invoices else 1
        self._invoices.append((number, self._hour, amount, status))

    def responses(self, calendar: Calendar) -> dict[str, DataAt]:
        """Return, by path, the functions from a simulated second to the `data` of a response."""
        return {
            "/billing/usage": self.usage,
            "/billing/invoices": lambda now: self.invoices(now, calendar),
            "/billing/auto_recharge": lambda _now: self.auto_recharge(),
        }

    def usage(self, now: float) -> Json:
        """Return the `data` of GET /billing/usage at a simulated second."""
        pools = self.pools(now)
        return apis.videodb_usage(
            balance=((pools.monthly or 0) + pools.purchased) / UNITS,
            breakdown={service.name: service.used(pools.consumed) for service in self.services},
            monthly_limit=(self.granted or 0) // UNITS if self.example_names else None,
        )

    def invoices(self, now: float, calendar: Calendar) -> list[Json]:
        """Return the latest 50 invoices at a simulated second, newest first."""
        with self._lock:
            self._advance(now)
            invoices = list(self._invoices)
        return [
            apis.videodb_invoice(
                number,
                calendar.real(created),
                amount=amount,
                status="pending" if status == "paid" and now - created < HOUR else status,
                date_field="date" if self.example_names else "created_at",
            )
            for number, created, amount, status in reversed(invoices)
        ]

    def auto_recharge(self) -> Json:
        """Return the `data` of GET /billing/auto_recharge."""
        return apis.videodb_auto_recharge(enabled=self.recharge > 0, threshold=self.threshold, amount=self.recharge)
