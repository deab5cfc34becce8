"""Compares what a declaration makes of a recorded response with what its example expects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf, isclose

from exporter.errors import PollError
from exporter.providers.base import ParseOptions
from exporter.providers.declaration import Declaration
from exporter.providers.declared import refuses, says_no_subscription
from exporter.providers.declared_usage import usage_of
from exporter.providers.readers import FieldOutcome
from exporter.readings import Usage

ABSENT = "absent"
_NAME = re.compile(r"([a-z_]+)(?:\{(.*)\})?")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"(?:, ?|$)')
_QUOTAS = (("used", "used"), ("limit", "limit"), ("remaining", "remaining"), ("ratio", "used_ratio"))


def result_of(
    declaration: Declaration,
    documents: Mapping[str, object],
    status: int,
    outcomes: list[FieldOutcome] | None = None,
    now: float = 0.0,
) -> Usage | PollError:
    """Return what a poll at Unix time ``now`` would make of these responses, the first of which has this status."""
    for name, request in declaration.requests.items():
        if name not in documents:
            continue
        error = refuses(declaration.errors, request, status if name == "usage" else 200, documents[name])
        if error is not None:
            return error
        if says_no_subscription(request, documents[name]):
            return Usage(subscribed=False, unit=declaration.unit)
    there = {name: documents[name] for name in declaration.requests if name in documents}
    return usage_of(declaration, there, ParseOptions(now=now), outcomes)


def differences(
    declaration: Declaration, documents: Mapping[str, object], status: int, expect: object
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield a sentence for each value that is not as the example expects, after the value's place in ``expect``.

    A sentence repeats no word of the example, which may be a key.
    """
    if not isinstance(expect, Mapping):
        yield (), "must be a mapping, such as `credits_balance: 100.5`"
        return
    result = result_of(declaration, documents, status)
    failure = result.reason if isinstance(result, PollError) else None
    if expect.get("failure") != failure:
        found = f"a poll that fails with {failure}" if failure else "a good response"
        yield ("failure",) if "failure" in expect else (), f"the example gives {found}"
        return
    series = [] if isinstance(result, PollError) else list(series_of(result))
    for name, value in expect.items():
        if name != "failure":
            yield from (((str(name),), sentence) for sentence in _difference(str(name), value, series))


def _difference(name: str, wanted: object, series: list[tuple[str, Mapping[str, str], float]]) -> Iterator[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        yield "is not the name of a metric without `video_api_`, such as credits_balance"
        return
    labels = dict(_LABEL.findall(match[2] or ""))
    found = [value for known, own, value in series if known == match[1] and labels.items() <= own.items()]
    if wanted is None or wanted == ABSENT:
        if found:
            yield f"the example gives {found[0]:.12g}, not {ABSENT}"
        return
    number = inf if wanted in ("unlimited", "+Inf", inf) else wanted
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        yield f"must be a number, unlimited, or {ABSENT}"
    elif len(found) != 1:
        yield "the example gives several values, not one" if found else _missing(match[1], series)
    elif found[0] != number and not isclose(found[0], number, rel_tol=1e-9):
        yield f"the example gives {found[0]:.12g}"


def _missing(name: str, series: list[tuple[str, Mapping[str, str], float]]) -> str:
    known = sorted({known for known, _, _ in series})
    other = "" if name in known else f". It gives {', '.join(known[:10])}" + (", …" if len(known) > 10 else "")
    return f"the example gives no such value{other}"


def series_of(usage: Usage) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yield the metrics of a response, each without ``video_api_``, with its labels and value."""
    plan = usage.subscription
    active = plan.active if plan is not None else None if usage.subscribed else False
    simple: Mapping[str, float | bool | None] = {
        "credits_balance": usage.balance,
        "credits_monthly_limit": usage.monthly_limit,
        "credits_monthly_remaining": usage.monthly_remaining,
        "credits_monthly_used": usage.monthly_used,
        "credits_purchased": usage.purchased,
        "subscription_active": active,
        "subscription_cancel_at_period_end": plan.cancel_at_period_end if plan is not None else None,
        "data_timestamp_seconds": usage.generated_at,
        "rejected_fields": float(len(usage.rejected)),
    }
    for name, value in simple.items():
        if value is not None:
            yield name, {}, float(value)
    for operation, used in usage.used_by_operation.items():
        yield "credits_used_by_operation", {"operation": operation}, used
    for use in usage.services:
        yield "service_usage", {"operation": use.operation, "unit": use.unit}, use.used
    for label, period in (("usage", usage.usage_period), ("billing", usage.billing_period)):
        for end in ("start", "end"):
            moment = getattr(period, end, None)
            if moment is not None:
                yield f"period_{end}_timestamp_seconds", {"period": label}, moment
    yield from _limited(usage)


def _limited(usage: Usage) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for kind, suffix in (("storage", "_bytes"), ("channels", "")):
        for field, name in _QUOTAS:
            value = getattr(getattr(usage, kind), field, None)
            if value is not None:
                yield f"{kind}_{name}{'' if field == 'ratio' else suffix}", {}, value
    for quota in usage.quotas:
        for field, name in _QUOTAS:
            value = getattr(quota.amounts, field)
            if value is not None:
                yield f"quota_{name}", {"quota": quota.name, "unit": quota.unit}, value
        for name, moment in (("reset", quota.resets_at), ("expiry", quota.expires_at)):
            if moment is not None:
                yield f"quota_{name}_timestamp_seconds", {"quota": quota.name}, moment
