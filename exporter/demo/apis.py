"""The paths, headers, envelopes and `data` blocks of the vendors' responses.

Times are Unix seconds, sizes are bytes, and amounts are credits. None means unlimited.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

GIB = 2**30
DAY = 86400.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """A vendor's API with the header of its key, its paths, its envelope and its errors.

    `success` wraps data as the vendor does in a 200. `refusal` is its error body for a status and a message. With 200
    it is VideoDB's `success: false` or the like.
    """

    provider: str
    key_header: str
    base_path: str
    usage_path: str
    success: Callable[[object], object]
    refusal: Callable[[int, str], Json]
    key_prefix: str = ""
    other_paths: tuple[str, ...] = ()
    open_paths: Mapping[str, Json] = field(default_factory=dict)


def _bare(data: object) -> object:
    return data


def _videodb_refusal(status: int, message: str) -> Json:
    return {"success": False, "message": message} if status == 200 else {"message": message}


_ERROR_CODES = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_credits",
    403: "access_denied",
    404: "not_found",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "system_overload",
}

VIDEODB = Api(
    provider="videodb",
    key_header="x-access-token",
    base_path="",
    usage_path="/billing/usage",
    success=lambda data: {"success": True, "data": data},
    refusal=_videodb_refusal,
    other_paths=("/billing/invoices", "/billing/auto_recharge"),
)

VIDNAVIGATOR = Api(
    provider="vidnavigator",
    key_header="X-API-Key",
    base_path="/v1",
    usage_path="/usage",
    success=lambda data: {"status": "success", "data": data},
    refusal=lambda status, message: {
        "status": "error",
        "error": _ERROR_CODES.get(status, "error"),
        "message": message,
    },
    open_paths={
        "/health": {
            "status": "success",
            "message": "The API is running.",
            "version": "1.0",
            "endpoints": [{"path": "/usage", "method": "GET", "auth_required": True}],
        }
    },
)

PROJECT = "6f0d-demo"

# Vendors of presets.
ELEVENLABS = Api(
    provider="elevenlabs",
    key_header="xi-api-key",
    base_path="",
    usage_path="/v1/user/subscription",
    success=_bare,
    refusal=lambda status, message: {"detail": {"status": _ERROR_CODES.get(status, "error"), "message": message}},
)

DEEPGRAM = Api(
    provider="deepgram",
    key_header="Authorization",
    key_prefix="Token ",
    base_path="",
    usage_path=f"/v1/projects/{PROJECT}/balances",
    success=_bare,
    refusal=lambda status, message: {"err_code": _ERROR_CODES.get(status, "error").upper(), "err_msg": message},
)

VIDU = Api(
    provider="vidu",
    key_header="Authorization",
    key_prefix="Token ",
    base_path="",
    usage_path="/ent/v2/credits",
    success=_bare,
    refusal=lambda status, message: {"reason": _ERROR_CODES.get(status, "error"), "message": message},
)

APIS = (VIDEODB, VIDNAVIGATOR, ELEVENLABS, DEEPGRAM, VIDU)


@dataclass(frozen=True)
class Plan:
    """A VidNavigator plan with its credits a month, its storage in bytes and its channels."""

    plan_id: str
    name: str
    credits: int | None
    storage_bytes: int | None
    channels: int | None


TRIAL = Plan("trial", "Trial", 5, 5 * GIB, 2)
NAVIGATOR = Plan("starter", "Navigator", 15, 50 * GIB, 3)
VOYAGER = Plan("pro", "Voyager", 80, 500 * GIB, 15)
ODYSSEY = Plan("enterprise", "Odyssey", None, None, None)


def timestamp(seconds: float) -> str:
    """Write Unix seconds as the vendors do, as ISO 8601 in UTC with whole seconds."""
    return datetime.fromtimestamp(round(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def formatted_size(size: int | None) -> str:
    """Write bytes for people in the vendor's steps of 1024. 2684354560 is `2.5 GB`, None is `Unlimited`."""
    if size is None:
        return "Unlimited"
    value, units = float(size), ["B", "KB", "MB", "GB", "TB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{round(value, 1):g} {units[0]}"


def _unlimited(value: float | None) -> float | str:
    if value is None:
        return "unlimited"
    return int(value) if value == int(value) else value


def _percentage(used: int, limit: int | None) -> float:
    return round(100 * used / limit, 1) if limit else 0


def _channels(used: int, limit: int | None) -> Json:
    return {
        "used": used,
        "limit": _unlimited(limit),
        "remaining": _unlimited(None if limit is None else limit - used),
        "percentage": _percentage(used, limit),
    }


def _storage(used: int, limit: int | None) -> Json:
    left = None if limit is None else limit - used
    return {
        "used_bytes": used,
        "used_formatted": formatted_size(used),
        "limit_bytes": _unlimited(limit),
        "limit_formatted": formatted_size(limit),
        "remaining_bytes": _unlimited(left),
        "remaining_formatted": formatted_size(left),
        "percentage": _percentage(used, limit),
    }


def vidnavigator_usage(  # wide because each keyword is one field of the vendor's response.
    *,
    plan: Plan = VOYAGER,
    monthly_remaining: float | None = 62.5,
    purchased: float = 50,
    services: Mapping[str, Json] | None = None,
    channels_used: int = 5,
    storage_used: int = 5 * GIB // 2,
    period: tuple[float, float] | None = None,
    status: str = "active",
    cancel_at_period_end: bool = False,
    generated_at: float | None = None,
) -> Json:
    """Build the `data` of VidNavigator's GET /usage.

    An unlimited plan ignores `monthly_remaining`. By default ten of the thirty days of the period are over.
    """
    now = time.time()
    start, end = period or (now - 10 * DAY, now + 20 * DAY)
    if services is None:
        services = {"standard_request": {"used": 15000}, "transcription_hour": {"used": 16, "unit": "hours"}}
    return {
        "usage_period": {"start": timestamp(start), "end": timestamp(end)},
        "billing_period": {"start": timestamp(start), "end": timestamp(end), "interval": "month"},
        "subscription": {
            "plan_id": plan.plan_id,
            "plan_name": plan.name,
            "interval": "month",
            "status": status,
            "cancel_at_period_end": cancel_at_period_end,
        },
        "credits": {
            "monthly_total": _unlimited(plan.credits),
            "monthly_remaining": _unlimited(None if plan.credits is None else monthly_remaining),
            "purchased": _unlimited(purchased),
        },
        "usage": {name: dict(service) for name, service in services.items()},
        "channels_indexed": _channels(channels_used, plan.channels),
        "storage": _storage(storage_used, plan.storage_bytes),
        "generated_at": timestamp(now if generated_at is None else generated_at),
    }


def videodb_usage(
    *,
    balance: float = 74.25,
    breakdown: Mapping[str, float] | None = None,
    monthly_limit: float | None = None,
) -> Json:
    """Build the `data` of VideoDB's GET /billing/usage.

    With a monthly limit, the fields are named as in the vendor's example code, not as in its schema.
    """
    if breakdown is None:
        breakdown = {"video_processing": 14.25, "ai_generation": 9.0, "storage": 2.5}
    used = round(sum(breakdown.values()), 6)
    if monthly_limit is None:
        return {"credit_balance": balance, "usage_this_month": used, "breakdown": dict(breakdown)}
    return {
        "credits_remaining": balance,
        "total_credits_used": used,
        "monthly_limit": monthly_limit,
        "breakdown": dict(breakdown),
    }


def videodb_invoice(
    number: int, created: float, *, amount: float = 100, status: str = "paid", date_field: str = "created_at"
) -> Json:
    """Build an entry of VideoDB's GET /billing/invoices. The vendor's example code calls the date `date`."""
    return {
        "id": f"in_{number:06d}",
        "amount": amount,
        "currency": "usd",
        "status": status,
        "pdf_url": f"https://invoices.invalid/in_{number:06d}.pdf",
        date_field: timestamp(created),
    }


def videodb_auto_recharge(*, enabled: bool = True, threshold: float = 10, amount: float = 50) -> Json:
    """Build the `data` of VideoDB's GET /billing/auto_recharge, in credits."""
    return {"enabled": enabled, "threshold": threshold, "amount": amount}


def page(entries: Sequence[object], query: Mapping[str, Sequence[str]]) -> list[object]:
    """Return the entries that `limit` and `offset` select. Raise ValueError if they are not numbers."""
    offset = int(query.get("offset", ["0"])[0])
    limit = int(query.get("limit", [str(len(entries))])[0])
    if offset < 0 or limit < 0:
        raise ValueError("limit and offset must not be negative")
    return list(entries[offset : offset + limit])
