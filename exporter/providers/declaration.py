"""What a provider is that is written as data: its requests, and where each figure stands in the responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

from exporter.providers.base import Price
from exporter.providers.expressions import Expression
from exporter.providers.readers import ResponseField
from exporter.providers.templates import Template


@dataclass(frozen=True, slots=True)
class AuthRule:
    """How the key is sent: in a header, as the password of ``user``, or in the query."""

    header: str = ""
    prefix: str = ""
    user: Template | None = None
    query: str = ""


@dataclass(frozen=True, slots=True)
class WaitRule:
    """Where a response names how long the key must rest, as seconds or as a time."""

    path: Expression | None = None
    header: str = ""
    time: str = "seconds"


@dataclass(frozen=True, slots=True)
class ErrorRules:
    """What the vendor's refusals mean."""

    code: Expression | None = None
    message: Expression | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[int, str] = field(default_factory=dict)
    wait: WaitRule | None = None


@dataclass(frozen=True)
class CreditRules:
    """The figures of the headline unit. ``rolling`` means a window that is never refilled."""

    balance: ResponseField | None = None
    limit: ResponseField | None = None
    used: ResponseField | None = None
    remaining: ResponseField | None = None
    purchased: ResponseField | None = None
    granted: ResponseField | None = None
    rolling: bool = False

    @cached_property
    def declared(self) -> Mapping[str, ResponseField]:
        """Return the figures that are declared, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "rolling"}
        return {name: figure for name, figure in found.items() if figure is not None}


@dataclass(frozen=True, slots=True)
class OperationRules:
    """A list of operations with their use. Without ``unit`` it is in the headline unit."""

    each: Expression
    name: ResponseField
    used: ResponseField
    unit: ResponseField | None = None


@dataclass(frozen=True, slots=True)
class AmountRules:
    """What is used of something limited."""

    used: ResponseField | None = None
    limit: ResponseField | None = None
    remaining: ResponseField | None = None
    ratio: ResponseField | None = None


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """One named quota, or with ``each`` one for each item of a list."""

    name: str | ResponseField
    unit: str | ResponseField
    amounts: AmountRules
    resets_at: ResponseField | None = None
    expires_at: ResponseField | None = None
    each: Expression | None = None


@dataclass(frozen=True, slots=True)
class SpanRule:
    """The start and the end of a period."""

    start: ResponseField | None = None
    end: ResponseField | None = None


@dataclass(frozen=True, slots=True)
class PlanRule:
    """The plan of the account."""

    id: ResponseField | None = None
    name: ResponseField | None = None
    interval: ResponseField | None = None
    status: ResponseField | None = None
    active: ResponseField | None = None
    cancel_at_period_end: ResponseField | None = None


@dataclass(frozen=True, slots=True)
class RequestRule:
    """One request, and what is read of its response. ``body`` makes it a POST."""

    path: Template
    query: Mapping[str, Template] = field(default_factory=dict)
    body: object = None
    success: Expression | None = None
    no_subscription: Expression | None = None
    no_subscription_statuses: tuple[int, ...] = (404,)
    credits: CreditRules = field(default_factory=CreditRules)
    operations: OperationRules | None = None
    quotas: tuple[QuotaRule, ...] = ()
    storage: AmountRules | None = None
    channels: AmountRules | None = None
    period: SpanRule = field(default_factory=SpanRule)
    usage_period: SpanRule = field(default_factory=SpanRule)
    plan: PlanRule = field(default_factory=PlanRule)
    generated_at: ResponseField | None = None


@dataclass(frozen=True)
class Declaration:
    """A whole provider. ``requests`` has its requests by name, ``usage`` first."""

    title: str
    base_url: str
    auth: AuthRule
    requests: Mapping[str, RequestRule]
    variables: tuple[str, ...] = ()
    headers: Mapping[str, Template] = field(default_factory=dict)
    unit: str = "credits"
    errors: ErrorRules = field(default_factory=ErrorRules)
    credit_rates: Mapping[str, float] = field(default_factory=dict)
    interval: float | None = None
    max_requests_per_minute: int | None = None
    price: Price | None = None

    @cached_property
    def declared(self) -> frozenset[str]:
        """Return the names of the figures of the headline unit that its requests declare."""
        return frozenset().union(*(request.credits.declared for request in self.requests.values()))

    @cached_property
    def is_rolling(self) -> bool:
        """Return whether its figures are of a window that is never refilled."""
        return any(request.credits.rolling for request in self.requests.values())

    @cached_property
    def has_start(self) -> bool:
        """Return whether the start of the billing period is declared."""
        return any(request.period.start is not None for request in self.requests.values())

    @property
    def limited(self) -> tuple[str, ...]:
        """Return which of storage and channels it has."""
        return tuple(
            name
            for name in ("storage", "channels")
            if any(getattr(request, name) for request in self.requests.values())
        )
