"""Lives of accounts, each with the names, severities and hours of its expected alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.demo import apis
from exporter.errors import UnreachableError
from exporter.transport.client import RawResponse
from tests.alerts.lives import HOURS, Life, Run

Expected = dict[tuple[str, str], tuple[float, float]]
"""By alert and severity: fires from this hour to that."""
END = HOURS + 1.0


@dataclass(frozen=True, eq=False)
class Scenario:
    """One account's six days."""

    name: str
    life: Life
    alerts: Expected = field(default_factory=dict)
    runs: Sequence[Run] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", self.runs or (Run(self.name),))


def steady(rate: float) -> Callable[[float], float]:
    return lambda hour: rate


def between(begin: float, end: float, rate: float, otherwise: float = 0.0) -> Callable[[float], float]:
    return lambda hour: rate if begin <= hour < end else otherwise


def during(begin: float, end: float, response: Any) -> Callable[[float], Any]:
    return lambda hour: response if begin <= hour < end else None


def top_up(credits: float) -> Callable[[Life], None]:
    def add(life: Life) -> None:
        life.purchased += credits

    return add


def without(*blocks: str) -> Callable[[apis.Json, float], apis.Json]:
    return lambda data, hour: {name: value for name, value in data.items() if name not in blocks}


NO_SUBSCRIPTION = RawResponse(404, {}, {"status": "error", "error": "no_subscription", "message": "Not subscribed."})
REFUSED = RawResponse(401, {}, {"status": "error", "message": "The API key is not valid."})
TOO_MANY = RawResponse(429, {}, {"status": "error", "message": "Too many requests.", "retry_after_seconds": 60})

LOW = ("VideoApiCreditsLow", "warning")
CRITICALLY_LOW = ("VideoApiCreditsLow", "critical")
EXHAUSTED = ("VideoApiCreditsExhausted", "critical")
BEFORE_RESET = ("VideoApiCreditsRunOutBeforeReset", "warning")
SOON = ("VideoApiCreditsRunOutSoon", "critical")
SPIKE = ("VideoApiSpendSpike", "warning")
FAILING = ("VideoApiPollFailing", "warning")
STALE = ("VideoApiDataStale", "warning")

SCENARIOS = (
    # Nothing to tell.
    Scenario("steady", Life(rate=steady(0.9))),
    Scenario("idle", Life(monthly=300)),
    Scenario("unlimited", Life(limit=None, rate=steady(50))),
    Scenario("office-hours", Life(rate=lambda hour: 2.2 if hour % 24 < 8 else 0.1)),
    Scenario("nightly-batch", Life(rate=lambda hour: 18.0 if hour % 24 < 1 else 0.1)),
    Scenario(
        "little-known", Life(monthly=300, rate=steady(0.1), change=without("billing_period", "subscription", "storage"))
    ),
    # What must not be taken for spending.
    Scenario("top-up-while-fine", Life(rate=steady(0.9), events={50: top_up(500)})),
    Scenario(
        "reset",
        Life(monthly=170, rate=steady(0.7), period_ends=72),
        {LOW: (37.4, 72.3)},
    ),
    Scenario(
        "restarts",
        Life(rate=steady(0.9)),
        runs=(
            Run("restarts", ends=40),
            Run("restarts", begins=40.1, ends=90),
            Run("restarts", begins=90.1, keeps_state=False),
        ),
    ),
    Scenario(
        "an-hour-without-an-exporter",
        Life(rate=steady(0.9)),
        {("VideoApiExporterDown", "critical"): (50.1, 51)},
        runs=(Run("hour", ends=50), Run("hour", begins=51)),
    ),
    Scenario(
        "a-day-without-an-exporter",
        Life(rate=steady(0.9)),
        {("VideoApiExporterDown", "critical"): (60.1, 84)},
        runs=(Run("day", ends=60), Run("day", begins=84)),
    ),
    Scenario(
        "a-day-without-the-vendor",
        Life("videodb", monthly=5000, rate=steady(10), trouble=during(48, 72, UnreachableError("no route"))),
        {FAILING: (48.3, 72.1), STALE: (48.4, 72.1)},
    ),
    Scenario(
        "moved-to-another-shard", Life(rate=steady(0.9)), runs=(Run("shard-0", ends=60), Run("shard-1", begins=60))
    ),
    Scenario(
        "a-zero-that-is-taken-back",
        Life(
            "videodb",
            monthly=5000,
            rate=steady(5),
            change=lambda data, hour: {**data, "credit_balance": 0} if 48 < hour < 48.16 else data,
        ),
    ),
    # Credits that end.
    Scenario(
        "running-out",
        Life(monthly=200, rate=steady(1)),
        {BEFORE_RESET: (12.4, END), LOW: (56.2, END)},
    ),
    Scenario(
        "two-replicas",
        Life(monthly=200, rate=steady(1)),
        {BEFORE_RESET: (12.4, END), LOW: (56.2, END)},
        runs=(Run("replica-0"), Run("replica-1")),
    ),
    Scenario(
        "rolled-out-with-another-label",
        Life(monthly=200, rate=steady(1)),
        {BEFORE_RESET: (12.4, END), LOW: (56.2, END)},
        runs=(Run("rolled-out", ends=40), Run("rolled-out", begins=40.1, zone="b")),
    ),
    Scenario(
        "topped-up",
        Life(monthly=200, rate=steady(1), events={80: top_up(1000)}),
        {BEFORE_RESET: (12.4, 80.2), LOW: (56.2, 80.2)},
    ),
    Scenario(
        "a-spike",
        Life(monthly=700, rate=between(100, 103, 20, 0.5)),
        {SPIKE: (100.9, 104.1)},
    ),
    Scenario(
        "runaway",
        Life(monthly=360, rate=between(100, HOURS, 60, 0.5)),
        {
            SPIKE: (100.5, 106.1),
            SOON: (101.2, 105.2),
            BEFORE_RESET: (100.2, 111.4),
            LOW: (102.9, END),
            CRITICALLY_LOW: (104.7, END),
            EXHAUSTED: (105.2, END),
        },
    ),
    Scenario(
        "card-declined",
        Life(
            "videodb",
            monthly=30,
            rate=steady(0.4),
            billing={
                "/billing/invoices": lambda hour: [
                    apis.videodb_invoice(1, 0, status="failed" if hour > 70 else "paid")
                ],
                "/billing/auto_recharge": lambda hour: apis.videodb_auto_recharge(threshold=10, amount=50),
            },
        ),
        {
            LOW: (25.2, END),
            ("VideoApiAutoRechargeFailed", "critical"): (52.1, END),
            CRITICALLY_LOW: (62.7, END),
            ("VideoApiInvoiceFailed", "warning"): (70.5, END),
            EXHAUSTED: (75.1, END),
        },
    ),
    # The plan.
    Scenario(
        "no-subscription",
        Life(trouble=lambda hour: NO_SUBSCRIPTION),
        {("VideoApiSubscriptionInactive", "critical"): (0.2, END)},
    ),
    Scenario(
        "cancelled",
        Life(
            rate=steady(0.5),
            period_ends=96,
            change=lambda data, hour: {**data, "subscription": {**data["subscription"], "cancel_at_period_end": True}},
            trouble=during(96, END, NO_SUBSCRIPTION),
        ),
        {
            ("VideoApiSubscriptionEnding", "warning"): (0.2, 96.1),
            ("VideoApiSubscriptionInactive", "critical"): (96.2, END),
        },
    ),
    Scenario(
        "filling",
        Life(
            change=lambda data, hour: {
                **data,
                "storage": {"used_bytes": int(60 + hour / 3), "limit_bytes": 100},
                "channels_indexed": {"used": 15 if hour > 60 else 10, "limit": 15},
            }
        ),
        {
            ("VideoApiStorageNearLimit", "warning"): (60.2, END),
            ("VideoApiStorageNearLimit", "critical"): (105.2, END),
            ("VideoApiChannelsNearLimit", "warning"): (60.2, END),
            ("VideoApiChannelsNearLimit", "critical"): (60.2, END),
        },
    ),
    # The polling.
    Scenario(
        "revoked",
        Life(rate=steady(0.9), trouble=during(60, END, REFUSED)),
        {("VideoApiKeyRejected", "critical"): (60.6, END), FAILING: (60.3, END), STALE: (60.4, END)},
    ),
    Scenario(
        "rate-limited",
        Life(rate=steady(0.9), trouble=during(60, 66, TOO_MANY)),
        {("VideoApiRateLimited", "warning"): (60.3, 67.1), FAILING: (60.3, 66.1), STALE: (60.4, 66.1)},
    ),
    Scenario("one-refusal", Life(rate=steady(0.9), trouble=during(60, 60.08, TOO_MANY))),
    Scenario(
        "figures-of-yesterday",
        Life(rate=steady(0.9), change=lambda data, hour: {**data, "generated_at": apis.timestamp(0)}),
        {STALE: (1.1, END)},
    ),
    Scenario(
        "unreadable-balance",
        Life("videodb", change=lambda data, hour: {**data, "credit_balance": "n/a"}),
        {("VideoApiBalanceMissing", "warning"): (0.3, END), ("VideoApiFieldsRejected", "warning"): (1.1, END)},
    ),
)
