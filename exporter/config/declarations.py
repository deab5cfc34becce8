"""Turns a block of ``providers:`` into the declaration that the program uses."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.config import provider_schema
from exporter.config.provider_schema import ProviderBlock, RequestBlock
from exporter.config.providers import price_of
from exporter.providers import declaration as declared
from exporter.providers.declaration import Declaration
from exporter.providers.expressions import Expression
from exporter.providers.readers import ResponseField


def requests_of(block: ProviderBlock) -> Mapping[str, RequestBlock]:
    """Return the requests of a poll by name, ``usage`` first."""
    return {"usage": block.usage, **(block.usage.more or {})}


def declaration_of(name: str, block: ProviderBlock) -> Declaration:
    """Return the declaration that a block of the configuration is."""
    auth, errors = block.auth, block.errors or provider_schema.ErrorsBlock()
    wait = errors.wait
    operations = (request.operations for request in requests_of(block).values())
    return Declaration(
        title=block.title or name,
        base_url=block.base_url,
        auth=declared.AuthRule(auth.header or "", auth.prefix or "", auth.basic, auth.query or ""),
        requests={key: _request_rule(request, block) for key, request in requests_of(block).items()},
        variables=tuple(dict.fromkeys(block.variables or ())),
        headers=block.headers or {},
        unit=block.unit or "credits",
        errors=declared.ErrorRules(
            errors.code,
            errors.message,
            errors.reasons or {},
            errors.statuses or {},
            None if wait is None else declared.WaitRule(wait.path, wait.header or "", wait.time or "seconds"),
        ),
        credit_rates={key: rate for each in operations if each for key, rate in (each.credit_rates or {}).items()},
        interval=block.interval,
        max_requests_per_minute=block.max_requests_per_minute,
        price=price_of(block.price),
    )


def _request_rule(request: RequestBlock, block: ProviderBlock) -> declared.RequestRule:
    credits = request.credits or provider_schema.FiguresBlock()
    operations, plan = request.operations, request.plan or provider_schema.PlanBlock()
    none, statuses = request.no_subscription or (None, (404,))
    return declared.RequestRule(
        path=request.path,
        query=request.query or {},
        body=request.json_ if request.json_ is not None or request.method != "POST" else {},
        success=request.success,
        no_subscription=none,
        no_subscription_statuses=statuses,
        credits=declared.CreditRules(
            **{name: getattr(credits, name) for name in type(credits).model_fields if name != "window"},
            rolling=credits.window is not None,
        ),
        operations=None
        if operations is None
        else declared.OperationRules(operations.each, operations.name, operations.used, operations.unit),
        quotas=tuple(_quota(entry, block.unit or "credits") for entry in request.quotas or ()),
        storage=_amounts(request.storage),
        channels=_amounts(request.channels),
        period=_span(request.period),
        usage_period=_span(request.usage_period),
        plan=declared.PlanRule(**{name: getattr(plan, name) for name in type(plan).model_fields}),
        generated_at=request.generated_at,
    )


def _quota(entry: provider_schema.QuotaBlock, unit: str) -> declared.QuotaRule:
    return declared.QuotaRule(
        quota_name(entry),
        unit if entry.unit is None else entry.unit,
        declared.AmountRules(entry.used, entry.limit, entry.remaining, entry.ratio),
        entry.resets_at,
        entry.expires_at,
        entry.each,
    )


def quota_name(entry: provider_schema.QuotaBlock) -> str | ResponseField:
    """Return the name, which is a field where there is one for each item. Raise ValueError."""
    return (
        entry.name if entry.each is None or not isinstance(entry.name, str) else ResponseField(Expression(entry.name))
    )


def _amounts(block: provider_schema.AmountsBlock | None) -> declared.AmountRules | None:
    return None if block is None else declared.AmountRules(block.used, block.limit, block.remaining, block.ratio)


def _span(block: provider_schema.PeriodBlock | None) -> declared.SpanRule:
    return declared.SpanRule() if block is None else declared.SpanRule(block.start, block.end)
