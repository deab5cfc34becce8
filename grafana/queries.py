"""The PromQL that more than one dashboard asks: selectors by the dashboard's variables, and an account's state.

An account may be scraped from two replicas; every query brings it down to one series per provider and account.
"""

from __future__ import annotations

from collections.abc import Callable

from grafana.board import datasource_variable, variable
from grafana.fields import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Json, words

ACCOUNT = "provider, account"
TARGET_LABELS = "instance, job, namespace, pod, container, endpoint, service, node"

# How a metric name is narrowed to the chosen accounts: `selector("video_api_up", 'reason="auth"')`.
Selector = Callable[..., str]


def selector(*matchers: str) -> Selector:
    """Return a function that writes a metric name with these matchers and any further ones.

    Recorded series (`video_api:…`) and alerts stand for all replicas and have no instance: they go without it.
    """

    def select(metric: str, *more: str) -> str:
        recorded = ":" in metric or metric.startswith("ALERTS")
        chosen = [matcher for matcher in matchers if not (recorded and matcher.startswith("instance"))]
        return f"{metric}{{{', '.join([*chosen, *more])}}}"

    return select


EXPORTERS = selector('job=~"$job"', 'instance=~"$instance"')
MANY = selector('job=~"$job"', 'instance=~"$instance"', 'provider=~"$provider"', 'account=~"$account"')
ONE = selector('job=~"$job"', 'instance=~"$instance"', 'provider="$provider"', 'account="$account"')


def per_account(select: Selector, metric: str, *more: str, aggregate: str = "max") -> str:
    """Return one series for each account, whichever replicas export it."""
    return f"{aggregate} by ({ACCOUNT}) ({select(metric, *more)})"


def balance(select: Selector) -> str:
    """Return the balance of each account; where replicas differ the lower one, as the alerts take it."""
    return per_account(select, "video_api_credits_balance", aggregate="min")


def below_threshold(select: Selector, severity: str) -> str:
    """Return the balances under the account's own threshold of this severity."""
    threshold = per_account(select, "video_api_credits_threshold", f'severity="{severity}"')
    return f"{balance(select)} < {threshold}"


def runway(select: Selector, window: str) -> str:
    """Return how long the balance of each account lasts at the pace of `1h`, `6h` or `1d`, in seconds."""
    return per_account(select, f"video_api:credits_time_to_exhaustion_seconds:spend{window}", aggregate="min")


def time_left(select: Selector, window: str) -> str:
    """Return the same, and 0 for an account that has nothing left and therefore spends nothing."""
    return f"{runway(select, window)} or 0 * group by ({ACCOUNT}) ({balance(select)} <= 0)"


def ends_before_reset(select: Selector) -> str:
    """Return the runways that end before the billing period, by the last day's pace and the last six hours'."""
    remaining = per_account(select, "video_api:billing_period_remaining_seconds")
    return f"({runway(select, '1d')} < {remaining} and {runway(select, '6h')} < {remaining})"


def near_limit(select: Selector, resource: str) -> str:
    """Return the share used of storage or channels where it has reached a threshold of the account."""
    threshold = per_account(select, f"video_api_{resource}_threshold_ratio", aggregate="min")
    return f"{per_account(select, f'video_api_{resource}_used_ratio')} >= {threshold}"


KEY_REASONS = 'reason=~"auth|forbidden|credential"'

# Worst last: a table sorted by this number has first what cannot wait. None of these needs the alert rules but 2.
STATES: dict[int, tuple[str, str]] = {
    0: ("OK", GREEN),
    1: ("Space near limit", YELLOW),
    2: ("Ends before reset", YELLOW),
    3: ("Credits low", ORANGE),
    4: ("Polls fail", PURPLE),
    5: ("Credits critical", RED),
    6: ("No subscription", RED),
    7: ("Key rejected", RED),
    8: ("No credits left", RED),
}
STATE_WORDS = words(STATES)


def state(select: Selector) -> str:
    """Return the number of the worst state of STATES that each account is in."""
    conditions = {
        8: f"{balance(select)} <= 0",
        7: select("video_api_last_poll_failure", KEY_REASONS),
        6: f"{select('video_api_subscription_active')} == 0",
        5: below_threshold(select, "critical"),
        4: f"{per_account(select, 'video_api_up')} == 0",
        3: below_threshold(select, "warning"),
        2: ends_before_reset(select),
        1: f"({near_limit(select, 'storage')} or {near_limit(select, 'channels')})",
        0: select("video_api_up"),
    }
    return " or ".join(f"{number} * group by ({ACCOUNT}) ({condition})" for number, condition in conditions.items())


FAILURE_WORDS: Json = {
    "type": "value",
    "options": {
        reason: {"text": text, "index": index, "color": colour}
        for index, (reason, text, colour) in enumerate(
            (
                ("auth", "Key refused (401)", RED),
                ("forbidden", "Not permitted (403)", RED),
                ("credential", "Key unreadable", RED),
                ("payment_required", "Payment required (402)", RED),
                ("rate_limited", "Rate limited (429)", ORANGE),
                ("client_error", "Request refused", ORANGE),
                ("server_error", "Vendor error (5xx)", PURPLE),
                ("timeout", "Timed out", PURPLE),
                ("connection", "No connection", PURPLE),
                ("invalid_response", "Answer unreadable", BLUE),
                ("internal", "Exporter error", GREY),
            )
        )
    },
}


def target_variables() -> list[Json]:
    """Return the variables that choose the data source and the exporters."""
    return [
        datasource_variable(),
        variable("job", "Job", "label_values(video_api_exporter_build_info, job)", "Scrape jobs of exporters"),
        variable(
            "instance",
            "Instance",
            'label_values(video_api_exporter_build_info{job=~"$job"}, instance)',
            "Single exporters: shards or replicas",
        ),
    ]


def account_variables(*, multi: bool) -> list[Json]:
    """Return the variables that choose providers and accounts, many or exactly one."""
    provider = "provider=~" if multi else "provider="
    within = 'job=~"$job", instance=~"$instance"'
    return [
        variable(
            "provider",
            "Provider",
            f"label_values(video_api_up{{{within}}}, provider)",
            "The vendor of the accounts",
            multi=multi,
        ),
        variable(
            "account",
            "Account",
            f'label_values(video_api_up{{{within}, {provider}"$provider"}}, account)',
            "Accounts by the name in the exporter's configuration",
            multi=multi,
        ),
    ]


OURS, FIRING = 'alertname=~"VideoApi.+"', 'alertstate="firing"'


def firing(select: Selector, by: str, *more: str) -> str:
    """Return 1 for each alert that fires for the chosen accounts, once for each set of these labels."""
    return f"max by ({by}) ({select('ALERTS', OURS, FIRING, *more)})"


def begun(select: Selector, by: str, *more: str) -> str:
    """Return 1 for each alert in the first moments of its firing: a mark where it begins, not a band."""
    before = select("ALERTS", OURS, FIRING, *more) + " offset $__rate_interval"
    return f"{firing(select, by, *more)} unless max by ({by}) ({before})"


def firing_since(select: Selector, by: str) -> str:
    """Return for how long each alert that fires has been true, in seconds."""
    return f"time() - min by ({by}) ({select('ALERTS_FOR_STATE', OURS)}) and {firing(select, by)}"


ALERT_LABELS = "alertname, severity, provider, account"
RUNBOOKS: Json = {
    "title": "Open the runbooks",
    "url": "https://video-api-exporter.github.io/video-api-exporter/runbooks/",
    "targetBlank": True,
}
SEVERITY_WORDS: Json = {
    "type": "value",
    "options": {
        "critical": {"text": "Critical", "color": RED, "index": 0},
        "warning": {"text": "Warning", "color": ORANGE, "index": 1},
    },
}
