"""The data of an account as frozen values in base units, without field names of vendors or metric names.

``None`` means that the vendor sent no value, or one that cannot be read. ``inf`` means unlimited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Quota:
    """A limited resource, which is storage in bytes or channels. ``ratio`` is used / limit, from 0 to 1."""

    used: float | None = None
    limit: float | None = None
    remaining: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class NamedQuota:
    """A quota beside the credits, in a unit of its own. It is refilled at ``resets_at``, or lost at ``expires_at``."""

    name: str
    unit: str
    amounts: Quota
    resets_at: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A billing or usage period in Unix seconds."""

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """The plan of an account. ``active`` is None if the vendor sent no status."""

    plan_id: str = ""
    plan_name: str = ""
    interval: str = ""
    status: str = ""
    active: bool | None = None
    cancel_at_period_end: bool | None = None


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """The use of a service in this period, in the unit that the vendor bills."""

    operation: str
    unit: str
    used: float


@dataclass(frozen=True, slots=True)
class Pool:
    """Credits that the ledger counts together. ``limit`` and ``period_start`` are set if it is refilled monthly.

    Where the vendor names no start of the period, ``period_start`` is its end, which tells periods apart as well.
    """

    balance: float | None
    limit: float | None = None
    period_start: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """A good response to the request for the usage."""

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
    unit: str = "credits"
    quotas: tuple[NamedQuota, ...] = ()


@dataclass(frozen=True, slots=True)
class Invoices:
    """The number of the latest invoices at each status, and the newest invoice."""

    by_status: Mapping[str, int]
    last_amount: float | None = None
    last_currency: str = ""
    last_status: str = ""
    last_at: float | None = None
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AutoRecharge:
    """The vendor's automatic top-up of ``amount`` credits when the balance falls below ``threshold``."""

    enabled: bool | None = None
    threshold: float | None = None
    amount: float | None = None
    rejected: tuple[str, ...] = ()


Part = Usage | Invoices | AutoRecharge


@dataclass(frozen=True, slots=True)
class Ledger:
    """Credits since the first reading. No total ever falls. ``pools`` are the last reading's amounts in ``unit``.

    ``began`` is the Unix time of the first reading, None if an earlier release began the ledger.
    ``doubted`` are the pools of a reading in which the whole balance fell to 0. They are booked when the next
    reading confirms the 0.
    """

    spent: Decimal = Decimal(0)
    added: Decimal = Decimal(0)
    lapsed: Decimal = Decimal(0)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    generated_at: float | None = None
    doubted: Mapping[str, Pool] = field(default_factory=dict)
    unit: str = "credits"
    began: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason label of a failed poll, and its message without secrets."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AccountState:
    """The state of an account, which scrapes export, the status page shows and the state file keeps.

    Times are Unix seconds of the wall clock, and durations are seconds. ``parts`` has the last good response for
    each value of ``collect``. ``part_times`` tells when it came, ``part_asked`` when it was last asked for.
    ``refusals`` counts consecutive 401 and 403 answers to the key whose salted hash is ``refused_key``. The
    exporter does not use that key before ``refused_until``. ``last_status`` is the HTTP status of the last poll.
    ``version`` counts the changes in a state that replicas share. A poll keeps it, so that it tells what the poll
    was based on.
    """

    parts: Mapping[str, Part] = field(default_factory=dict)
    part_times: Mapping[str, float] = field(default_factory=dict)
    part_asked: Mapping[str, float] = field(default_factory=dict)
    ledger: Ledger | None = None
    last_poll: float | None = None
    last_success: float | None = None
    next_poll: float | None = None
    last_duration: float | None = None
    last_status: int | None = None
    reading_gap: float | None = None
    cooldown_until: float | None = None
    polls: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    failure: Failure | None = None
    refusals: int = 0
    refused_key: str = ""
    refused_until: float | None = None
    version: int = field(default=0, compare=False)

    @property
    def usage(self) -> Usage | None:
        """Return the last good usage response."""
        part = self.parts.get("usage")
        return part if isinstance(part, Usage) else None


@dataclass(frozen=True, slots=True)
class PollRecord:
    """A finished poll. ``at`` is its end in Unix seconds. ``reason`` is empty if the answer was good."""

    at: float
    seconds: float
    status: int | None = None
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class Series:
    """Readings of an account, oldest first, as columns of one length.

    ``at`` has Unix seconds, ``storage`` and ``channels`` the used ratio, ``period`` the start of the billing period,
    or its end where the vendor names no start, ``used`` a column for each operation. Spent, added and lapsed are the
    totals of the ledger that began at ``began``. ``damaged`` tells that some readings are unreadable and left out.
    """

    at: list[int] = field(default_factory=list)
    unit: list[str] = field(default_factory=list)
    balance: list[float | None] = field(default_factory=list)
    spent: list[Decimal | None] = field(default_factory=list)
    added: list[Decimal | None] = field(default_factory=list)
    lapsed: list[Decimal | None] = field(default_factory=list)
    began: list[float | None] = field(default_factory=list)
    storage: list[float | None] = field(default_factory=list)
    channels: list[float | None] = field(default_factory=list)
    period: list[float | None] = field(default_factory=list)
    used: dict[str, list[float | None]] = field(default_factory=dict)
    damaged: bool = False

    def __len__(self) -> int:
        return len(self.at)


class Kept(NamedTuple):
    """How long the history keeps readings, in seconds. 0 keeps none."""

    hourly: float = 8 * 86400.0
    daily: float = 400 * 86400.0
