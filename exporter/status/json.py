"""Presents an account as JSON, for ``/api/v1/accounts`` and for ``poll``."""

from __future__ import annotations

from math import inf

from exporter.status.summary import EXPLANATIONS, CreditSummary, Fill, QuotaSummary, Summary
from exporter.status.words import UNLIMITED, iso


def as_json(account: Summary) -> dict[str, object]:
    """Return the account as JSON values. An unlimited value is a string, an unknown one is null."""
    failure = account.failure
    return {
        "provider": account.provider,
        "account": account.name,
        "labels": dict(account.labels),
        "severity": account.severity,
        "attention": [{"severity": severity, "text": text} for severity, text, _ in account.attention],
        "up": account.up,
        "stale": account.stale,
        "plan": account.plan,
        "subscription": account.subscription,
        "unit": account.credits.unit,
        "credits": _credits(account.credits),
        "storage": _fill(account.storage),
        "channels": _fill(account.channels),
        "quotas": [_quota(quota) for quota in account.quotas],
        "period_end": _time(account.period_end),
        "poll_interval_seconds": account.interval,
        "last_poll": _time(account.last_poll),
        "last_success": _time(account.last_success),
        "next_poll": _time(account.next_poll),
        "cooldown_until": _time(account.cooldown_until),
        "failure": None
        if failure is None
        else {"reason": failure.reason, "explanation": EXPLANATIONS[failure.reason], "message": failure.message},
    }


def _credits(credits: CreditSummary) -> dict[str, object]:
    return {
        "balance": _number(credits.balance),
        "monthly_limit": _number(credits.monthly_limit),
        "monthly_remaining": _number(credits.monthly_remaining),
        "monthly_used": _number(credits.monthly_used),
        "purchased": _number(credits.purchased),
        "level": credits.level,
        "warning_below": _number(credits.warning_below),
        "critical_below": _number(credits.critical_below),
        "runway_seconds": credits.runway_seconds if credits.runway_seconds != inf else None,
    }


def _fill(fill: Fill | None) -> dict[str, object] | None:
    if fill is None:
        return None
    return {
        "used": _number(fill.used),
        "limit": _number(fill.limit),
        "ratio": fill.ratio,
        "level": fill.level,
        "warning_from": fill.warning_from,
        "critical_from": fill.critical_from,
    }


def _quota(quota: QuotaSummary) -> dict[str, object]:
    return {
        "name": quota.name,
        "unit": quota.unit,
        **(_fill(quota.fill) or {}),
        "remaining": _number(quota.remaining),
        "resets_at": _time(quota.resets_at),
        "expires_at": _time(quota.expires_at),
    }


def _number(value: float | None) -> float | str | None:
    return UNLIMITED if value == inf else value


def _time(unix: float | None) -> str | None:
    return None if unix is None else iso(unix)
