"""The Fleet dashboard with all accounts at a glance, the most urgent first."""

from __future__ import annotations

from typing import Any

from grafana.board import annotation, dashboard, filter_variable
from grafana.fields import (
    BLUE,
    COUNT,
    CREDITS,
    GREEN,
    ORANGE,
    PURPLE,
    RATIO,
    RED,
    SECONDS,
    UNLIMITED,
    YELLOW,
    Json,
    account_link,
    override,
    steps,
)
from grafana.panels import Query, bars, lines, row, stat, table
from grafana.queries import (
    ACCOUNT,
    ALERT_LABELS,
    FAILURE_WORDS,
    KEY_REASONS,
    MANY,
    RUNBOOKS,
    SEVERITY_WORDS,
    STATE_WORDS,
    TARGET_LABELS,
    account_variables,
    balance,
    begun,
    below_threshold,
    firing,
    firing_since,
    in_money,
    near_limit,
    per_account,
    quota_near_limit,
    selector,
    state,
    target_variables,
    time_left,
    unit_variable,
    will_not_last,
    with_unit,
)

RUNWAY_STEPS = steps(RED, (6 * 3600, ORANGE), (24 * 3600, YELLOW), (7 * 24 * 3600, GREEN))
SHARE_STEPS = steps(GREEN, (0.8, ORANGE), (0.95, RED))

# Alerts on the exporters have no account, so an empty value must match too.
ALERTS = selector('provider=~"$provider|"', 'account=~"$account|"')

SPENT_1H = per_account(MANY, "video_api:credits_spent:increase1h")
SPENT_1D = per_account(MANY, "video_api:credits_spent:increase1d")
NAME = "{{account}} · {{provider}}"
CHOSEN_UNIT = 'unit="$unit"'


def counted(title: str, description: str, problem: str, known: str, tint: str, no_value: str) -> Json:
    """Return a tile that counts accounts with a problem. It shows 0 only if the response is known for some account."""
    return stat(
        title,
        description,
        Query(f"count({problem}) or 0 * count({known})", instant=True),
        no_value=no_value,
        thresholds=steps(GREEN, (1, tint)),
    )


def tiles() -> list[tuple[int, Json]]:
    """Return the first row, which counts the accounts with each problem."""
    up, key = per_account(MANY, "video_api_up"), MANY("video_api_last_poll_failure", KEY_REASONS)
    critical, warning = (below_threshold(MANY, severity) for severity in ("critical", "warning"))
    ratio = MANY("video_api_storage_used_ratio")
    panels = [
        stat(
            "Accounts",
            "Accounts that have been polled at least once.",
            Query(f"count({up})", instant=True),
            no_value="No account polled yet",
            thresholds=steps(BLUE),
        ),
        counted(
            "No credits left",
            "Balance at or below 0. Calls that cost credits fail now.",
            f"{balance(MANY)} <= 0",
            balance(MANY),
            RED,
            "No balance known",
        ),
        counted(
            "Credits critical",
            "Balance above 0 and below the account's critical threshold.",
            f"{critical} > 0",
            balance(MANY),
            RED,
            "No balance known",
        ),
        counted(
            "Credits low",
            "Balance below the account's warning threshold, but not below the critical one.",
            f"{warning} unless ({critical})",
            balance(MANY),
            ORANGE,
            "No balance known",
        ),
        counted(
            "Will not last",
            "The alert fires that the credits end before the billing period (accounts without one: within a week), or "
            "within hours. Needs the alert rules.",
            will_not_last(MANY),
            MANY("video_api:credits_spent:increase1d"),
            YELLOW,
            "Rules not loaded",
        ),
        counted(
            "Keys rejected",
            "The last poll failed, because the key is refused, lacks a permission or cannot be read. This does "
            "not end by itself.",
            f"group by ({ACCOUNT}) ({key})",
            up,
            RED,
            "No account polled yet",
        ),
        counted(
            "Polls fail",
            "The last poll failed for any reason. The last good figures stay until they are stale. Then they "
            "disappear.",
            f"{up} == 0",
            up,
            PURPLE,
            "No account polled yet",
        ),
        counted(
            "Space near limit",
            "Storage, indexed channels or a named quota have reached a threshold of the account.",
            f"{near_limit(MANY, 'storage')} or {near_limit(MANY, 'channels')} or {quota_near_limit(MANY)}",
            f"{ratio} or {MANY('video_api_quota_used_ratio')}",
            YELLOW,
            "No limits known",
        ),
    ]
    return [(3, panel) for panel in panels]


def alerts_table() -> Json:
    """Return the alerts that fire now, the longest first."""
    return table(
        "Alerts firing",
        "Alerts that fire for the chosen accounts, and those on the exporters themselves. "
        "*True for* counts from the moment the condition was first met.",
        Query(firing_since(ALERTS, ALERT_LABELS), table=True),
        no_value="No alert fires (or the alert rules are not loaded)",
        columns={
            "severity": "Severity",
            "alertname": "Alert",
            "account": "Account",
            "provider": "Provider",
            "Value": "True for",
        },
        sort="Severity",
        descending=False,
        overrides=[
            override(
                "Severity", mappings=[SEVERITY_WORDS], custom__width=90, custom__cellOptions={"type": "color-text"}
            ),
            override("Alert", links=[RUNBOOKS]),
            override("Account", links=[account_link("data")]),
            override("True for", unit=SECONDS, decimals=1, custom__width=110),
            override("Provider", custom__width=120),
        ],
    )


def accounts_table() -> Json:
    """Return every account with its figures, the worst state first."""

    def column(ref: str, expr: str) -> Query:
        return Query(expr, ref=ref, table=True)

    space = {
        "unit": RATIO,
        "decimals": 0,
        "min": 0,
        "max": 1,
        "thresholds": SHARE_STEPS,
        "custom__width": 120,
        "custom__cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
    }
    return table(
        "Accounts, worst first",
        "A row for each account. Its name opens the Account dashboard. *Lasts* is how long the balance lasts at"
        " the spend rate of the last day. An empty cell is unknown or does not apply. Labels of the "
        "configuration (team, …) are at the right.",
        column("state", state(MANY)),
        column("labels", f"group without ({TARGET_LABELS}) ({MANY('video_api_up')})"),
        column("reason", f"group by ({ACCOUNT}, reason) ({MANY('video_api_last_poll_failure')})"),
        column("balance", balance(MANY)),
        column("unit", f"group by ({ACCOUNT}, unit) ({MANY('video_api_credits_unit_info')})"),
        column("runway", time_left(MANY, "1d")),
        column("reset", per_account(MANY, "video_api:billing_period_remaining_seconds")),
        column("spent", SPENT_1D),
        column("storage", per_account(MANY, "video_api_storage_used_ratio")),
        column("channels", per_account(MANY, "video_api_channels_used_ratio")),
        column("age", f"time() - {per_account(MANY, 'video_api_last_success_timestamp_seconds')}"),
        no_value="No account polled yet",
        columns={
            "Value #state": "State",
            "account": "Account",
            "provider": "Provider",
            "Value #balance": "Balance",
            "unit": "Unit",
            "Value #runway": "Lasts",
            "Value #reset": "Resets in",
            "Value #spent": "Spent in 24 h",
            "Value #storage": "Storage",
            "Value #channels": "Channels",
            "Value #age": "Last response",
            "reason": "Last poll failed",
        },
        hidden=("Value #labels", "Value #reason", "Value #unit"),
        sort="State",
        overrides=[
            override(
                "State",
                mappings=[STATE_WORDS],
                custom__width=150,
                custom__align="left",
                custom__cellOptions={"type": "color-background", "mode": "basic"},
            ),
            override("Account", links=[account_link("data")], custom__width=140),
            override("Provider", custom__width=105),
            override("Balance", unit=CREDITS, decimals=1, mappings=[UNLIMITED], noValue="Not known", custom__width=95),
            override("Unit", custom__width=85),
            override(
                "Lasts",
                unit=SECONDS,
                decimals=1,
                thresholds=RUNWAY_STEPS,
                custom__width=95,
                custom__cellOptions={"type": "color-text"},
            ),
            override("Resets in", unit=SECONDS, decimals=1, custom__width=95),
            override("Spent in 24 h", unit=CREDITS, decimals=1, custom__width=110),
            override("Storage", **space),
            override("Channels", **space),
            override("Last response", unit=SECONDS, decimals=0, noValue="Never", custom__width=115),
            override(
                "Last poll failed",
                mappings=[FAILURE_WORDS],
                custom__width=150,
                custom__cellOptions={"type": "color-text"},
            ),
        ],
    )


def alerts_over_time() -> Json:
    """Return the number of accounts and the start of each alert. It is cheap for any number of accounts."""
    return lines(
        "Alerts over time",
        "Number of firing alerts of each kind. It shows when a problem began, and whether it affects one "
        "account or all.",
        Query(f"count by (alertname) ({firing(ALERTS, ALERT_LABELS)})", "{{alertname}}"),
        unit=COUNT,
        no_value="No alert fired in this range (or the alert rules are not loaded)",
        stacked=True,
        fill=50,
        decimals=0,
        placement="right",
    )


def ranking(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    thresholds: Json,
    no_value: str,
    name: str = NAME,
    **more: Any,
) -> Json:
    """Return bars for the ten accounts that matter most."""
    return bars(
        title,
        description,
        Query(expr, name, instant=True),
        unit=unit,
        thresholds=thresholds,
        no_value=no_value,
        links=[account_link("labels")],
        **more,
    )


def fullest_quotas() -> Json:
    """Return the named quotas that are nearest to their limit."""
    by = f"{ACCOUNT}, quota"
    used = f"max by ({by}) ({MANY('video_api_quota_used_ratio')}) > 0"
    expires = f"group by ({by}) ({MANY('video_api_quota_expiry_timestamp_seconds')})"
    return bars(
        "Fullest quotas",
        "Used share of each named quota, without unlimited ones and without packs of credits that expire.",
        Query(f"sort_desc(topk(10, {used} unless {expires}))", "{{quota}} · " + NAME, instant=True),
        unit=RATIO,
        thresholds=SHARE_STEPS,
        no_value="No quota used, or not known",
        links=[account_link("labels")],
        decimals=0,
        min=0,
        max=1,
    )


def by_vendor(title: str, description: str, amount: str, *, no_value: str) -> Json:
    """Return the sum of an amount for each vendor, of the accounts that count in the chosen unit."""
    return lines(
        title,
        description,
        Query(f"sum by (provider, unit) ({with_unit(MANY, amount, CHOSEN_UNIT)})", "{{provider}} ({{unit}})"),
        unit=CREDITS,
        no_value=no_value,
        interval="5m",
    )


def money() -> list[tuple[int, Json]]:
    """Return spend and balance in money, each currency by itself."""
    spent = f"sum by (currency) ({in_money(MANY, SPENT_1H)})"
    left = f"sum by (currency) ({in_money(MANY, balance(MANY) + ' < Inf')})"
    return [
        (
            8,
            lines(
                "Money spent per hour",
                "Spending of the last hour times the price of a credit, by currency. Accounts without a price are "
                "left out.",
                Query(spent, "{{currency}}"),
                unit=CREDITS,
                no_value="No price set, or no spending known yet",
                interval="5m",
            ),
        ),
        (
            8,
            ranking(
                "Most money in 24 h",
                "The ten accounts that spent the most in the last 24 hours, each in its own currency.",
                f"sort_desc(topk(10, {in_money(MANY, SPENT_1D + ' > 0')}))",
                unit=CREDITS,
                thresholds=steps(BLUE),
                no_value="No price set, or nothing spent",
                name="{{currency}} · " + NAME,
                decimals=2,
                min=0,
            ),
        ),
        (
            8,
            lines(
                "Money left",
                "The sum of all balances times their price, by currency, without unlimited ones.",
                Query(left, "{{currency}}"),
                unit=CREDITS,
                no_value="No price set, or no limited balance known",
                interval="5m",
            ),
        ),
    ]


def build() -> Json:
    """Return the Fleet dashboard."""
    return dashboard(
        "video-api-fleet",
        "Video API / Fleet",
        "All accounts, with what is wrong, since when, and how long the credits last.",
        variables=[
            *target_variables(),
            *account_variables(multi=True),
            unit_variable(),
            filter_variable(
                "labels", "Labels", "Any label that the exporter's configuration puts on accounts, such as team or env"
            ),
        ],
        annotations=[
            annotation(
                "Critical alerts begin",
                begun(ALERTS, ALERT_LABELS, 'severity="critical"'),
                "{{alertname}}",
                "{{account}} ({{provider}})",
                RED,
            )
        ],
        time_from="now-24h",
        layout=[
            (4, tiles()),
            (
                9,
                [
                    (13, alerts_table()),
                    (
                        11,
                        ranking(
                            "Shortest runways",
                            "How long the balance lasts at the spend rate of the last day, for the ten accounts"
                            " that end first. Accounts that spend nothing, and unlimited accounts, have no end.",
                            f"sort(bottomk(10, {time_left(MANY, '1d')}))",
                            unit=SECONDS,
                            thresholds=RUNWAY_STEPS,
                            no_value="No account is running out",
                            decimals=1,
                            min=0,
                            max=14 * 86400,
                        ),
                    ),
                ],
            ),
            (14, [(24, accounts_table())]),
            row("History"),
            (
                8,
                [
                    (12, alerts_over_time()),
                    (
                        12,
                        by_vendor(
                            "Spent per hour",
                            "Spending of the last hour in the chosen unit, by vendor. Credits of two vendors are "
                            "different money, so they are not added up. It comes from the spending counter, so top-ups "
                            "and resets do not show.",
                            SPENT_1H,
                            no_value="No spending known yet in this unit",
                        ),
                    ),
                ],
            ),
            (
                9,
                [
                    (
                        12,
                        ranking(
                            "Largest spenders in 24 h",
                            "The ten accounts that spent the most in the last 24 hours, of those that count in the "
                            "chosen unit.",
                            f"sort_desc(topk(10, {with_unit(MANY, SPENT_1D + ' > 0', CHOSEN_UNIT)}))",
                            unit=CREDITS,
                            thresholds=steps(BLUE),
                            no_value="Nothing spent in this unit, or not known yet",
                            decimals=1,
                            min=0,
                        ),
                    ),
                    (
                        12,
                        by_vendor(
                            "Balance left",
                            "The sum of the balances in the chosen unit, by vendor, without unlimited ones.",
                            f"{balance(MANY)} < Inf",
                            no_value="No limited balance known in this unit",
                        ),
                    ),
                ],
            ),
            row("Money"),
            (8, money()),
            row("Storage, channels and quotas"),
            (
                8,
                [
                    (
                        8,
                        ranking(
                            "Fullest storage",
                            "Used share of the storage limit, without unlimited storage.",
                            f"sort_desc(topk(10, {per_account(MANY, 'video_api_storage_used_ratio')} > 0))",
                            unit=RATIO,
                            thresholds=SHARE_STEPS,
                            no_value="No storage used, or not known",
                            decimals=0,
                            min=0,
                            max=1,
                        ),
                    ),
                    (
                        8,
                        ranking(
                            "Most channels used",
                            "Used share of the channel limit, without unlimited ones.",
                            f"sort_desc(topk(10, {per_account(MANY, 'video_api_channels_used_ratio')} > 0))",
                            unit=RATIO,
                            thresholds=SHARE_STEPS,
                            no_value="No channels used, or not known",
                            decimals=0,
                            min=0,
                            max=1,
                        ),
                    ),
                    (8, fullest_quotas()),
                ],
            ),
        ],
    )
