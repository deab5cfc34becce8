"""Summarises an account for the status page, for ``/api/v1/accounts`` and for ``poll``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, inf
from typing import NamedTuple

from exporter.config.thresholds import CREDITS_WITHOUT_LIMIT, Threshold
from exporter.metrics.view import View
from exporter.readings import Failure, Quota, Usage
from exporter.status.words import amount, duration, percent

SEVERITIES = ("critical", "warning", "unknown", "ok")
"""The severities of an account, the most urgent first."""

EXPLANATIONS: Mapping[str, str] = {
    "auth": "The vendor does not know this key. Replace the key.",
    "forbidden": "The vendor knows this key, but the key may not read the usage.",
    "payment_required": "The vendor wants payment before it sends figures.",
    "rate_limited": "The key made too many requests and is in cool-down.",
    "client_error": "The vendor refused the request. Check base_url, and the path and variables if there are any.",
    "server_error": "The vendor has an internal error.",
    "timeout": "The vendor did not respond in time.",
    "connection": "The vendor could not be reached.",
    "invalid_response": "The vendor's response could not be used.",
    "credential": "The key cannot be read.",
    "internal": "The exporter has a bug. Its log has the details.",
}
"""The meaning of each failure reason, in words for operators."""

_KEY_FAILURES = frozenset({"auth", "forbidden", "credential"})
"""Failures that do not end by waiting."""
_FAILURE_ALERTS = {**dict.fromkeys(_KEY_FAILURES, "VideoApiKeyRejected"), "rate_limited": "VideoApiRateLimited"}
OLD_DATA_SECONDS = 3600.0
"""Age in seconds at which a vendor's figures are old although polls succeed."""
ENDS_SOON_SECONDS = 7 * 86_400.0
"""Time before the end of a pack or of a cancelled plan from which it is told."""
EXPIRING = "VideoApiCreditsExpiring"
"""The alert for a pack that ends soon. Only its text changes with every minute."""
NO_USAGE = Usage()
"""Stands for a usage of which nothing is known."""
_CALENDAR = (-62_135_596_800, 253_402_300_800)
"""The years 1 to 9999, beyond which no time can be written."""


class Attention(NamedTuple):
    """A problem of an account, in words for operators, and the alert that watches for it."""

    severity: str
    text: str
    alert: str


@dataclass(frozen=True, slots=True)
class CreditSummary:
    """The credits of an account, the amounts below which its alerts fire, and how many seconds the balance lasts."""

    unit: str
    balance: float | None
    monthly_limit: float | None
    monthly_remaining: float | None
    monthly_used: float | None
    purchased: float | None
    level: str | None
    warning_below: float
    critical_below: float
    runway_seconds: float | None


@dataclass(frozen=True, slots=True)
class Fill:
    """The use of storage in bytes or of channels, and the ratios from which its alerts fire."""

    used: float | None
    limit: float | None
    ratio: float | None
    level: str | None
    warning_from: float
    critical_from: float


@dataclass(frozen=True, slots=True)
class QuotaSummary:
    """A named quota in its own unit."""

    name: str
    unit: str
    fill: Fill
    remaining: float | None
    resets_at: float | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """An account in brief. Times are Unix seconds. An unlimited value is ``inf``, an unknown one is None.

    ``storage`` or ``channels`` is None if the vendor has no such limit. ``up`` is None before the first poll.
    """

    provider: str
    name: str
    labels: Mapping[str, str]
    severity: str
    attention: tuple[Attention, ...]
    up: bool | None
    stale: bool
    plan: str | None
    subscription: str | None
    credits: CreditSummary
    storage: Fill | None
    channels: Fill | None
    quotas: tuple[QuotaSummary, ...]
    period_end: float | None
    interval: float
    last_poll: float | None
    last_success: float | None
    next_poll: float | None
    cooldown_until: float | None
    failure: Failure | None


def summary(view: View, wall: float) -> Summary:
    """Return the account in brief at the wall time ``wall``."""
    account, state, known = view.account, view.state, view.usage or NO_USAGE
    period = known.billing_period
    credits = _credits(view, known, wall)
    storage = _fill(known.storage, account.thresholds.storage)
    channels = _fill(known.channels, account.thresholds.channels)
    quotas = tuple(_quotas(known, account.thresholds.quotas))
    problems = _problems(view, credits, _fills(storage, channels, quotas), wall)
    return Summary(
        provider=account.provider,
        name=account.name,
        labels=account.labels,
        severity=severity_of(problems),
        attention=problems,
        up=None if not state.polls else state.failure is None,
        stale=view.usage is None and state.usage is not None,
        plan=plan_of(known),
        subscription=subscription_of(known),
        credits=credits,
        storage=storage,
        channels=channels,
        quotas=quotas,
        period_end=second_of(period.end if period is not None else None),
        interval=account.interval,
        last_poll=second_of(state.last_poll),
        last_success=second_of(state.last_success),
        next_poll=second_of(state.next_poll),
        cooldown_until=second_of(state.cooldown_until if (state.cooldown_until or 0) > wall else None),
        failure=state.failure,
    )


def problems(view: View, wall: float) -> tuple[Attention, ...]:
    """Return the ``attention`` of the account's summary, which takes half of the time alone."""
    known, thresholds = view.usage or NO_USAGE, view.account.thresholds
    storage, channels = _fill(known.storage, thresholds.storage), _fill(known.channels, thresholds.channels)
    fills = _fills(storage, channels, _quotas(known, thresholds.quotas) if known.quotas else ())
    return _problems(view, _credits(view, known, wall), fills, wall)


def severity_of(problems: Sequence[Attention]) -> str:
    """Return the severity of an account with these problems, the worst first."""
    return problems[0].severity if problems else "ok"


def _problems(
    view: View, credits: CreditSummary, fills: Mapping[str, Fill | None], wall: float
) -> tuple[Attention, ...]:
    found = _attention(view, credits, fills, wall)
    return tuple(sorted(found, key=lambda each: SEVERITIES.index(each.severity)))


def _fills(storage: Fill | None, channels: Fill | None, quotas: Iterable[QuotaSummary]) -> dict[str, Fill | None]:
    return {"Storage": storage, "Channels": channels, **{f"Quota {quota.name}": quota.fill for quota in quotas}}


def _credits(view: View, usage: Usage, wall: float) -> CreditSummary:
    """Return the credits. A level that is a share refers to the last known monthly limit."""
    limit = view.state.usage.monthly_limit if view.state.usage is not None else None
    levels, without_limit = view.account.thresholds.credits, CREDITS_WITHOUT_LIMIT
    warning = levels.warning.amount(limit, without_limit.warning.value)
    critical = levels.critical.amount(limit, without_limit.critical.value)
    return CreditSummary(
        unit=usage.unit,
        balance=usage.balance,
        monthly_limit=usage.monthly_limit,
        monthly_remaining=usage.monthly_remaining,
        monthly_used=usage.monthly_used,
        purchased=usage.purchased,
        level=_level(usage.balance, warning, critical),
        warning_below=warning,
        critical_below=critical,
        runway_seconds=runway_of(usage, wall),
    )


def _attention(
    view: View, credits: CreditSummary, fills: Mapping[str, Fill | None], wall: float
) -> Iterator[Attention]:
    """Yield every problem. The rules are those of the alerts, but without their delay."""
    state, usage = view.state, view.usage
    if not state.polls:
        yield Attention("unknown", "Not polled yet.", "")
        return
    if state.failure is not None:
        reason = state.failure.reason
        severity = "critical" if reason in _KEY_FAILURES else "warning"
        yield Attention(severity, EXPLANATIONS[reason], _FAILURE_ALERTS.get(reason, "VideoApiPollFailing"))
    if usage is None:
        if state.usage is not None:
            yield Attention("warning", "The last figures are too old to be shown.", "VideoApiDataStale")
        return
    yield from _money(view, credits, usage)
    yield from _expiring(usage, wall)
    for name, fill in fills.items():
        if fill is not None and fill.ratio is not None and fill.level in ("warning", "critical"):
            alert = f"VideoApi{name if name in ('Storage', 'Channels') else 'Quota'}NearLimit"
            yield Attention(fill.level, f"{name}: {percent(fill.ratio, digits=4, space=' ')} of the limit used.", alert)
    yield from _plan(usage, wall)
    if usage.generated_at is not None and wall - usage.generated_at > OLD_DATA_SECONDS:
        yield Attention("warning", "The vendor's figures are more than an hour old.", "VideoApiDataStale")
    rejected = sum(len(part.rejected) for part in state.parts.values())
    if rejected:
        text = f"{rejected} field{'s' if rejected > 1 else ''} of the last response could not be read."
        yield Attention("warning", f"{text} The exporter's log names them.", "VideoApiFieldsRejected")


def _money(view: View, credits: CreditSummary, usage: Usage) -> Iterator[Attention]:
    if credits.level == "exhausted":
        text = f"No {credits.unit} {'are' if credits.unit.endswith('s') else 'is'} left."
        yield Attention("critical", text, "VideoApiCreditsExhausted")
    elif credits.level in ("critical", "warning"):
        below = credits.critical_below if credits.level == "critical" else credits.warning_below
        what, unit = ("Credits are", "") if credits.unit == "credits" else ("The balance is", f" {credits.unit}")
        text = f"{what} below the {credits.level} level of {amount(below)}{unit}."
        yield Attention(credits.level, text, "VideoApiCreditsLow")
    elif credits.level is None and usage.subscribed and _should_have_balance(usage):
        yield Attention("warning", "The vendor's response has no balance.", "VideoApiBalanceMissing")
    if view.invoices is not None and view.invoices.last_status == "failed":
        yield Attention("warning", "The newest invoice was not paid.", "VideoApiInvoiceFailed")


def _should_have_balance(usage: Usage) -> bool:
    """Return whether a missing balance is worth a word, which it is not where the vendor tells only other figures."""
    return bool(usage.pools) or not (usage.quotas or usage.services or usage.used_by_operation)


def _expiring(usage: Usage, wall: float) -> Iterator[Attention]:
    for quota in usage.quotas:
        left, end = quota.amounts.remaining or 0.0, quota.expires_at
        if end is not None and 0 < end - wall < ENDS_SOON_SECONDS and left > 0:
            text = f"{quota.name}: up to {amount(left)} {quota.unit} expire in {duration(end - wall)}."
            yield Attention("warning", text, EXPIRING)


def _quotas(usage: Usage, threshold: Threshold) -> Iterator[QuotaSummary]:
    for quota in usage.quotas:
        fill = _filled(quota.amounts, threshold)
        if quota.expires_at is not None:
            fill = replace(fill, level=None)  # because a pack that is used up is no news
        times = second_of(quota.resets_at), second_of(quota.expires_at)
        yield QuotaSummary(quota.name, quota.unit, fill, quota.amounts.remaining, *times)


def _plan(usage: Usage, wall: float) -> Iterator[Attention]:
    plan = usage.subscription
    if not usage.subscribed:
        yield Attention("critical", "There is no subscription.", "VideoApiSubscriptionInactive")
    elif plan is not None and plan.active is False:
        text = f"The subscription is not active ({plan.status})."
        yield Attention("critical", text, "VideoApiSubscriptionInactive")
    end = usage.billing_period.end if usage.billing_period is not None else None
    if plan is not None and plan.cancel_at_period_end and end is not None and end - wall < ENDS_SOON_SECONDS:
        yield Attention("warning", "The plan was cancelled and ends with this period.", "VideoApiSubscriptionEnding")


def second_of(unix: float | None) -> float | None:
    """Return the second that contains a time, or None for a time that no calendar has."""
    return None if unix is None or not _CALENDAR[0] <= unix < _CALENDAR[1] else float(floor(unix))


def _fill(quota: Quota | None, threshold: Threshold | None) -> Fill | None:
    return None if threshold is None else _filled(quota or Quota(), threshold)


def _filled(known: Quota, threshold: Threshold) -> Fill:
    warning, critical, ratio = threshold.warning.value, threshold.critical.value, known.ratio
    level = None if ratio is None else "critical" if ratio >= critical else "warning" if ratio >= warning else "ok"
    return Fill(known.used, known.limit, ratio, level, warning, critical)


def plan_of(usage: Usage) -> str | None:
    """Return the name of the plan, or None if the vendor tells nothing of it."""
    plan = usage.subscription
    return plan.plan_name or plan.plan_id if plan is not None else None


def subscription_of(usage: Usage) -> str | None:
    """Return the status of the subscription, "none" without one."""
    if not usage.subscribed:
        return "none"
    return usage.subscription.status or None if usage.subscription is not None else None


def _level(balance: float | None, warning: float, critical: float) -> str | None:
    """Return the severity of the balance, or None if it is unknown."""
    if balance is None:
        return None
    if balance <= 0:
        return "exhausted"
    return "critical" if balance < critical else "warning" if balance < warning else "ok"


def runway_of(usage: Usage, wall: float) -> float | None:
    """Return how many seconds the balance lasts at the mean spend of this period so far.

    It is a rough figure, and the recording rules have better ones. It is not known without a start of the period,
    because the vendor's figure of what was used may begin on any day of the month.
    """
    if usage.balance == inf:
        return inf
    if usage.balance is None or not usage.monthly_used or usage.monthly_used < 0:
        return None
    start = usage.billing_period.start if usage.billing_period is not None else None
    elapsed = wall - start if start is not None else 0.0
    return max(0.0, usage.balance) / usage.monthly_used * elapsed if elapsed > 0 else None
