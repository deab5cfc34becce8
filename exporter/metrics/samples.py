"""Makes the samples of each family from what is known of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from exporter.config.thresholds import CREDITS_WITHOUT_LIMIT, Threshold
from exporter.errors import REASONS
from exporter.metrics.view import View
from exporter.readings import AccountState, AutoRecharge, Invoices, Period, Quota, Subscription, Usage

Samples = Iterable[tuple[tuple[str, ...], float]]
"""The values of the family's own labels and the value of each sample."""


def known(value: float | None) -> Samples:
    """Return one sample, or none if the value is not known."""
    return () if value is None else (((), value),)


def of_usage(read: Callable[[Usage], float | None]) -> Callable[[View], Samples]:
    """Export one figure of the usage."""
    return lambda view: () if view.usage is None else known(read(view.usage))


def of_state(read: Callable[[AccountState], float | None]) -> Callable[[View], Samples]:
    """Export one value of what is known about the account's polls."""
    return lambda view: known(read(view.state))


def of_quota(which: str, field: str) -> Callable[[View], Samples]:
    """Export one field of the storage or the channels."""

    def read(usage: Usage) -> float | None:
        quota: Quota | None = getattr(usage, which)
        value: float | None = getattr(quota, field) if quota is not None else None
        return value

    return of_usage(read)


def of_subscription(read: Callable[[Subscription], float | None]) -> Callable[[View], Samples]:
    """Export one figure of the plan."""
    return of_usage(lambda usage: None if usage.subscription is None else read(usage.subscription))


def subscription_active(usage: Usage) -> float | None:
    """Return 1 while the plan is active, 0 without a plan, or None if the vendor does not say."""
    if not usage.subscribed:
        return 0.0
    active = usage.subscription.active if usage.subscription is not None else None
    return None if active is None else float(active)


def subscription_info(view: View) -> Samples:
    """Export 1 under the plan's names."""
    plan = view.usage.subscription if view.usage is not None else None
    return () if plan is None else (((plan.plan_id, plan.plan_name, plan.interval, plan.status), 1.0),)


def of_periods(field: str) -> Callable[[View], Samples]:
    """Export one end of the usage period and of the billing period."""

    def samples(view: View) -> Iterator[tuple[tuple[str, ...], float]]:
        if view.usage is not None:
            for name, period in (("usage", view.usage.usage_period), ("billing", view.usage.billing_period)):
                value = getattr(period or Period(), field)
                if value is not None:
                    yield (name,), value

    return samples


def of_severities(read: Callable[[View], Threshold | None]) -> Callable[[View], Samples]:
    """Export both severities of a ratio, or nothing if the vendor has no such limit."""

    def samples(view: View) -> Samples:
        threshold = read(view)
        if threshold is None:
            return ()
        return (("warning",), threshold.warning.value), (("critical",), threshold.critical.value)

    return samples


def credit_thresholds(view: View) -> Samples:
    """Export thresholds in credits. A share is one of the last known monthly limit, even when that is stale."""
    usage = view.state.usage
    limit = usage.monthly_limit if usage is not None else None
    threshold, otherwise = view.account.thresholds.credits, CREDITS_WITHOUT_LIMIT
    return (
        (("warning",), threshold.warning.amount(limit, otherwise.warning.value)),
        (("critical",), threshold.critical.amount(limit, otherwise.critical.value)),
    )


def of_ledger(field: str) -> Callable[[View], Samples]:
    """Export one of the ledger's sums."""

    def samples(view: View) -> Samples:
        ledger = view.state.ledger
        return () if ledger is None else (((), float(getattr(ledger, field))),)

    return samples


def unconfirmed(view: View) -> Samples:
    """Export 1 while a balance of 0 waits for the next reading, and nothing else."""
    ledger = view.state.ledger
    return () if view.usage is None or ledger is None or not ledger.doubted else (((), 1.0),)


def failures(view: View) -> Samples:
    """Export the count of every reason, because a counter must start at 0."""
    counts = view.state.failures
    return (((reason,), float(counts.get(reason, 0))) for reason in REASONS)


def of_invoices(read: Callable[[Invoices], Samples]) -> Callable[[View], Samples]:
    """Export what follows from the invoices."""
    return lambda view: () if view.invoices is None else read(view.invoices)


def of_recharge(read: Callable[[AutoRecharge], float | None]) -> Callable[[View], Samples]:
    """Export one setting of the automatic recharge."""
    return lambda view: () if view.auto_recharge is None else known(read(view.auto_recharge))


def flag(value: bool | None) -> float | None:
    """Return a yes as 1 and a no as 0."""
    return None if value is None else float(value)


def last_amount(invoices: Invoices) -> Samples:
    """Export the newest invoice under its currency and status."""
    if invoices.last_amount is None:
        return ()
    return (((invoices.last_currency, invoices.last_status), invoices.last_amount),)


def rejected(view: View) -> Samples:
    """Export how many fields of the last responses could not be read."""
    if not view.state.parts:
        return ()
    return (((), float(sum(len(part.rejected) for part in view.state.parts.values()))),)
