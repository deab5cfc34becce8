"""Names every family that describes an account, with its type, help and labels.

The metrics reference, the golden exposition and the dashboards depend on these records. A changed name or
label breaks users' queries. The exporter's own families are in ``self_metrics``.
"""

from __future__ import annotations

from exporter.metrics.family import Family, counter, gauge
from exporter.metrics.quotas import QUOTA_FAMILIES
from exporter.metrics.samples import (
    credit_thresholds,
    failures,
    flag,
    known,
    last_amount,
    of_invoices,
    of_ledger,
    of_periods,
    of_quota,
    of_recharge,
    of_severities,
    of_state,
    of_subscription,
    of_usage,
    rejected,
    subscription_active,
    subscription_info,
    unconfirmed,
)

_RESET_NOTE = " For VideoDB an estimate across a monthly reset, which shows only as a change of the balance."

FAMILIES: tuple[Family, ...] = (
    gauge(
        "credits_balance",
        "Credits that can be spent now."
        " VideoDB: credit_balance; VidNavigator: credits.monthly_remaining + credits.purchased.",
        of_usage(lambda usage: usage.balance),
    ),
    gauge(
        "credits_balance_unconfirmed",
        "1 while a balance that fell to 0 waits for the next reading to confirm it, only there while it waits."
        " VideoDB: credit_balance; VidNavigator: credits.monthly_remaining + credits.purchased.",
        unconfirmed,
    ),
    gauge(
        "credits_monthly_limit",
        "Credits that the plan gives each month. VideoDB: monthly_limit; VidNavigator: credits.monthly_total.",
        of_usage(lambda usage: usage.monthly_limit),
    ),
    gauge(
        "credits_monthly_remaining",
        "Credits left of the month's. VidNavigator: credits.monthly_remaining.",
        of_usage(lambda usage: usage.monthly_remaining),
    ),
    gauge(
        "credits_monthly_used",
        "Credits used this month."
        " VideoDB: usage_this_month; VidNavigator: credits.monthly_total - credits.monthly_remaining.",
        of_usage(lambda usage: usage.monthly_used),
    ),
    gauge(
        "credits_purchased",
        "Credits bought on top of the plan, which outlive the month. VidNavigator: credits.purchased.",
        of_usage(lambda usage: usage.purchased),
    ),
    gauge(
        "credits_used_by_operation",
        "Credits used this period by operation. VideoDB: breakdown;"
        " VidNavigator: an estimate, usage.*.used divided by what one credit buys.",
        lambda view: (
            () if view.usage is None else (((name,), used) for name, used in view.usage.used_by_operation.items())
        ),
        "operation",
    ),
    counter(
        "credits_spent_total",
        "Credits spent since the first reading, from consecutive readings of the balance."
        " VideoDB: credit_balance; VidNavigator: credits.monthly_remaining and credits.purchased." + _RESET_NOTE,
        of_ledger("spent"),
    ),
    counter(
        "credits_added_total",
        "Credits added since the first reading by top-ups and monthly resets."
        " VideoDB: credit_balance; VidNavigator: credits.monthly_remaining and credits.purchased." + _RESET_NOTE,
        of_ledger("added"),
    ),
    counter(
        "credits_lapsed_total",
        "Monthly credits that ended unused at a reset since the first reading."
        " VidNavigator: credits.monthly_remaining when billing_period.start changes; VideoDB: always 0." + _RESET_NOTE,
        of_ledger("lapsed"),
    ),
    gauge(
        "service_usage",
        "Use of each service in this period, in the unit that the vendor bills. VidNavigator: usage.*.used.",
        lambda view: (
            () if view.usage is None else (((use.operation, use.unit), use.used) for use in view.usage.services)
        ),
        "operation",
        "unit",
    ),
    *QUOTA_FAMILIES,
    gauge("storage_used_bytes", "Storage used. VidNavigator: storage.used_bytes.", of_quota("storage", "used")),
    gauge(
        "storage_limit_bytes",
        "Storage of the plan. VidNavigator: storage.limit_bytes.",
        of_quota("storage", "limit"),
    ),
    gauge(
        "storage_remaining_bytes",
        "Storage left. VidNavigator: storage.remaining_bytes.",
        of_quota("storage", "remaining"),
    ),
    gauge(
        "storage_used_ratio",
        "Storage used / limit, 0 to 1. VidNavigator: storage.percentage / 100.",
        of_quota("storage", "ratio"),
    ),
    gauge(
        "channels_indexed",
        "Channels indexed. VidNavigator: channels_indexed.used.",
        of_quota("channels", "used"),
    ),
    gauge(
        "channels_limit",
        "Channels that the plan lets index. VidNavigator: channels_indexed.limit.",
        of_quota("channels", "limit"),
    ),
    gauge(
        "channels_remaining",
        "Channels that can still be indexed. VidNavigator: channels_indexed.remaining.",
        of_quota("channels", "remaining"),
    ),
    gauge(
        "channels_used_ratio",
        "Channels indexed / limit, 0 to 1. VidNavigator: channels_indexed.percentage / 100.",
        of_quota("channels", "ratio"),
    ),
    gauge(
        "subscription_info",
        "The plan, always 1. VidNavigator: subscription.plan_id, plan_name, interval and status.",
        subscription_info,
        "plan_id",
        "plan_name",
        "interval",
        "status",
    ),
    gauge(
        "subscription_active",
        "1 while the plan is active or on trial, else 0, as without any."
        " VidNavigator: subscription.status, error no_subscription.",
        of_usage(subscription_active),
    ),
    gauge(
        "subscription_cancel_at_period_end",
        "1 where the plan was cancelled and ends with the period. VidNavigator: subscription.cancel_at_period_end.",
        of_subscription(lambda plan: flag(plan.cancel_at_period_end)),
    ),
    gauge(
        "period_start_timestamp_seconds",
        "Start of the period, Unix time. VidNavigator: usage_period.start, billing_period.start.",
        of_periods("start"),
        "period",
    ),
    gauge(
        "period_end_timestamp_seconds",
        "End of the period, Unix time. VidNavigator: usage_period.end, billing_period.end.",
        of_periods("end"),
        "period",
    ),
    gauge(
        "data_timestamp_seconds",
        "When the vendor made the figures, Unix time. VidNavigator: generated_at.",
        of_usage(lambda usage: usage.generated_at),
    ),
    gauge(
        "folded_operations",
        "Operations of the last response that have no series of their own: over max_operations, or alike once cut"
        " to 256 characters. VideoDB: breakdown; VidNavigator: usage.",
        of_usage(lambda usage: float(usage.folded_operations)),
    ),
    gauge(
        "credits_threshold",
        "Balance under which alerts fire, in credits. From the configuration; a share is one of the monthly limit"
        " (VideoDB: monthly_limit; VidNavigator: credits.monthly_total).",
        credit_thresholds,
        "severity",
    ),
    gauge(
        "storage_threshold_ratio",
        "Part of the storage from which alerts fire, 0 to 1. From the configuration (VidNavigator: storage).",
        of_severities(lambda view: view.account.thresholds.storage),
        "severity",
    ),
    gauge(
        "channels_threshold_ratio",
        "Part of the channels from which alerts fire, 0 to 1. From the configuration (VidNavigator: channels_indexed).",
        of_severities(lambda view: view.account.thresholds.channels),
        "severity",
    ),
    gauge(
        "invoices",
        "How many of the latest 12 invoices stand at each status. VideoDB: billing/invoices, status."
        " Asked once an hour.",
        of_invoices(lambda invoices: (((status,), float(n)) for status, n in invoices.by_status.items())),
        "status",
    ),
    gauge(
        "invoice_last_amount",
        "Amount of the newest invoice, in its currency. VideoDB: billing/invoices, amount. Asked once an hour.",
        of_invoices(last_amount),
        "currency",
        "status",
    ),
    gauge(
        "invoice_last_timestamp_seconds",
        "Date of the newest invoice, Unix time. VideoDB: billing/invoices, created_at. Asked once an hour.",
        of_invoices(lambda invoices: known(invoices.last_at)),
    ),
    gauge(
        "auto_recharge_enabled",
        "1 where the vendor tops the balance up by itself. VideoDB: billing/auto_recharge, enabled."
        " Asked once an hour.",
        of_recharge(lambda recharge: flag(recharge.enabled)),
    ),
    gauge(
        "auto_recharge_threshold_credits",
        "Balance under which the vendor tops up. VideoDB: billing/auto_recharge, threshold. Asked once an hour.",
        of_recharge(lambda recharge: recharge.threshold),
    ),
    gauge(
        "auto_recharge_amount_credits",
        "Credits that one top-up adds. VideoDB: billing/auto_recharge, amount. Asked once an hour.",
        of_recharge(lambda recharge: recharge.amount),
    ),
    gauge(
        "up",
        "1 where the last poll got a usable response, else 0. VideoDB: billing/usage; VidNavigator: usage.",
        lambda view: known(float(view.state.failure is None) if view.state.polls else None),
    ),
    gauge(
        "last_poll_timestamp_seconds",
        "When the last poll ended, Unix time.",
        of_state(lambda state: state.last_poll),
    ),
    gauge(
        "last_success_timestamp_seconds",
        "When the last usable response came, Unix time.",
        of_state(lambda state: state.last_success),
    ),
    gauge(
        "next_poll_timestamp_seconds",
        "When the next poll is due, Unix time.",
        of_state(lambda state: state.next_poll),
    ),
    gauge(
        "last_poll_duration_seconds",
        "How long the last poll took, retries included.",
        of_state(lambda state: state.last_duration),
    ),
    gauge(
        "reading_gap_seconds",
        "Time between the last two good readings.",
        of_state(lambda state: state.reading_gap),
    ),
    gauge(
        "poll_interval_seconds",
        "Time between two polls, from the configuration.",
        lambda view: known(view.account.interval),
    ),
    counter("polls_total", "Finished polls.", lambda view: known(float(view.state.polls))),
    counter(
        "poll_failures_total",
        "Failed polls and failed requests for billing, by reason.",
        failures,
        "reason",
    ),
    gauge(
        "last_poll_failure",
        "1 under the reason of the last poll's failure, only there while it stands.",
        lambda view: () if view.state.failure is None else (((view.state.failure.reason,), 1.0),),
        "reason",
    ),
    gauge(
        "cooldown_until_timestamp_seconds",
        "End of the present or last cool-down of the key, which a 429 or 503 starts, Unix time.",
        of_state(lambda state: state.cooldown_until),
    ),
    gauge("rejected_fields", "Fields of the last response that could not be read.", rejected),
)
