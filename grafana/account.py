"""The Account dashboard with an account's credits, forecast, operations, space, plan and polling."""

from __future__ import annotations

from grafana.account_details import billing, finite, one, operations, plan, polling, polling_details, quotas, space
from grafana.board import annotation, dashboard
from grafana.fields import (
    BLUE,
    BYTES,
    COUNT,
    CREDITS,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SECONDS,
    TEXT,
    UNLIMITED,
    Json,
    colour,
    limit_line,
    override,
    override_query,
    steps,
    words,
)
from grafana.fleet import RUNWAY_STEPS
from grafana.panels import Query, lines, row, stat, table, timeline
from grafana.queries import (
    ACCOUNT,
    ONE,
    RUNBOOKS,
    SEVERITY_WORDS,
    STATE_WORDS,
    account_variables,
    balance,
    begun,
    firing,
    firing_since,
    in_money,
    per_account,
    runway,
    state,
    target_variables,
    time_left,
    with_unit,
)

RESET = per_account(ONE, "video_api:billing_period_remaining_seconds")
WARNING, CRITICAL = "Warning below", "Critical below"


def severity_is(name: str) -> str:
    """Return the matcher of a severity."""
    return f'severity="{name}"'


def tiles() -> list[tuple[int, Json]]:
    """Return the first row, which shows what is wrong, how much is left, and for how long."""
    forecast = f"{finite('video_api_credits_balance')} - {one('video_api:credits_spent:increase1d')} / 86399 * {RESET}"
    return [
        (
            4,
            stat(
                "State",
                "The worst problem of this account now.",
                Query(state(ONE), instant=True),
                unit=TEXT,
                no_value="Not polled yet",
                mappings=[STATE_WORDS],
                background=True,
            ),
        ),
        (
            4,
            stat(
                "Balance",
                "What can be spent now, in the unit of the account. While polls fail, the last good reading stays "
                "until it is stale. Then it disappears.",
                Query(with_unit(ONE, balance(ONE)), "{{unit}}"),
                text_mode="value_and_name",
                unit=CREDITS,
                decimals=1,
                no_value="Not known",
                mappings=[UNLIMITED],
                thresholds=steps(BLUE),
                graph=True,
            ),
        ),
        (
            4,
            stat(
                "Lasts",
                "How long the balance lasts at the spend rate of the last day. Needs the recording rules.",
                Query(time_left(ONE, "1d"), instant=True),
                unit=SECONDS,
                decimals=1,
                no_value="No end known",
                thresholds=RUNWAY_STEPS,
            ),
        ),
        (
            4,
            stat(
                "Resets in",
                "Time until the billing period ends. Then the monthly credits are refilled.",
                Query(RESET, instant=True),
                unit=SECONDS,
                decimals=1,
                no_value="Not sent by vendor",
                thresholds=steps(BLUE),
            ),
        ),
        (
            4,
            stat(
                "Left at reset",
                "Balance at the end of the billing period, at the spend rate of the last day. Below 0 this many"
                " credits are missing.",
                Query(forecast, instant=True),
                unit=CREDITS,
                decimals=1,
                no_value="No forecast",
                thresholds=steps(RED, (0, GREEN)),
            ),
        ),
        (
            4,
            stat(
                "Last response",
                "Time since the vendor's last usable response.",
                Query(f"time() - {one('video_api_last_success_timestamp_seconds')}", instant=True),
                unit=SECONDS,
                decimals=0,
                no_value="Never",
                thresholds=steps(GREEN, (900, ORANGE), (3600, RED)),
            ),
        ),
    ]


def alerts_table() -> Json:
    """Return the alerts that fire for this account."""
    return table(
        "Alerts firing",
        "Alerts that fire for this account, and for how long each has been true.",
        Query(firing_since(ONE, "alertname, severity"), table=True),
        no_value="No alert fires (or the alert rules are not loaded)",
        columns={"severity": "Severity", "alertname": "Alert", "Value": "True for"},
        sort="Severity",
        descending=False,
        overrides=[
            override(
                "Severity", mappings=[SEVERITY_WORDS], custom__width=80, custom__cellOptions={"type": "color-text"}
            ),
            override("Alert", links=[RUNBOOKS]),
            override("True for", unit=SECONDS, decimals=1, custom__width=100),
        ],
    )


def alerts_over_time() -> Json:
    """Return when each alert fired."""
    bands = (
        f"{number} * {firing(ONE, 'alertname', severity_is(name))}"
        for number, name in ((2, "critical"), (1, "warning"))
    )
    return timeline(
        "Alerts over time",
        "When each alert on this account fired, and its severity.",
        Query(" or ".join(bands), "{{alertname}}"),
        no_value="No alert fired in this range (or the alert rules are not loaded)",
        mappings=[words({2: ("Critical", RED), 1: ("Warning", ORANGE)})],
    )


def credits_by_pool() -> Json:
    """Return the balance and its pools over time, against the account's thresholds."""
    return lines(
        "Credits by pool",
        "The balance, its monthly and its purchased part, and the account's own thresholds. An unlimited pool "
        "is not drawn.",
        Query(finite("video_api_credits_balance"), "Balance", "balance"),
        Query(finite("video_api_credits_monthly_remaining"), "Monthly left", "monthly"),
        Query(finite("video_api_credits_purchased"), "Purchased", "purchased"),
        Query(one("video_api_credits_threshold", 'severity="warning"'), WARNING, "warning"),
        Query(one("video_api_credits_threshold", 'severity="critical"'), CRITICAL, "critical"),
        unit=CREDITS,
        no_value="Unlimited, or no balance known",
        overrides=[
            override_query("balance", color=colour(BLUE), custom__lineWidth=3, custom__fillOpacity=12),
            override_query("monthly", color=colour(GREEN), custom__fillOpacity=0),
            override_query("purchased", color=colour(PURPLE), custom__fillOpacity=0),
            limit_line("warning", ORANGE),
            limit_line("critical", RED),
        ],
    )


def pace() -> Json:
    """Return the spending per hour by four windows."""
    windows = (
        ("1h", 1, "Last hour", ORANGE),
        ("6h", 6, "Mean of 6 h", BLUE),
        ("1d", 24, "Mean of 1 d", GREEN),
        ("7d", 168, "Mean of 7 d", GREY),
    )
    return lines(
        "Credits spent per hour",
        "Spending in the last hour, and the hourly mean of 6 hours, a day and a week. If the first is far above"
        " the others, it is a spike. It comes from the spending counter, so top-ups and resets do not show.",
        *(
            Query(f"{one('video_api:credits_spent:increase' + window)} / {hours}", name, f"w{window}")
            for window, hours, name, _ in windows
        ),
        unit=CREDITS,
        no_value="No spending known yet",
        fill=0,
        overrides=[override_query(f"w{window}", color=colour(tint)) for window, _, _, tint in windows],
    )


def forecast() -> Json:
    """Return the runway by four windows against the time to the reset."""
    month = 31 * 86400
    return lines(
        "How long the credits last",
        "If a line is below the dashed line, the credits end before the billing period. The axis ends at 31 days.",
        Query(runway(ONE, "1h"), "At the last hour's pace", "w1h"),
        Query(runway(ONE, "6h"), "At the last 6 h's pace", "w6h"),
        Query(runway(ONE, "1d"), "At the last day's pace", "w1d"),
        Query(runway(ONE, "7d"), "At the last week's pace", "w7d"),
        Query(RESET, "Until the reset", "reset"),
        unit=SECONDS,
        no_value="Nothing is spent, unlimited, or no spending known yet",
        fill=0,
        decimals=1,
        max=month,
        overrides=[
            override_query("w1h", color=colour(ORANGE)),
            override_query("w6h", color=colour(BLUE)),
            override_query("w1d", color=colour(GREEN)),
            override_query("w7d", color=colour(GREY)),
            limit_line("reset", RED),
        ],
    )


def ledger() -> Json:
    """Return the credits spent, added and lapsed in each hour."""
    kinds = (("spent", "Spent", ORANGE), ("added", "Added", GREEN), ("lapsed", "Lapsed", GREY))
    return lines(
        "Spent, added and lapsed",
        "Credits for each step of the graph, as spending, as top-ups and refills, and as monthly credits that "
        "ended unused with their period.",
        *(
            Query(
                f"max by ({ACCOUNT}) (increase({ONE(f'video_api_credits_{kind}_total')}[$__rate_interval]))", name, kind
            )
            for kind, name, _ in kinds
        ),
        unit=CREDITS,
        no_value="No balance compared yet",
        draw="bars",
        interval="1h",
        legend=("sum",),
        overrides=[override_query(kind, color=colour(tint)) for kind, _, tint in kinds],
    )


def money() -> list[tuple[int, Json]]:
    """Return balance and spend in the account's currency."""
    day = in_money(ONE, one("video_api:credits_spent:increase1d"))
    week = in_money(ONE, one("video_api:credits_spent:increase7d"))
    tiles = (
        (
            "Balance in money",
            "The balance times the price of a credit.",
            in_money(ONE, finite("video_api_credits_balance")),
        ),
        ("Spent in 24 h", "Spending of the last day times the price of a credit.", day),
        ("Spent in 7 days", "Spending of the last seven days times the price of a credit.", week),
    )
    course = lines(
        "Money spent per hour",
        "Spending of the last hour times the price of a credit.",
        Query(in_money(ONE, one("video_api:credits_spent:increase1h")), "{{currency}}"),
        unit=CREDITS,
        no_value="No price set, or no spending known yet",
    )
    return [
        *(
            (
                4,
                stat(
                    title,
                    description,
                    Query(expr, "{{currency}}", instant=True),
                    unit=CREDITS,
                    decimals=2,
                    no_value="No price, or not known yet",
                    thresholds=steps(BLUE),
                    text_mode="value_and_name",
                ),
            )
            for title, description, expr in tiles
        ),
        (12, course),
    ]


def build() -> Json:
    """Return the Account dashboard."""
    return dashboard(
        "video-api-account",
        "Video API / Account",
        "Credits, forecast, operations, space, plan and polling of one account.",
        variables=[*target_variables(), *account_variables(multi=False)],
        annotations=[
            annotation(
                f"{name} alerts begin",
                begun(ONE, "alertname, severity", severity_is(severity)),
                "{{alertname}}",
                "{{severity}}",
                tint,
            )
            for severity, name, tint in (("critical", "Critical", RED), ("warning", "Warning", ORANGE))
        ],
        time_from="now-2d",
        layout=[
            (4, tiles()),
            row("Credits"),
            (9, [(16, credits_by_pool()), (8, alerts_table())]),
            (5, [(24, alerts_over_time())]),
            (8, [(12, pace()), (12, forecast())]),
            (6, [(24, ledger())]),
            row("Money"),
            (5, money()),
            row("By operation"),
            (8, operations()),
            row("Storage and channels"),
            (
                7,
                [
                    *space(
                        "storage",
                        "Storage",
                        "video_api_storage_used_bytes",
                        "video_api_storage_limit_bytes",
                        BYTES,
                        "Bytes stored",
                    ),
                    *space(
                        "channels",
                        "Channels",
                        "video_api_channels_indexed",
                        "video_api_channels_limit",
                        COUNT,
                        "Channels indexed",
                    ),
                ],
            ),
            row("Quotas"),
            (6, quotas()),
            row("Plan and billing"),
            (5, plan()),
            (5, billing()),
            row("Polling"),
            (6, polling()),
            (4, polling_details()),
        ],
    )
