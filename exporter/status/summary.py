"""Summarises an account for the status page, for ``/api/v1/accounts`` and for ``poll``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from math import inf
from typing import Any

from exporter.config.thresholds import CREDITS_WITHOUT_LIMIT, Threshold
from exporter.metrics.view import View
from exporter.readings import Quota, Usage

SEVERITIES = ("critical", "warning", "unknown", "ok")
"""The severities of an account, the most urgent first."""

EXPLANATIONS: Mapping[str, str] = {
    "auth": "The vendor does not know this key (401). Replace the key.",
    "forbidden": "The vendor knows this key, but the key may not read the usage (403).",
    "payment_required": "The vendor asks for payment before it answers (402).",
    "rate_limited": "The key made too many requests (429) and is in cool-down.",
    "client_error": "The vendor refused the request. Check base_url.",
    "server_error": "The vendor has an internal error (5xx).",
    "timeout": "The vendor did not answer in time.",
    "connection": "The vendor could not be reached.",
    "invalid_response": "The vendor's answer could not be used.",
    "credential": "The key cannot be read.",
    "internal": "The exporter has a bug. Its log has the details.",
}
"""The meaning of each failure reason, in words for operators."""

_KEY_FAILURES = frozenset({"auth", "forbidden", "credential"})
"""Failures that do not end by waiting."""
_OLD_DATA = 3600.0
"""Age in seconds at which a vendor's figures are old although polls succeed."""
_ENDS_SOON = 7 * 86_400.0


def summary(view: View, wall: float) -> dict[str, Any]:
    """Return the account as JSON values. An unlimited value is a string, an unknown one is null.

    ``storage`` or ``channels`` is null as a whole if the vendor has no such limit.
    """
    account, state, usage = view.account, view.state, view.usage
    plan = usage.subscription if usage is not None else None
    attention = sorted(_attention(view, wall), key=lambda item: SEVERITIES.index(item[0]))
    return {
        "provider": account.provider,
        "account": account.name,
        "labels": dict(account.labels),
        "severity": attention[0][0] if attention else "ok",
        "attention": [{"severity": severity, "text": text} for severity, text in attention],
        "up": None if not state.polls else state.failure is None,
        "stale": usage is None and state.usage is not None,
        "plan": plan.plan_name or plan.plan_id if plan is not None else None,
        "subscription": None if usage is None else _subscription(usage),
        "credits": _credits(view, wall),
        "storage": _quota(usage.storage if usage is not None else None, account.thresholds.storage),
        "channels": _quota(usage.channels if usage is not None else None, account.thresholds.channels),
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


def _credits(view: View, wall: float) -> dict[str, float | str | None]:
    usage, levels = view.usage, _credit_levels(view)
    figures = ("balance", "monthly_limit", "monthly_remaining", "monthly_used", "purchased")
    return {
        **{name: _number(getattr(usage, name) if usage is not None else None) for name in figures},
        "level": _level(usage, levels),
        "warning_below": _number(levels["warning"]),
        "critical_below": _number(levels["critical"]),
        "runway_seconds": _runway(usage, wall) if usage is not None else None,
    }


def _attention(view: View, wall: float) -> Iterator[tuple[str, str]]:
    """Yield severity and text of every problem. The rules are those of the alerts, but without their delay."""
    state, usage = view.state, view.usage
    if not state.polls:
        yield "unknown", "Not polled yet."
        return
    if state.failure is not None:
        reason = state.failure.reason
        yield "critical" if reason in _KEY_FAILURES else "warning", EXPLANATIONS[reason]
    if usage is None:
        if state.usage is not None:
            yield "warning", "The last figures are too old to be shown."
        return
    yield from _money(view, usage)
    for name, quota, threshold in (
        ("Storage", usage.storage, view.account.thresholds.storage),
        ("Channels", usage.channels, view.account.thresholds.channels),
    ):
        level = _fill_level(quota, threshold)
        if quota is not None and quota.ratio is not None and level in ("warning", "critical"):
            yield level, f"{name}: {_percent(quota.ratio)} of the limit used."
    yield from _plan(usage, wall)
    if usage.generated_at is not None and wall - usage.generated_at > _OLD_DATA:
        yield "warning", "The vendor's figures are more than an hour old."
    rejected = sum(len(part.rejected) for part in state.parts.values())
    if rejected:
        fields = "field" if rejected == 1 else "fields"
        yield "warning", f"{rejected} {fields} of the last answer could not be read. The exporter's log names them."


def _money(view: View, usage: Usage) -> Iterator[tuple[str, str]]:
    levels = _credit_levels(view)
    level = _level(usage, levels)
    if level == "exhausted":
        yield "critical", "No credits are left."
    elif level in ("critical", "warning"):
        yield level, f"Credits are below the {level} level of {levels[level]:,.6g}."
    elif level is None and usage.subscribed:
        yield "warning", "The vendor's answer has no balance."
    if view.invoices is not None and view.invoices.last_status == "failed":
        yield "warning", "The newest invoice was not paid."


def _plan(usage: Usage, wall: float) -> Iterator[tuple[str, str]]:
    plan = usage.subscription
    if not usage.subscribed:
        yield "critical", "There is no subscription."
    elif plan is not None and plan.active is False:
        yield "critical", f"The subscription is not active ({plan.status})."
    end = usage.billing_period.end if usage.billing_period is not None else None
    if plan is not None and plan.cancel_at_period_end and end is not None and end - wall < _ENDS_SOON:
        yield "warning", "The plan was cancelled and ends with this period."


def _credit_levels(view: View) -> dict[str, float]:
    """Return the thresholds in credits. A share refers to the last known monthly limit."""
    limit = view.state.usage.monthly_limit if view.state.usage is not None else None
    credits = view.account.thresholds.credits
    return {
        severity: getattr(credits, severity).amount(limit, getattr(CREDITS_WITHOUT_LIMIT, severity).value)
        for severity in ("warning", "critical")
    }


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.4g} %"


def _number(value: float | None) -> float | str | None:
    return "unlimited" if value == inf else value


def _time(unix: float | None) -> str | None:
    """Return a Unix time as ISO 8601 in UTC, or None for a time that no calendar has."""
    if unix is None:
        return None
    try:
        return datetime.fromtimestamp(unix, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _quota(quota: Quota | None, threshold: Threshold | None) -> dict[str, float | str | None] | None:
    if threshold is None:
        return None
    known = quota or Quota()
    return {
        "used": _number(known.used),
        "limit": _number(known.limit),
        "ratio": known.ratio,
        "level": _fill_level(quota, threshold),
        "warning_from": threshold.warning.value,
        "critical_from": threshold.critical.value,
    }


def _fill_level(quota: Quota | None, threshold: Threshold | None) -> str | None:
    """Return the severity of a filling storage or channel limit, or None if it is unknown."""
    if quota is None or quota.ratio is None or threshold is None:
        return None
    if quota.ratio >= threshold.critical.value:
        return "critical"
    return "warning" if quota.ratio >= threshold.warning.value else "ok"


def _subscription(usage: Usage) -> str | None:
    if not usage.subscribed:
        return "none"
    return usage.subscription.status or None if usage.subscription is not None else None


def _level(usage: Usage | None, below: Mapping[str, float]) -> str | None:
    """Return the severity of the balance, or None if it is unknown."""
    if usage is None or usage.balance is None:
        return None
    if usage.balance <= 0:
        return "exhausted"
    if usage.balance < below["critical"]:
        return "critical"
    return "warning" if usage.balance < below["warning"] else "ok"


def _runway(usage: Usage, wall: float) -> float | None:
    """Return how many seconds the balance lasts at the mean spend of this period so far.

    It is a rough figure, and the recording rules have better ones. Without a billing period it uses the
    calendar month.
    """
    if usage.balance is None or usage.balance == inf or not usage.monthly_used or usage.monthly_used < 0:
        return None
    start = usage.billing_period.start if usage.billing_period is not None else None
    if start is None:
        month = datetime.fromtimestamp(wall, timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        start = month.timestamp()
    elapsed = wall - start
    return max(0.0, usage.balance) / usage.monthly_used * elapsed if elapsed > 0 else None
