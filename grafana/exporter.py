"""The Exporter dashboard with polls, failures, lag, cool-downs, freshness and the process."""

from __future__ import annotations

from grafana.board import annotation, dashboard
from grafana.fields import (
    BLUE,
    BYTES,
    COUNT,
    GREEN,
    GREY,
    MOMENT,
    NEVER,
    ORANGE,
    PURPLE,
    RATIO,
    RED,
    SECONDS,
    YELLOW,
    Json,
    account_link,
    colour,
    override,
    override_query,
    steps,
    words,
)
from grafana.panels import Query, lines, row, stat, table
from grafana.queries import (
    ACCOUNT,
    EXPORTERS,
    FAILURE_WORDS,
    MANY,
    RUNBOOKS,
    SEVERITY_WORDS,
    account_variables,
    firing_since,
    per_account,
    selector,
    target_variables,
)

NAME = "{{account}} · {{provider}}"
REASON_COLOURS = {
    "auth": RED,
    "forbidden": "dark-red",
    "credential": "light-red",
    "payment_required": "dark-orange",
    "rate_limited": ORANGE,
    "client_error": YELLOW,
    "server_error": PURPLE,
    "timeout": BLUE,
    "connection": "dark-blue",
    "invalid_response": "light-purple",
    "internal": GREY,
}
ALERTS = selector('account=""')


def quantile(share: float, metric: str, name: str, ref: str, *matchers: str, by: str = "le") -> Query:
    """Return a percentile of a histogram."""
    rate = f"rate({EXPORTERS(metric + '_bucket', *matchers)}[$__rate_interval])"
    return Query(f"histogram_quantile({share}, sum by ({by}) ({rate}))", name, ref)


def age_in_intervals() -> str:
    """Return the time since each account's last reading, in its own poll intervals."""
    return (
        f"(time() - {per_account(MANY, 'video_api_last_success_timestamp_seconds')}) / "
        f"{per_account(MANY, 'video_api_poll_interval_seconds')}"
    )


def tiles() -> list[tuple[int, Json]]:
    """Return the first row, which shows whether the exporter runs and keeps up."""
    up = per_account(MANY, "video_api_up")
    cooldown = per_account(MANY, "video_api_cooldown_until_timestamp_seconds")
    return [
        (
            3,
            stat(
                "Exporters down",
                "Targets of the chosen jobs that Prometheus cannot scrape.",
                Query(f"count({EXPORTERS('up')} == 0) or 0 * count({EXPORTERS('up')})", instant=True),
                no_value="None is scraped",
                thresholds=steps(GREEN, (1, RED)),
            ),
        ),
        (
            3,
            stat(
                "Accounts",
                "Accounts of the chosen exporters. One that several replicas have counts once.",
                Query(f"count({per_account(MANY, 'video_api_poll_interval_seconds')})", instant=True),
                no_value="Not scraped",
                thresholds=steps(BLUE),
            ),
        ),
        (
            3,
            stat(
                "Polls fail",
                "Accounts whose last poll failed.",
                Query(f"count({up} == 0) or 0 * count({up})", instant=True),
                no_value="No account polled yet",
                thresholds=steps(GREEN, (1, PURPLE)),
            ),
        ),
        (
            3,
            stat(
                "In cool-down",
                "Accounts whose key is in cool-down after the vendor asked for fewer requests.",
                Query(f"count({cooldown} > time()) or 0 * count({up})", instant=True),
                no_value="No account polled yet",
                thresholds=steps(GREEN, (1, ORANGE)),
            ),
        ),
        (
            3,
            stat(
                "Oldest reading",
                "Age of the oldest last reading, in poll intervals of its account. Over 3 is stale.",
                Query(f"max({age_in_intervals()})", instant=True),
                unit="none",
                decimals=1,
                no_value="No good poll yet",
                thresholds=steps(GREEN, (2, YELLOW), (3, RED)),
            ),
        ),
        (
            3,
            stat(
                "Start delay, 99 %",
                "How late polls start, without the latest 1 % of the last hour. A long lag means too many "
                "accounts for one exporter.",
                Query(
                    "histogram_quantile(0.99, sum by (le) (increase("
                    f"{EXPORTERS('video_api_exporter_poll_lag_seconds_bucket')}[1h])))",
                    instant=True,
                ),
                unit=SECONDS,
                decimals=1,
                no_value="No poll in the last hour",
                thresholds=steps(GREEN, (5, YELLOW), (30, RED)),
            ),
        ),
        (
            3,
            stat(
                "Configuration",
                "Whether the last reload succeeded. If it failed, the exporter keeps the old configuration.",
                Query(f"min({EXPORTERS('video_api_exporter_config_last_reload_successful')})", instant=True),
                no_value="Not scraped",
                mappings=[words({0: ("Refused", RED), 1: ("Loaded", GREEN)})],
            ),
        ),
        (
            3,
            stat(
                "Unsaved state",
                "Failed writes of the state file in the last hour. Spending around a restart may be lost.",
                Query(f"sum(increase({EXPORTERS('video_api_exporter_state_write_failures_total')}[1h]))", instant=True),
                unit="none",
                decimals=0,
                no_value="Not scraped",
                thresholds=steps(GREEN, (1, ORANGE)),
            ),
        ),
    ]


def exporters_table() -> Json:
    """Return a table row for each exporter with version, shard, configuration and start."""

    def column(ref: str, metric: str, scale: str = "", by: str = "instance") -> Query:
        return Query(f"max by ({by}) ({EXPORTERS(metric)}){scale}", ref=ref, table=True)

    return table(
        "Exporters",
        "Version, shard, replicas, state and start of each process. Of replicas that share a shard, each polls a part "
        "of the accounts.",
        column("up", "up"),
        column("build", "video_api_exporter_build_info", by="instance, version, revision, python_version"),
        column("index", "video_api_exporter_shard_index"),
        column("count", "video_api_exporter_shards"),
        Query(f"sum by (instance) ({EXPORTERS('video_api_exporter_accounts')})", ref="accounts", table=True),
        column("replicas", "video_api_exporter_replicas"),
        column("held", "video_api_exporter_accounts_held"),
        column("kept", "video_api_exporter_state_up"),
        column("start", "process_start_time_seconds", " * 1000"),
        column("reload", "video_api_exporter_config_last_reload_success_timestamp_seconds", " * 1000"),
        no_value="No exporter is scraped",
        columns={
            "instance": "Instance",
            "Value #up": "Scraped",
            "version": "Version",
            "python_version": "Python",
            "Value #index": "Shard",
            "Value #count": "of",
            "Value #accounts": "Accounts",
            "Value #replicas": "Replicas",
            "Value #held": "Polled here",
            "Value #kept": "State",
            "Value #start": "Running since",
            "Value #reload": "Configuration of",
            "revision": "Revision",
        },
        hidden=("Value #build",),
        sort="Instance",
        descending=False,
        overrides=[
            override(
                "Scraped",
                mappings=[words({0: ("No", RED), 1: ("Yes", GREEN)})],
                custom__width=80,
                custom__cellOptions={"type": "color-text"},
            ),
            *(override(name, unit=COUNT, custom__width=80) for name in ("Shard", "of", "Accounts", "Replicas")),
            override("Polled here", unit=COUNT, custom__width=100),
            override(
                "State",
                mappings=[words({0: ("Away", RED), 1: ("Kept", GREEN)})],
                noValue="None",
                custom__width=80,
                custom__cellOptions={"type": "color-text"},
            ),
            *(override(name, custom__width=80) for name in ("Version", "Python", "Revision")),
            override("Running since", unit=MOMENT, custom__width=160),
            override("Configuration of", unit=MOMENT, noValue="Never loaded", custom__width=160),
        ],
    )


def alerts_table() -> Json:
    """Return the alerts on the exporters themselves."""
    return table(
        "Alerts on exporters",
        "Alerts on the exporters. Alerts on accounts are on the Fleet dashboard.",
        Query(firing_since(ALERTS, "alertname, severity, instance"), table=True),
        no_value="No alert fires (or the alert rules are not loaded)",
        columns={"severity": "Severity", "alertname": "Alert", "instance": "Instance", "Value": "True for"},
        sort="Severity",
        descending=False,
        overrides=[
            override(
                "Severity", mappings=[SEVERITY_WORDS], custom__width=80, custom__cellOptions={"type": "color-text"}
            ),
            override("Alert", links=[RUNBOOKS]),
            override("True for", unit=SECONDS, decimals=1),
        ],
    )


def polls() -> list[tuple[int, Json]]:
    """Return the number of polls and their results."""
    rate = f"sum by (provider) (rate({MANY('video_api_polls_total')}[$__rate_interval])) * 60"
    failed = f"sum by (reason) (increase({MANY('video_api_poll_failures_total')}[$__rate_interval]))"
    failing = f"({per_account(MANY, 'video_api_up')} == 0)"
    return [
        (
            8,
            lines(
                "Polls per minute",
                "Finished polls, good and failed, by vendor.",
                Query(rate, "{{provider}}"),
                unit="none",
                no_value="No poll in this range",
                interval="5m",
                stacked=True,
                fill=30,
            ),
        ),
        (
            8,
            lines(
                "Failed polls by reason",
                "Failed polls for each step of the graph. The metric reference explains the reasons. Polls that"
                " a cool-down skips are not counted.",
                Query(f"{failed} > 0", "{{reason}}"),
                unit=COUNT,
                no_value="No poll failed in this range",
                draw="bars",
                stacked=True,
                legend=("sum",),
                interval="5m",
                decimals=0,
                overrides=[override(reason, color=colour(tint)) for reason, tint in REASON_COLOURS.items()],
            ),
        ),
        (
            8,
            table(
                "Accounts that fail",
                "Accounts whose last poll failed, the reason, and the time since the last good poll.",
                Query(
                    f"group by ({ACCOUNT}, reason) ({MANY('video_api_last_poll_failure')})", ref="reason", table=True
                ),
                Query(
                    f"time() - {per_account(MANY, 'video_api_last_success_timestamp_seconds')} and {failing} "
                    f"or Inf * group by ({ACCOUNT}) ({failing})",
                    ref="age",
                    table=True,
                ),
                no_value="Every last poll was good",
                columns={
                    "account": "Account",
                    "provider": "Provider",
                    "reason": "Reason",
                    "Value #age": "Last response",
                },
                hidden=("Value #reason",),
                sort="Last response",
                overrides=[
                    override("Account", links=[account_link("data")], custom__width=115),
                    override("Provider", custom__width=100),
                    override(
                        "Reason",
                        mappings=[FAILURE_WORDS],
                        custom__width=150,
                        custom__cellOptions={"type": "color-text"},
                    ),
                    override(
                        "Last response",
                        unit=SECONDS,
                        decimals=1,
                        mappings=[NEVER],
                        custom__width=135,
                    ),
                ],
            ),
        ),
    ]


def durations() -> list[tuple[int, Json]]:
    """Return the duration of polls and their lag."""
    duration, lag = "video_api_exporter_poll_duration_seconds", "video_api_exporter_poll_lag_seconds"
    vendors = 'provider=~"$provider"'
    return [
        (
            8,
            lines(
                "Poll duration",
                "How long polls take, retries included. The lines are the 99th percentile of each vendor, and the "
                "median of all.",
                quantile(0.99, duration, "{{provider}}", "p99", vendors, by="le, provider"),
                quantile(0.5, duration, "Half of all", "p50", vendors),
                unit=SECONDS,
                interval="5m",
                no_value="No poll in this range",
                fill=0,
            ),
        ),
        (
            8,
            lines(
                "Start delay",
                "How late polls start. The lines are the median and the 99th percentile.",
                quantile(0.5, lag, "Half", "p50"),
                quantile(0.99, lag, "99 %", "p99"),
                unit=SECONDS,
                interval="5m",
                no_value="No poll in this range",
                fill=0,
            ),
        ),
        (
            8,
            lines(
                "Polls in flight",
                "Polls that run at each scrape. At the configured concurrency the next poll waits.",
                Query(f"sum by (instance) ({EXPORTERS('video_api_exporter_polls_in_flight')})", "{{instance}}"),
                unit=COUNT,
                no_value="Not scraped",
                decimals=0,
            ),
        ),
    ]


def freshness() -> list[tuple[int, Json]]:
    """Return cool-downs and the age of the exported figures."""
    cooldowns = MANY("video_api_cooldown_until_timestamp_seconds")
    begun = f"max by ({ACCOUNT}) (changes({cooldowns}[$__rate_interval]))"
    bad = {"rejected": "video_api_rejected_fields", "folded": "video_api_folded_operations"}
    return [
        (
            8,
            lines(
                "Age of readings",
                "Age of the last readings in poll intervals. The lines are the median, the 99th percentile and "
                "the oldest. Over 3 is stale.",
                Query(f"quantile(0.5, {age_in_intervals()})", "Half", "half"),
                Query(f"quantile(0.99, {age_in_intervals()})", "99 %", "p99"),
                Query(f"max({age_in_intervals()})", "Oldest", "oldest"),
                unit="none",
                no_value="No good poll yet",
                fill=0,
                overrides=[
                    override_query("half", color=colour(GREEN)),
                    override_query("p99", color=colour(ORANGE)),
                    override_query("oldest", color=colour(RED)),
                ],
            ),
        ),
        (
            8,
            lines(
                "New cool-downs",
                "Cool-downs that began in each step of the graph, by vendor. They follow a 429, or a 503 that "
                "names a wait.",
                Query(f"sum by (provider) ({begun})", "{{provider}}"),
                unit=COUNT,
                no_value="No key has been in cool-down",
                draw="bars",
                stacked=True,
                legend=("sum",),
                interval="5m",
                decimals=0,
            ),
        ),
        (
            8,
            table(
                "Responses not fully used",
                "Accounts with fields that could not be read, or with more operations than are exported one by one.",
                *(Query(f"{per_account(MANY, metric)} > 0", ref=ref, table=True) for ref, metric in bad.items()),
                no_value="Every field was read",
                columns={
                    "account": "Account",
                    "provider": "Provider",
                    "Value #rejected": "Rejected",
                    "Value #folded": "Folded",
                },
                overrides=[
                    override("Account", links=[account_link("data")]),
                    *(override(name, unit=COUNT, noValue="0", custom__width=80) for name in ("Rejected", "Folded")),
                ],
            ),
        ),
    ]


def by_instance(figure: str) -> str:
    """Return one line for each instance, over a rollout that changes other labels of its target."""
    return f"max by (instance) ({figure})"


def process() -> list[tuple[int, Json]]:
    """Return CPU, memory and files of the processes."""
    files = EXPORTERS("process_open_fds"), EXPORTERS("process_max_fds")
    return [
        (
            8,
            lines(
                "Processor",
                "Share of one core.",
                Query(by_instance(f"rate({EXPORTERS('process_cpu_seconds_total')}[$__rate_interval])"), "{{instance}}"),
                unit=RATIO,
                at_least=0.1,
                no_value="Not scraped",
            ),
        ),
        (
            8,
            lines(
                "Memory",
                "Resident memory of the process.",
                Query(by_instance(EXPORTERS("process_resident_memory_bytes")), "{{instance}}"),
                unit=BYTES,
                no_value="Not scraped",
            ),
        ),
        (
            8,
            lines(
                "Open files",
                "Open file descriptors as a share of the process's limit.",
                Query(by_instance(f"{files[0]} / {files[1]}"), "{{instance}}"),
                unit=RATIO,
                at_least=0.1,
                no_value="Not scraped",
            ),
        ),
    ]


def output() -> list[tuple[int, Json]]:
    """Return how long scrapes take, and which log lines nobody read."""
    dropped = EXPORTERS("video_api_exporter_log_lines_dropped_total")
    return [
        (
            12,
            lines(
                "Scrape duration",
                "How long Prometheus takes to scrape.",
                Query(by_instance(EXPORTERS("scrape_duration_seconds")), "{{instance}}"),
                unit=SECONDS,
                no_value="Not scraped",
            ),
        ),
        (
            12,
            lines(
                "Log lines dropped",
                "Log lines that were dropped in each step of the graph because they were not read.",
                Query(f"sum by (instance) (increase({dropped}[$__rate_interval]))", "{{instance}}"),
                unit=COUNT,
                no_value="Not scraped",
                draw="bars",
                stacked=True,
                interval="5m",
                decimals=0,
            ),
        ),
    ]


def build() -> Json:
    """Return the Exporter dashboard."""
    return dashboard(
        "video-api-exporter",
        "Video API / Exporter",
        "Polls, failures by reason, lag, cool-downs, freshness and process of the exporters.",
        variables=[*target_variables(), *account_variables(multi=True)],
        annotations=[
            annotation(
                "Restarts",
                f"changes({EXPORTERS('process_start_time_seconds')}[$__rate_interval]) > 0",
                "Restart",
                "{{instance}} started again",
                BLUE,
            )
        ],
        time_from="now-6h",
        layout=[
            (4, tiles()),
            (5, [(24, exporters_table())]),
            (5, [(24, alerts_table())]),
            row("Polls"),
            (8, polls()),
            (7, durations()),
            row("Cool-downs and freshness"),
            (7, freshness()),
            row("Process"),
            (7, process()),
            (7, output()),
        ],
    )
