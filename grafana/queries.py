"""PromQL that several dashboards use, with selectors by the dashboard's variables and the state of an account.

An account may be scraped from two replicas. Every query reduces it to one series for each provider and account.
"""

from __future__ import annotations

from collections.abc import Callable

from grafana.board import datasource_variable, variable
from grafana.fields import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Json, words

ACCOUNT = "provider, account"
TARGET_LABELS = "instance, job, namespace, pod, container, endpoint, service, node"

# Narrows a metric name to the chosen accounts, such as `selector("video_api_up", 'reason="auth"')`.
Selector = Callable[..., str]


def selector(*matchers: str) -> Selector:
    """Return a function that writes a metric name with these matchers and any further ones.

    Recorded series (`video_api:…`) and alerts are for all replicas, so they get no matcher for the exporter.
    """

    def select(metric: str, *more: str) -> str:
        recorded = ":" in metric or metric.startswith("ALERTS")
        chosen = [matcher for matcher in matchers if not (recorded and matcher.startswith(("job", "instance")))]
        return f"{metric}{{{', '.join([*chosen, *more])}}}"

    return select


EXPORTERS = selector('job=~"$job"', 'instance=~"$instance"')
MANY = selector('job=~"$job"', 'instance=~"$instance"', 'provider=~"$provider"', 'account=~"$account"')
ONE = selector('job=~"$job"', 'instance=~"$instance"', 'provider="$provider"', 'account="$account"')


def per_account(select: Selector, metric: str, *more: str, aggregate: str = "max") -> str:
    """Return one series for each account from any replica."""
    return f"{aggregate} by ({ACCOUNT}) ({select(metric, *more)})"


def balance(select: Selector) -> str:
    """Return the balance of each account. If replicas differ it is the lower one, as in the alerts."""
    return per_account(select, "video_api_credits_balance", aggregate="min")


def below_threshold(select: Selector, severity: str) -> str:
    """Return the balances below the account's own threshold of this severity."""
    threshold = per_account(select, "video_api_credits_threshold", f'severity="{severity}"')
    return f"{balance(select)} < {threshold}"


def runway(select: Selector, window: str) -> str:
    """Return how long the balance of each account lasts in seconds, at the spend rate of `1h`, `6h`, `1d` or `7d`."""
    return per_account(select, f"video_api:credits_time_to_exhaustion_seconds:spend{window}", aggregate="min")


def time_left(select: Selector, window: str) -> str:
    """Return the same, but 0 for an account without credits, because it spends nothing."""
    return f"{runway(select, window)} or 0 * group by ({ACCOUNT}) ({balance(select)} <= 0)"


def will_not_last(select: Selector) -> str:
    """Return 1 for each account whose balance will not last, by the alerts, which know nights and weekends."""
    return firing(select, ACCOUNT, 'alertname=~"VideoApiCreditsRunOut.+"')


def near_limit(select: Selector, resource: str) -> str:
    """Return the used share of storage or channels if it has reached a threshold of the account."""
    threshold = per_account(select, f"video_api_{resource}_threshold_ratio", aggregate="min")
    return f"{per_account(select, f'video_api_{resource}_used_ratio')} >= {threshold}"


def quota_near_limit(select: Selector) -> str:
    """Return 1 for each account that has a quota at one of its thresholds. Packs that expire do not count."""
    by = f"{ACCOUNT}, quota"
    used = f"max by ({by}) ({select('video_api_quota_used_ratio')})"
    threshold = f"min by ({by}) ({select('video_api_quota_threshold_ratio')})"
    expires = f"group by ({by}) ({select('video_api_quota_expiry_timestamp_seconds')})"
    return f"group by ({ACCOUNT}) ({used} >= {threshold} unless {expires})"


def with_unit(select: Selector, amount: str, *more: str) -> str:
    """Return an amount with the label `unit`. If replicas differ, one of their units counts."""
    unit = f"topk by ({ACCOUNT}) (1, {select('video_api_credits_unit_info', *more)})"
    return f"({amount}) * on ({ACCOUNT}) group_left (unit) {unit}"


def in_money(select: Selector, amount: str) -> str:
    """Return an amount of credits in money, with the label `currency`. Accounts without a price have none."""
    price = f"topk by ({ACCOUNT}) (1, {select('video_api_credit_price')})"
    return f"({amount}) * on ({ACCOUNT}) group_left (currency) {price}"


KEY_REASONS = 'reason=~"auth|forbidden|credential"'

# The worst is last, so that a table sorted by this number begins with it. Only state 2 needs the alert rules.
STATES: dict[int, tuple[str, str]] = {
    0: ("OK", GREEN),
    1: ("Space near limit", YELLOW),
    2: ("Will not last", YELLOW),
    3: ("Credits low", ORANGE),
    4: ("Polls fail", PURPLE),
    5: ("Credits critical", RED),
    6: ("No subscription", RED),
    7: ("Key rejected", RED),
    8: ("No credits left", RED),
}
STATE_WORDS = words(STATES)


def state(select: Selector) -> str:
    """Return the number of the worst state of each account in STATES."""
    conditions = {
        8: f"{balance(select)} <= 0",
        7: select("video_api_last_poll_failure", KEY_REASONS),
        6: f"{select('video_api_subscription_active')} == 0",
        5: below_threshold(select, "critical"),
        4: f"{per_account(select, 'video_api_up')} == 0",
        3: below_threshold(select, "warning"),
        2: will_not_last(select),
        1: f"({near_limit(select, 'storage')} or {near_limit(select, 'channels')} or {quota_near_limit(select)})",
        0: select("video_api_up"),
    }
    return " or ".join(f"{number} * group by ({ACCOUNT}) ({condition})" for number, condition in conditions.items())


FAILURE_WORDS: Json = {
    "type": "value",
    "options": {
        reason: {"text": text, "index": index, "color": colour}
        for index, (reason, text, colour) in enumerate(
            (
                ("auth", "Key refused", RED),
                ("forbidden", "Not permitted", RED),
                ("credential", "Key unreadable", RED),
                ("payment_required", "Payment required", RED),
                ("rate_limited", "Rate limited", ORANGE),
                ("client_error", "Request refused", ORANGE),
                ("server_error", "Vendor error", PURPLE),
                ("timeout", "Timed out", PURPLE),
                ("connection", "No connection", PURPLE),
                ("invalid_response", "Response unreadable", BLUE),
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
            "Single exporters (shards or replicas)",
        ),
    ]


def unit_variable() -> Json:
    """Return the choice of one unit, because amounts in two units share no axis and no sum."""
    within = 'job=~"$job", instance=~"$instance", provider=~"$provider", account=~"$account"'
    result = variable(
        "unit",
        "Unit",
        f"label_values(video_api_credits_unit_info{{{within}}}, unit)",
        "What the accounts count in, for the panels of spend and balance",
        multi=False,
    )
    return result | {"current": {"selected": True, "text": "credits", "value": "credits"}}


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
    """Return 1 for each alert that fires for the chosen accounts, for each set of these labels."""
    return f"max by ({by}) ({select('ALERTS', OURS, FIRING, *more)})"


def begun(select: Selector, by: str, *more: str) -> str:
    """Return 1 for each alert when it begins to fire, to draw a mark and not a band."""
    before = select("ALERTS", OURS, FIRING, *more) + " offset $__rate_interval"
    return f"{firing(select, by, *more)} unless max by ({by}) ({before})"


def firing_since(select: Selector, by: str) -> str:
    """Return the seconds for which each firing alert has been true."""
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
