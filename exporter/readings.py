"""What is known of an account: frozen values in base units, no vendor's field names, no metric names.

``None`` means that the vendor did not say (or said something unreadable); ``inf`` means unlimited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

AccountKey = tuple[str, str]
"""What an account is known by: provider and name."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A limited resource: storage in bytes, or channels. ``ratio`` is used / limit, from 0 to 1."""

    used: float | None = None
    limit: float | None = None
    remaining: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A billing or usage period; Unix times in seconds."""

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """The plan of an account. ``active`` is None where the vendor named no status."""

    plan_id: str = ""
    plan_name: str = ""
    interval: str = ""
    status: str = ""
    active: bool | None = None
    cancel_at_period_end: bool | None = None


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """How much of one service was used in this period, in the unit that the vendor bills."""

    operation: str
    unit: str
    used: float


@dataclass(frozen=True, slots=True)
class Pool:
    """One pot of credits for the ledger. ``limit`` and ``period_start`` are set where it is refilled monthly."""

    balance: float | None
    limit: float | None = None
    period_start: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """One good answer of the usage call."""

    balance: float | None = None
    monthly_limit: float | None = None
    monthly_remaining: float | None = None
    monthly_used: float | None = None
    purchased: float | None = None
    used_by_operation: Mapping[str, float] = field(default_factory=dict)
    services: tuple[ServiceUse, ...] = ()
    folded_operations: int = 0
    storage: Quota | None = None
    channels: Quota | None = None
    subscription: Subscription | None = None
    subscribed: bool = True
    usage_period: Period | None = None
    billing_period: Period | None = None
    generated_at: float | None = None
    pools: Mapping[str, Pool] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invoices:
    """The latest invoices: how many stand at each status, and the newest one."""

    by_status: Mapping[str, int]
    last_amount: float | None = None
    last_currency: str = ""
    last_status: str = ""
    last_at: float | None = None
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AutoRecharge:
    """Whether the vendor tops the balance up by itself: ``amount`` credits when it falls under ``threshold``."""

    enabled: bool | None = None
    threshold: float | None = None
    amount: float | None = None
    rejected: tuple[str, ...] = ()


Part = Usage | Invoices | AutoRecharge


@dataclass(frozen=True, slots=True)
class Ledger:
    """Credits since the first reading; none of the totals ever falls. ``pools`` are the last amounts compared.

    ``doubted`` are the pools of a whole balance that fell to 0, which the next reading confirms or takes back.
    """

    spent: Decimal = Decimal(0)
    added: Decimal = Decimal(0)
    lapsed: Decimal = Decimal(0)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    generated_at: float | None = None
    doubted: Mapping[str, Pool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last poll failed: the reason label and a sentence without any secret."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AccountState:
    """All that is known of one account: what is scraped, shown on the page and kept in the state file.

    Times are Unix seconds of the wall clock, durations seconds. ``parts`` holds the last good answer
    of each thing collected (``usage``, ``invoices``, ``auto_recharge``), ``part_times`` when it came,
    ``part_asked`` when it was last asked for. ``refusals`` counts the 401 and 403 answers in a row to the
    key whose salted hash is ``refused_key``; it rests until ``refused_until``.
    """

    parts: Mapping[str, Part] = field(default_factory=dict)
    part_times: Mapping[str, float] = field(default_factory=dict)
    part_asked: Mapping[str, float] = field(default_factory=dict)
    ledger: Ledger | None = None
    last_poll: float | None = None
    last_success: float | None = None
    next_poll: float | None = None
    last_duration: float | None = None
    reading_gap: float | None = None
    cooldown_until: float | None = None
    polls: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    failure: Failure | None = None
    refusals: int = 0
    refused_key: str = ""
    refused_until: float | None = None

    @property
    def usage(self) -> Usage | None:
        """Return the last good usage answer."""
        part = self.parts.get("usage")
        return part if isinstance(part, Usage) else None
