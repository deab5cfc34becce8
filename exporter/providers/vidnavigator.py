"""Reads ``/usage`` of VidNavigator, which is documented at https://docs.vidnavigator.com.

Every block of the response is optional in the vendor's own client. The names of the services are not known in
advance, because the vendor's pages list different names at different times.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, isinf

from exporter.providers.base import Endpoint, Get, ParseOptions, Provider, data_object, envelope, refusal
from exporter.providers.fields import FieldReader, exact_sum, label
from exporter.providers.operations import fold_services, readable
from exporter.readings import Period, Pool, Quota, ServiceUse, Subscription, Usage

CREDIT_RATES: Mapping[str, float] = {
    "standard_request": 10_000,
    "video_transcripts": 10_000,
    "residential_request": 200,
    "youtube_transcripts": 200,
    "analysis_request": 100,
    "video_analyses": 100,
    "search_request": 10,
    "video_searches": 10,
    "transcription_hour": 1,
    "video_uploads": 1,
    "video_scene_analyses": 1,
}
"""Number of units of a service that one credit buys, from the vendor's pricing page."""

_ACTIVE = ("active", "trialing")


def fetch_usage(get: Get, options: ParseOptions) -> Usage:
    """Request credits, service counters, storage and channels."""
    response = get("/usage", accept=(404,))
    if response.status == 404 and not _no_subscription(response.document):
        raise refusal(response.status, response.document)
    return parse_usage(response.document, options)


def _no_subscription(document: object) -> bool:
    return isinstance(document, Mapping) and "no_subscription" in (
        document.get("error"),
        document.get("error_code"),
    )


def parse_usage(document: object, options: ParseOptions) -> Usage:
    """Read a response of ``/usage`` or ``no_subscription``. Raise InvalidResponseError for a wrong envelope."""
    if _no_subscription(document):
        return Usage(subscribed=False)
    rejected: list[str] = []
    data = FieldReader(
        data_object(envelope(document, lambda response: response.get("status") == "success")), "data", rejected
    )
    billing = data.nested("billing_period")
    billing_period = _period(billing)
    interval = billing.text("interval") if billing is not None else None
    credits = data.nested("credits") or FieldReader({}, "data.credits", rejected)
    total, remaining = credits.number("monthly_total"), credits.number("monthly_remaining")
    purchased = credits.number("purchased")
    services, used_by_operation, folded = _services(data.nested("usage"), options)
    return Usage(
        balance=_balance(remaining, purchased, purchased_sent=credits.sent("purchased")),
        monthly_limit=total,
        monthly_remaining=remaining,
        monthly_used=_difference(total, remaining),
        purchased=purchased,
        used_by_operation=used_by_operation,
        services=services,
        folded_operations=folded,
        storage=_quota(data.nested("storage"), "used_bytes", "limit_bytes", "remaining_bytes"),
        channels=_quota(data.nested("channels_indexed"), "used", "limit", "remaining"),
        subscription=_subscription(data.nested("subscription"), interval),
        usage_period=_period(data.nested("usage_period")),
        billing_period=billing_period,
        generated_at=data.time("generated_at"),
        pools={
            "monthly": Pool(remaining, total, billing_period.start if billing_period is not None else None),
            "purchased": Pool(purchased),
        },
        rejected=tuple(rejected),
    )


def _balance(remaining: float | None, purchased: float | None, *, purchased_sent: bool) -> float | None:
    if remaining is None or (purchased is None and purchased_sent):
        return None
    balance = exact_sum(remaining, purchased or 0.0)
    # Two huge amounts may overflow to infinity, which would mean unlimited.
    return None if isinf(balance) and isfinite(remaining) and isfinite(purchased or 0.0) else balance


def _difference(total: float | None, remaining: float | None) -> float | None:
    if total is None or remaining is None or not isfinite(total) or not isfinite(remaining):
        return None
    return exact_sum(total, -remaining)


def _services(
    usage: FieldReader | None, options: ParseOptions
) -> tuple[tuple[ServiceUse, ...], Mapping[str, float], int]:
    """Return the counters, their cost in credits if a rate is known, and the number of folded operations."""
    if usage is None:
        return (), {}, 0
    rows: list[tuple[str, str, float | None]] = []
    for name in usage.names():
        service = usage.nested(name)
        if service is None:
            rows.append((label(name), "requests", None))
            continue
        used, unit = service.number("used"), service.text("unit")
        if unit is not None or not service.sent("unit"):
            rows.append((label(name), label(unit or "requests"), used))
    return fold_services(readable(rows), {**CREDIT_RATES, **options.credit_rates}, options.max_operations)


def _quota(reader: FieldReader | None, used_name: str, limit_name: str, remaining_name: str) -> Quota | None:
    if reader is None:
        return None
    used, limit = reader.number(used_name), reader.number(limit_name)
    return Quota(used, limit, reader.number(remaining_name), _ratio(reader, used, limit))


def _ratio(reader: FieldReader, used: float | None, limit: float | None) -> float | None:
    if reader.sent("percentage"):
        percentage = reader.number("percentage")
        if percentage is not None and isinf(percentage):
            reader.reject("percentage")
            return None
        return None if percentage is None else round(percentage / 100, 6)
    if limit == inf:
        return 0.0
    if used is None or limit is None or limit == 0 or isinf(used):
        return None
    return used / limit


def _period(reader: FieldReader | None) -> Period | None:
    return None if reader is None else Period(reader.time("start"), reader.time("end"))


def _subscription(reader: FieldReader | None, billing_interval: str | None) -> Subscription | None:
    if reader is None:
        return None
    status = reader.text("status")
    return Subscription(
        plan_id=label(reader.text("plan_id") or ""),
        plan_name=label(reader.text("plan_name") or ""),
        interval=label(reader.text("interval") or billing_interval or ""),
        status=label(status or ""),
        active=None if status is None else status in _ACTIVE,
        cancel_at_period_end=reader.flag("cancel_at_period_end"),
    )


PROVIDER = Provider(
    title="VidNavigator",
    base_url="https://api.vidnavigator.com/v1",
    key_header="X-API-Key",
    endpoints={"usage": Endpoint(fetch_usage)},
    quotas=("storage", "channels"),
    credit_rates=CREDIT_RATES,
)
