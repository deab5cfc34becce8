"""Reads the responses of a declared provider. What was sent is used as it is, and what follows from it is derived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, isinf

from exporter.providers.base import ParseOptions
from exporter.providers.declaration import (
    AmountRules,
    CreditRules,
    Declaration,
    OperationRules,
    PlanRule,
    QuotaRule,
    RequestRule,
    SpanRule,
)
from exporter.providers.fields import exact_sum
from exporter.providers.operations import fold_quotas, fold_services, readable
from exporter.providers.readers import FieldOutcome, Reader, ResponseField
from exporter.readings import NamedQuota, Period, Pool, Quota, ServiceUse, Subscription, Usage


@dataclass(slots=True)
class _Found:
    """What the responses of one poll have, added up request by request."""

    credits: dict[str, float] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    billed: list[tuple[str, str, float | None]] = field(default_factory=list)
    services: list[tuple[str, str, float | None]] = field(default_factory=list)
    quotas: list[NamedQuota] = field(default_factory=list)
    storage: Quota | None = None
    channels: Quota | None = None
    period: Period | None = None
    usage_period: Period | None = None
    plan: Subscription | None = None
    generated_at: float | None = None


def usage_of(
    declaration: Declaration,
    documents: Mapping[str, object],
    options: ParseOptions,
    outcomes: list[FieldOutcome] | None = None,
) -> Usage:
    """Return what the responses say. ``outcomes`` is filled with what became of each field."""
    found = _Found()
    rejected: dict[str, None] = {}
    for name, document in documents.items():
        reader = Reader(document, "" if name == "usage" else f"{name}.", rejected, outcomes)
        _read(declaration.requests[name], reader, found)
    known, declared = found.credits, declaration.declared
    _derive(known, declared, found.bad)
    rates = {**declaration.credit_rates, **options.credit_rates}
    services, used_by_operation, folded = _operations(found, rates, options.max_operations)
    quotas, folded_quotas = fold_quotas(found.quotas, options.max_operations, options.now)
    is_lifetime = "granted" in declared and "limit" not in declared
    return Usage(
        balance=known.get("balance"),
        monthly_limit=known.get("limit"),
        monthly_remaining=known.get("remaining"),
        monthly_used=None if is_lifetime else known.get("used"),
        purchased=known.get("purchased"),
        used_by_operation=used_by_operation,
        services=services,
        folded_operations=folded + folded_quotas,
        storage=found.storage,
        channels=found.channels,
        subscription=found.plan,
        usage_period=found.usage_period,
        billing_period=found.period,
        generated_at=found.generated_at,
        pools={} if declaration.is_rolling else _pools(known, declared, found.period, has_start=declaration.has_start),
        rejected=tuple(rejected),
        unit=declaration.unit,
        quotas=quotas,
    )


def _read(request: RequestRule, reader: Reader, found: _Found) -> None:
    _read_credits(request.credits, reader, found)
    if request.operations is not None:
        rows = found.billed if request.operations.unit is None else found.services
        rows.extend(_rows(request.operations, reader))
    for position, rule in enumerate(request.quotas):
        found.quotas.extend(_quotas(rule, reader, f"quotas[{position}]"))
    for name in ("storage", "channels"):
        amounts: AmountRules | None = getattr(request, name)
        if amounts is not None:
            setattr(found, name, _quota(amounts, reader, name + "."))
    found.period = _span(request.period, reader, "period", found.period)
    found.usage_period = _span(request.usage_period, reader, "usage_period", found.usage_period)
    found.plan = _plan(request.plan, reader) or found.plan
    if request.generated_at is not None:
        found.generated_at = reader.time("generated_at", request.generated_at)


def _read_credits(credits: CreditRules, reader: Reader, found: _Found) -> None:
    for name, figure in credits.declared.items():
        value, rejected = reader.number("credits." + name, figure)
        if value is not None:
            found.credits.setdefault(name, value)
        if rejected:
            found.bad.add(name)


def _derive(known: dict[str, float], declared: frozenset[str], bad: set[str]) -> None:
    """Add the figures that are not declared and follow from two that are known."""

    def put(name: str, value: float | None) -> None:
        if value is not None and name not in declared:
            known[name] = value

    get = known.get
    if "balance" not in declared:
        put("remaining", _left(get("limit"), get("used")))
    if "remaining" in declared:
        put("used", _used(get("limit"), get("remaining")))
    if get("remaining") is not None:
        if "purchased" not in bad:
            put("balance", _total(known["remaining"], get("purchased", 0.0)))
    elif "granted" in declared and "remaining" not in declared and "limit" not in declared:
        put("balance", _left(get("granted"), get("used")))


def _left(limit: float | None, used: float | None) -> float | None:
    if limit is None or used is None or isinf(used):
        return None
    return inf if isinf(limit) else _difference(limit, used)


def _used(limit: float | None, remaining: float | None) -> float | None:
    """Return what was used. It is not known where more remains than the limit, as with what is carried over."""
    used = _difference(limit, remaining)
    return None if used is None or used < 0 else used


def _difference(total: float | None, part: float | None) -> float | None:
    if total is None or part is None or not isfinite(total) or not isfinite(part):
        return None
    return _total(total, -part)


def _total(one: float, other: float) -> float | None:
    total = exact_sum(one, other)
    # Two huge amounts may overflow to infinity, which would mean unlimited.
    return None if isinf(total) and isfinite(one) and isfinite(other) else total


def _pools(
    known: Mapping[str, float], declared: frozenset[str], period: Period | None, *, has_start: bool
) -> Mapping[str, Pool]:
    """Return what the ledger compares. Only what is refilled has a limit and a period."""
    if "balance" in declared or not {"remaining", "limit"} & declared:
        return {"balance": Pool(known.get("balance"))} if {"balance", "granted"} & declared else {}
    mark = None if period is None else period.start if has_start else period.end
    pools = {"monthly": Pool(known.get("remaining"), known.get("limit"), mark)}
    return {**pools, "purchased": Pool(known.get("purchased"))} if "purchased" in declared else pools


def _rows(rule: OperationRules, reader: Reader) -> Iterator[tuple[str, str, float | None]]:
    """Yield name, unit and use of each operation. An unknown use is None, so that no sum leaves it out."""
    for position, item in enumerate(reader.items("operations.each", rule.each)):
        inside = reader.inside(item, f"operations[{position}].")
        used, _ = inside.number("used", rule.used)
        unit, bad_unit = inside.text("unit", rule.unit)
        name, _ = inside.text("name", rule.name)
        if name is not None and not bad_unit:
            yield name, unit or "", used


def _operations(
    found: _Found, rates: Mapping[str, float], most: int
) -> tuple[tuple[ServiceUse, ...], Mapping[str, float], int]:
    """Return the counters, the use in the headline unit, and the number of folded operations."""
    services, costs, folded = fold_services(readable(found.services), rates, most)
    if not found.billed:
        return services, costs, folded
    billed, _, folded_bills = fold_services(readable(found.billed), {}, most)
    return services, {**costs, **{use.operation: use.used for use in billed}}, folded + folded_bills


def _quotas(rule: QuotaRule, reader: Reader, where: str) -> Iterator[NamedQuota]:
    if rule.each is None:
        quota = _named(rule, reader, where + ".")
        if quota is not None:
            yield quota
        return
    for position, item in enumerate(reader.items(f"{where}.each", rule.each)):
        quota = _named(rule, reader.inside(item, f"{where}[{position}]."), "")
        if quota is not None:
            yield quota


def _named(rule: QuotaRule, reader: Reader, where: str) -> NamedQuota | None:
    name, unit = _word(rule.name, reader, where + "name"), _word(rule.unit, reader, where + "unit")
    amounts = _quota(rule.amounts, reader, where)
    resets_at = reader.time(where + "resets_at", rule.resets_at)
    expires_at = reader.time(where + "expires_at", rule.expires_at)
    if name is None or unit is None:
        return None
    # Also one of which nothing is known, because the sum of its name is unknown then.
    return NamedQuota(name, unit, amounts, resets_at, expires_at)


def _word(word: str | ResponseField, reader: Reader, name: str) -> str | None:
    return word if isinstance(word, str) else reader.text(name, word)[0]


def _quota(rule: AmountRules, reader: Reader, where: str) -> Quota:
    used, _ = reader.number(where + "used", rule.used)
    limit, _ = reader.number(where + "limit", rule.limit)
    remaining, _ = reader.number(where + "remaining", rule.remaining)
    if rule.used is None:
        used = _used(limit, remaining)
    if rule.remaining is None:
        remaining = _left(limit, used)
    ratio, rejected = reader.number(where + "ratio", rule.ratio)
    if ratio is not None and isinf(ratio):
        reader.reject(where + "ratio", "is unlimited, which no ratio can be")
        ratio = None
    elif ratio is not None:
        ratio = round(ratio, 6)
    elif not rejected:
        ratio = ratio_of(used, limit)
    return Quota(used, limit, remaining, ratio)


def ratio_of(used: float | None, limit: float | None) -> float | None:
    """Return used / limit, which is 0 where there is no limit and unknown where the limit is 0."""
    if limit == inf:
        return 0.0
    if used is None or limit is None or limit == 0 or isinf(used):
        return None
    return used / limit


def _span(rule: SpanRule, reader: Reader, where: str, before: Period | None) -> Period | None:
    if rule.start is None and rule.end is None:
        return before
    start, end = reader.time(f"{where}.start", rule.start), reader.time(f"{where}.end", rule.end)
    return before if start is None and end is None else Period(start, end)


def _plan(rule: PlanRule, reader: Reader) -> Subscription | None:
    """Return the plan. The interval alone makes none, because a vendor may tell it of the period."""
    id_, bad_id = reader.text("plan.id", rule.id)
    name, bad_name = reader.text("plan.name", rule.name)
    interval, _ = reader.text("plan.interval", rule.interval)
    status, bad_status = reader.text("plan.status", rule.status)
    active, bad_active = reader.flag("plan.active", rule.active)
    ends, bad_end = reader.flag("plan.cancel_at_period_end", rule.cancel_at_period_end)
    if all(value is None for value in (id_, name, status, active, ends)) and not (
        bad_id or bad_name or bad_status or bad_active or bad_end
    ):
        return None
    return Subscription(id_ or "", name or "", interval or "", status or "", active, ends)
