"""One account in brief, for people and for JSON: the status page, ``/api/v1/accounts`` and ``poll`` show the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from math import inf
from typing import Any

from exporter.catalogue import View
from exporter.readings import Quota, Usage
from exporter.thresholds import CREDITS_WITHOUT_LIMIT

EXPLANATIONS: Mapping[str, str] = {
    "auth": "The vendor does not know this key (401): replace it.",
    "forbidden": "The vendor knows this key but lets it not read the usage (403).",
    "payment_required": "The vendor wants payment before it answers (402).",
    "rate_limited": "The key made too many requests (429) and now rests.",
    "client_error": "The vendor refused the request: look at base_url.",
    "server_error": "The vendor has a fault of its own (5xx).",
    "timeout": "The vendor did not answer in time.",
    "connection": "The vendor could not be reached.",
    "invalid_response": "The vendor's answer could not be used.",
    "credential": "The key cannot be read.",
    "internal": "A fault in the exporter: its log has more.",
}
"""What each failure reason means, in a sentence."""


def summary(view: View, wall: float) -> dict[str, Any]:
    """Return what is known of the account as JSON values; unlimited is a string, what is not known is null."""
    account, state, usage = view.account, view.state, view.usage
    plan = usage.subscription if usage is not None else None
    limit = state.usage.monthly_limit if state.usage is not None else None
    levels = {
        severity: getattr(account.thresholds.credits, severity).amount(
            limit, getattr(CREDITS_WITHOUT_LIMIT, severity).value
        )
        for severity in ("warning", "critical")
    }
    return {
        "provider": account.provider,
        "account": account.name,
        "labels": dict(account.labels),
        "up": None if not state.polls else state.failure is None,
        "stale": usage is None and state.usage is not None,
        "plan": plan.plan_name or plan.plan_id if plan is not None else None,
        "subscription": None if usage is None else _subscription(usage),
        "credits": {
            "balance": _number(usage.balance if usage is not None else None),
            "monthly_limit": _number(usage.monthly_limit if usage is not None else None),
            "monthly_remaining": _number(usage.monthly_remaining if usage is not None else None),
            "purchased": _number(usage.purchased if usage is not None else None),
            "level": _level(usage, levels),
            "warning_below": _number(levels["warning"]),
            "critical_below": _number(levels["critical"]),
            "runway_seconds": _runway(usage, wall) if usage is not None else None,
        },
        "storage": _quota(usage.storage if usage is not None else None),
        "channels": _quota(usage.channels if usage is not None else None),
        "period_end": _time(usage.billing_period.end if usage is not None and usage.billing_period else None),
        "poll_interval_seconds": account.interval,
        "last_poll": _time(state.last_poll),
        "last_success": _time(state.last_success),
        "next_poll": _time(state.next_poll),
        "cooldown_until": _time(state.cooldown_until if (state.cooldown_until or 0) > wall else None),
        "failure": None
        if state.failure is None
        else {
            "reason": state.failure.reason,
            "explanation": EXPLANATIONS[state.failure.reason],
            "message": state.failure.message,
        },
    }


def _number(value: float | None) -> float | str | None:
    return "unlimited" if value == inf else value


def _time(unix: float | None) -> str | None:
    """Return a Unix time as ISO 8601 in UTC; a time that no calendar has is as good as unknown."""
    if unix is None:
        return None
    try:
        return datetime.fromtimestamp(unix, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _quota(quota: Quota | None) -> dict[str, float | str | None] | None:
    if quota is None:
        return None
    return {"used": _number(quota.used), "limit": _number(quota.limit), "ratio": quota.ratio}


def _subscription(usage: Usage) -> str | None:
    if not usage.subscribed:
        return "none"
    return usage.subscription.status or None if usage.subscription is not None else None


def _level(usage: Usage | None, below: Mapping[str, float]) -> str | None:
    """Return how serious the balance is; None where it is not known."""
    if usage is None or usage.balance is None:
        return None
    if usage.balance <= 0:
        return "exhausted"
    if usage.balance < below["critical"]:
        return "critical"
    return "warning" if usage.balance < below["warning"] else "ok"


def _runway(usage: Usage, wall: float) -> float | None:
    """Return how long the balance lasts at the mean spend of this period so far, in seconds.

    A rough figure for the eye; the recording rules have better ones. A vendor that names no period counts
    by calendar month.
    """
    if usage.balance is None or usage.balance == inf or not usage.monthly_used or usage.monthly_used < 0:
        return None
    start = usage.billing_period.start if usage.billing_period is not None else None
    if start is None:
        month = datetime.fromtimestamp(wall, timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        start = month.timestamp()
    elapsed = wall - start
    return max(0.0, usage.balance) / usage.monthly_used * elapsed if elapsed > 0 else None
