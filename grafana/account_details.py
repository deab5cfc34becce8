"""The lower half of the Account dashboard with operations, space, plan, billing and polling."""

from __future__ import annotations

from grafana.fields import (
    BLUE,
    COUNT,
    CREDITS,
    GREEN,
    GREY,
    MOMENT,
    ORANGE,
    PURPLE,
    RATIO,
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
from grafana.fleet import SHARE_STEPS
from grafana.panels import Query, bars, lines, stat, table, timeline
from grafana.queries import ACCOUNT, FAILURE_WORDS, ONE, TARGET_LABELS, per_account


def one(metric: str, *more: str) -> str:
    """Return a family of the account from any replica."""
    return per_account(ONE, metric, *more)


def finite(metric: str, *more: str) -> str:
    """Return the same for a graph, without unlimited values, because an axis cannot show them."""
    return f"({one(metric, *more)} < Inf)"


def operations() -> list[tuple[int, Json]]:
    """Return the credits by operation."""
    by = f"{ACCOUNT}, operation"
    used = f"max by ({by}) ({ONE('video_api_credits_used_by_operation')})"
    return [
        (
            8,
            bars(
                "Credits by operation",
                "Credits used in this period by the ten largest operations. For VidNavigator it is an estimate "
                'from the published prices. "(other)" is the sum of the operations over the exporter\'s limit.',
                Query(f"sort_desc(topk(10, {used}))", "{{operation}}", instant=True),
                unit=CREDITS,
                decimals=1,
                thresholds=steps(BLUE),
                no_value="No usage by operation sent",
                min=0,
            ),
        ),
        (
            8,
            lines(
                "Credits by operation over time",
                "The same over time, stacked. It starts again with each period.",
                Query(used, "{{operation}}"),
                unit=CREDITS,
                no_value="No usage by operation sent",
                stacked=True,
                fill=50,
            ),
        ),
        (
            8,
            table(
                "Use of services",
                "Use in this period in the unit that the vendor bills, and its share of the credits if a price "
                "is known.",
                Query(f"max by ({by}, unit) ({ONE('video_api_service_usage')})", ref="use", table=True),
                Query(used, ref="credits", table=True),
                no_value="No use of services sent",
                columns={"operation": "Operation", "Value #use": "Used", "unit": "Unit", "Value #credits": "Credits"},
                hidden=("provider", "account"),
                sort="Credits",
                overrides=[
                    override("Used", unit=CREDITS, decimals=1, custom__width=100),
                    override("Unit", custom__width=100),
                    override("Credits", unit=CREDITS, decimals=2, custom__width=90),
                ],
            ),
        ),
    ]


def space(resource: str, title: str, used: str, limit: str, unit: str, words_used: str) -> list[tuple[int, Json]]:
    """Return the used share of storage or channels, now and over time."""
    share = stat(
        f"{title} used",
        f"Used share of the {resource} limit. The colours show the default thresholds. "
        "The alerts use the account's own thresholds.",
        Query(one(f"video_api_{resource}_used_ratio")),
        unit=RATIO,
        decimals=0,
        thresholds=SHARE_STEPS,
        no_value="Not sent by vendor",
    )
    course = lines(
        f"{title} over time",
        f"{words_used}, and the limit of the plan. An unlimited one is not drawn.",
        Query(finite(used), "Used", "used"),
        Query(finite(limit), "Limit", "limit"),
        unit=unit,
        no_value="Not sent by vendor",
        overrides=[override_query("used", color=colour(BLUE)), limit_line("limit", RED)],
    )
    return [(3, share), (9, course)]


def quotas() -> list[tuple[int, Json]]:
    """Return the named quotas, now and over time."""
    by = f"{ACCOUNT}, quota"

    def figure(metric: str) -> Query:
        return Query(f"max by ({by}, unit) ({ONE(f'video_api_quota_{metric}')})", ref=metric, table=True)

    def until(moment: str) -> Query:
        return Query(
            f"min by ({by}) ({ONE(f'video_api_quota_{moment}_timestamp_seconds')}) - time()", ref=moment, table=True
        )

    amount = {"unit": CREDITS, "decimals": 1, "mappings": [UNLIMITED], "custom__width": 95}
    return [
        (
            15,
            table(
                "Quotas",
                "Named quotas, each in its own unit. A quota is refilled, or what is left of it is lost.",
                *(figure(metric) for metric in ("used", "limit", "remaining", "used_ratio")),
                until("reset"),
                until("expiry"),
                no_value="No quotas sent by vendor",
                columns={
                    "quota": "Quota",
                    "Value #used": "Used",
                    "Value #limit": "Limit",
                    "Value #remaining": "Left",
                    "unit": "Unit",
                    "Value #used_ratio": "Share",
                    "Value #reset": "Refilled in",
                    "Value #expiry": "Lost in",
                },
                hidden=("provider", "account"),
                overrides=[
                    *(override(name, **amount) for name in ("Used", "Limit", "Left")),
                    override("Unit", custom__width=90),
                    override("Share", unit=RATIO, decimals=0, custom__width=70),
                    override("Refilled in", unit=SECONDS, decimals=1, custom__width=95),
                    override("Lost in", unit=SECONDS, decimals=1, custom__width=95),
                ],
            ),
        ),
        (
            9,
            lines(
                "Quotas over time",
                "Used share of each named quota.",
                Query(f"max by ({by}) ({ONE('video_api_quota_used_ratio')})", "{{quota}}"),
                unit=RATIO,
                no_value="No share of a quota known",
                fill=0,
                max=1,
            ),
        ),
    ]


def plan() -> list[tuple[int, Json]]:
    """Return the plan, its periods and the billing."""

    def moment(metric: str) -> str:
        return f"max by ({ACCOUNT}, period) ({ONE(metric)}) * 1000"

    yes_no = words({0: ("No", GREY), 1: ("Yes", ORANGE)})
    subscription = f"{ACCOUNT}, plan_name, plan_id, interval, status"
    return [
        (
            9,
            table(
                "Plan",
                "The subscription as the vendor describes it.",
                Query(f"group by ({subscription}) ({ONE('video_api_subscription_info')})", ref="plan", table=True),
                Query(one("video_api_subscription_cancel_at_period_end"), ref="ends", table=True),
                no_value="No subscription sent by vendor",
                columns={
                    "plan_name": "Plan",
                    "plan_id": "Id",
                    "status": "Status",
                    "interval": "Billed",
                    "Value #ends": "Ends with period",
                },
                hidden=("provider", "account", "Value #plan"),
                overrides=[
                    override(
                        "Ends with period",
                        mappings=[yes_no],
                        noValue="Not known",
                        custom__width=130,
                        custom__cellOptions={"type": "color-text"},
                    )
                ],
            ),
        ),
        (
            7,
            table(
                "Periods",
                "Start and end of the usage period and of the billing period.",
                Query(moment("video_api_period_start_timestamp_seconds"), ref="start", table=True),
                Query(moment("video_api_period_end_timestamp_seconds"), ref="end", table=True),
                no_value="No period sent by vendor",
                columns={"period": "Period", "Value #start": "Begins", "Value #end": "Ends"},
                hidden=("provider", "account"),
                overrides=[
                    override("Begins", unit=MOMENT),
                    override("Ends", unit=MOMENT),
                    override("Period", custom__width=80),
                ],
            ),
        ),
        (
            8,
            table(
                "Labels",
                "Labels of the account from the exporter's configuration, such as the team to call.",
                Query(f"group without ({TARGET_LABELS}) ({ONE('video_api_up')})", table=True),
                no_value="No labels configured",
                columns={},
                hidden=("Value", "account", "provider"),
            ),
        ),
    ]


def billing() -> list[tuple[int, Json]]:
    """Return invoices and automatic recharge, which only VideoDB has and only if they are collected."""
    yes_no = words({0: ("Off", GREY), 1: ("On", GREEN)})
    colours = {"paid": GREEN, "pending": ORANGE, "failed": RED}
    by = f"{ACCOUNT}, currency, status"
    return [
        (
            6,
            stat(
                "Automatic recharge",
                "Whether VideoDB buys credits by itself when the balance falls below a threshold.",
                Query(one("video_api_auto_recharge_enabled"), instant=True),
                unit=TEXT,
                mappings=[yes_no],
                no_value="Not collected",
            ),
        ),
        (
            6,
            stat(
                "Recharge",
                "The threshold below which it buys credits, and how many it buys.",
                Query(one("video_api_auto_recharge_threshold_credits"), "Below", instant=True),
                Query(one("video_api_auto_recharge_amount_credits"), "Buys", instant=True),
                unit=CREDITS,
                no_value="Not collected",
                thresholds=steps(BLUE),
                text_mode="value_and_name",
            ),
        ),
        (
            6,
            bars(
                "Latest invoices",
                "The latest twelve invoices by status.",
                Query(f"max by ({ACCOUNT}, status) ({ONE('video_api_invoices')})", "{{status}}", instant=True),
                unit=COUNT,
                thresholds=steps(BLUE),
                no_value="Not collected",
                min=0,
                max=12,
                overrides=[override(status, color=colour(tint)) for status, tint in colours.items()],
            ),
        ),
        (
            6,
            table(
                "Newest invoice",
                "Amount, status and age of the newest invoice.",
                Query(f"max by ({by}) ({ONE('video_api_invoice_last_amount')})", ref="amount", table=True),
                Query(f"time() - {one('video_api_invoice_last_timestamp_seconds')}", ref="age", table=True),
                no_value="Not collected",
                columns={"Value #amount": "Amount", "currency": "Currency", "status": "Status", "Value #age": "Age"},
                hidden=("provider", "account"),
                overrides=[
                    override("Amount", unit=CREDITS, decimals=2, custom__width=90),
                    override("Currency", custom__width=80),
                    override(
                        "Status",
                        custom__width=80,
                        mappings=[
                            {
                                "type": "value",
                                "options": {
                                    status: {"text": status, "color": tint, "index": index}
                                    for index, (status, tint) in enumerate(colours.items())
                                },
                            }
                        ],
                        custom__cellOptions={"type": "color-text"},
                    ),
                    override("Age", unit=SECONDS, decimals=1, custom__width=90),
                ],
            ),
        ),
    ]


def oldest(metric: str) -> str:
    """Return the greatest age in each step, because single ages would draw a saw of polls and hide its height."""
    return f"max_over_time((time() - {one(metric)})[$__rate_interval:30s])"


def polling() -> list[tuple[int, Json]]:
    """Return the results of this account's polls."""
    failures = f"sum by (reason) (increase({ONE('video_api_poll_failures_total')}[$__rate_interval]))"
    return [
        (
            8,
            timeline(
                "Polls",
                "Whether the last poll got a usable response.",
                Query(one("video_api_up"), "Polls"),
                no_value="Not polled yet",
                mappings=[words({0: ("Failed", PURPLE), 1: ("Good", GREEN)})],
            ),
        ),
        (
            8,
            lines(
                "Failed polls by reason",
                "Failed polls for each step of the graph. Polls that a cool-down skips are not counted.",
                Query(f"{failures} > 0", "{{reason}}"),
                unit=COUNT,
                draw="bars",
                stacked=True,
                legend=("sum",),
                no_value="No poll failed in this range",
                interval="5m",
                decimals=0,
            ),
        ),
        (
            8,
            lines(
                "Age of the figures",
                "Time since the last good poll, and since the vendor computed the figures. It is the maximum of"
                " each step of the graph.",
                Query(oldest("video_api_last_success_timestamp_seconds"), "Since the last good poll", "poll"),
                Query(oldest("video_api_data_timestamp_seconds"), "Since the vendor computed it", "vendor"),
                unit=SECONDS,
                no_value="No good poll yet",
                fill=0,
                decimals=1,
            ),
        ),
    ]


def polling_details() -> list[tuple[int, Json]]:
    """Return the ages of the figures and the durations of the polls."""
    return [
        (
            6,
            table(
                "Last failure",
                "Why the last poll failed. Empty while polls succeed.",
                Query(f"group by (reason) ({ONE('video_api_last_poll_failure')})", table=True),
                no_value="The last poll was good",
                columns={"reason": "Reason"},
                hidden=("Value",),
                overrides=[override("Reason", mappings=[FAILURE_WORDS], custom__cellOptions={"type": "color-text"})],
            ),
        ),
        (
            6,
            stat(
                "Next poll in",
                "Time to the next poll, cool-downs included.",
                Query(f"{one('video_api_next_poll_timestamp_seconds')} - time()", instant=True),
                unit=SECONDS,
                decimals=0,
                no_value="Not planned",
                thresholds=steps(BLUE),
            ),
        ),
        (
            6,
            stat(
                "Cool-down",
                "Remaining cool-down of the key after the vendor asked for fewer requests.",
                Query(f"{one('video_api_cooldown_until_timestamp_seconds')} - time() > 0", instant=True),
                unit=SECONDS,
                decimals=0,
                no_value="None",
                thresholds=steps(ORANGE),
            ),
        ),
        (
            6,
            stat(
                "Rejected fields",
                "Fields of the last response that could not be read. The log names them.",
                Query(one("video_api_rejected_fields"), instant=True),
                unit=COUNT,
                no_value="Not known",
                thresholds=steps(GREEN, (1, ORANGE)),
            ),
        ),
    ]
