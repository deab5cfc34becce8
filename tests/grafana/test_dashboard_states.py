"""The results of the queries for accounts in each state, for an account that was never read, and without data.

The samples are written by hand, so that the right response is known; the demo's figures move.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from grafana.server import Prometheus
from tests.grafana.boards import BOARDS, Json, targets

NOW = 1_800_000_000.0
needs_prometheus = pytest.mark.needs("prometheus", "promtool")
TARGET = 'job="j",instance="i",provider="videodb",account="new"'
# What the exporter has of an account whose every poll failed; there was no good one, so there are no figures.
NEVER_READ = f"""
video_api_up{{{TARGET}}} 0
video_api_last_poll_failure{{{TARGET},reason="auth"}} 1
video_api_last_poll_timestamp_seconds{{{TARGET}}} {NOW - 60}
video_api_next_poll_timestamp_seconds{{{TARGET}}} {NOW + 60}
video_api_poll_interval_seconds{{{TARGET}}} 300
video_api_credits_threshold{{{TARGET},severity="warning"}} 20
video_api_credits_threshold{{{TARGET},severity="critical"}} 5
video_api_storage_threshold_ratio{{{TARGET},severity="warning"}} 0.8
video_api_channels_threshold_ratio{{{TARGET},severity="warning"}} 0.8
"""

LATER = NOW + 86400
# One account for each state, by its name; thresholds are 20 and 5 credits, 0.8 of storage and of channels.
STATES = {
    "exhausted": ("8", {"credits_balance": "0"}),
    "revoked": ("7", {"up": "0", 'last_poll_failure{reason="forbidden"}': "1", "credits_balance": "100"}),
    "unsubscribed": ("6", {"subscription_active": "0"}),
    "critical": ("5", {"credits_balance": "4.9"}),
    "failing": ("4", {"up": "0", 'last_poll_failure{reason="timeout"}': "1", "credits_balance": "19"}),
    "low": ("3", {"credits_balance": "5"}),
    "ending": ("2", {"credits_balance": "100", "alert": "firing"}),
    "ending-for-a-moment": ("0", {"credits_balance": "100", "alert": "pending"}),
    "full": ("1", {"credits_balance": "100", "storage_used_ratio": "0.8"}),
    "many-channels": ("1", {"credits_balance": "100", "channels_used_ratio": "0.9"}),
    "fine": ("0", {"credits_balance": "20", "storage_used_ratio": "0.79"}),
    "unlimited": ("0", {"credits_balance": "+Inf", "storage_used_ratio": "0"}),
}
RUNWAY = "video_api:credits_time_to_exhaustion_seconds:spend"


def samples_of_states() -> Iterator[str]:
    """Yield the samples of STATES, each account from two replicas."""
    for account, (_, figures) in STATES.items():
        ours = f'job="j",provider="vidnavigator",account="{account}"'
        if account != "exhausted":  # it spends nothing any more: no runway is recorded
            yield f"{RUNWAY}1d{{{ours}}} 1e6"
        if state := figures.get("alert"):
            yield f'ALERTS{{alertname="VideoApiCreditsRunOutBeforeReset",alertstate="{state}",{ours}}} 1'
        yield f"video_api:billing_period_remaining_seconds{{{ours}}} 1000"
        yield f"video_api:credits_spent:increase1d{{{ours}}} 24"
        for replica in ("a", "b"):
            labels = f'{ours},instance="{replica}"'
            for name, value in ({"up": "1"} | figures).items():
                metric, _, more = name.partition("{")
                if metric != "alert":
                    yield f"video_api_{metric}{{{labels}{',' + more if more else '}'} {value}"
            # Both replicas have the unit; one account counts in dollars, and no sum of credits may have it.
            unit = "USD" if account == "fine" else "credits"
            yield f'video_api_credits_unit_info{{{labels},unit="{unit}"}} 1'
            for severity, credits in (("warning", 20), ("critical", 5)):
                yield f'video_api_credits_threshold{{{labels},severity="{severity}"}} {credits}'
                for resource in ("storage", "channels"):
                    share = 0.8 if severity == "warning" else 0.95
                    yield f'video_api_{resource}_threshold_ratio{{{labels},severity="{severity}"}} {share}'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes nothing: at NOW it has the account never read, a day later those of STATES."""
    folder = tmp_path_factory.mktemp("without-data")
    samples = folder / "samples.om"
    lines = [f"{line} {NOW:.0f}" for line in NEVER_READ.split("\n") if line]
    lines += [f"{line} {LATER:.0f}" for line in samples_of_states()]
    samples.write_text("\n".join([*lines, "# EOF", ""]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(samples), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("global: {}\n")
    with Prometheus(folder) as running:
        yield running


def asked(prometheus: Prometheus, target: Json, account: str, at: float) -> list[Json]:
    values = {"job": ".+", "instance": ".+", "provider": ".+", "account": account, "unit": "credits"}
    values["__rate_interval"] = "5m"
    if account == "new":
        values["provider"] = "videodb"  # the Account dashboard compares for equality
    expr = re.sub(r"\$(\w+)", lambda found: values[found[1]], target["expr"])
    return prometheus.instant(expr, at)


@needs_prometheus
def test_without_data_no_query_returns_a_value(prometheus: Prometheus) -> None:
    for name, panel, target in targets():
        found = asked(prometheus, target, "new", NOW - 86400)
        assert found == [], f"{name} / {panel['title']}"


@needs_prometheus
def test_an_account_that_was_never_read_shows_the_rejected_key_and_no_figure(prometheus: Prometheus) -> None:
    values = {
        (name, panel["title"], target["refId"]): found[0]["value"][1]
        for name, panel, target in targets()
        if (found := asked(prometheus, target, "new", NOW))
    }
    assert values[("fleet", "Accounts", "A")] == "1"
    assert values[("fleet", "Keys rejected", "A")] == "1"
    assert values[("fleet", "Polls fail", "A")] == "1"
    assert values[("account", "State", "A")] == "7"
    shown = {title for name, title, _ in values if name == "account"}
    assert shown == {"State", "Credits by pool", "Polls", "Last failure", "Next poll in", "Labels"}
    assert [ref for name, title, ref in values if title == "Credits by pool"] == ["warning", "critical"]
    unknown = {"No credits left", "Credits critical", "Credits low", "Will not last", "Space near limit"}
    assert not unknown & {title for _, title, _ in values}


def test_every_tile_of_counts_has_a_text_for_unknown() -> None:
    for panel in BOARDS["fleet"]["panels"]:
        if panel["type"] == "stat":
            assert panel["fieldConfig"]["defaults"]["noValue"] in {
                "No account polled yet",
                "No balance known",
                "Rules not loaded",
                "No limits known",
            }


@needs_prometheus
def test_each_account_is_in_its_worst_state_once_for_all_replicas(prometheus: Prometheus) -> None:
    [target] = [target for _, _, target in targets() if target["refId"] == "state"]
    found = asked(prometheus, target, ".+", LATER)
    assert len(found) == len(STATES)
    states = {series["metric"]["account"]: series["value"][1] for series in found}
    assert states == {account: state for account, (state, _) in STATES.items()}


@needs_prometheus
def test_the_tiles_count_accounts_and_not_replicas(prometheus: Prometheus) -> None:
    tiles = {
        panel["title"]: asked(prometheus, target, ".+", LATER)[0]["value"][1]
        for name, panel, target in targets()
        if name == "fleet" and panel["type"] == "stat"
    }
    assert tiles == {
        "Accounts": "12",
        "No credits left": "1",
        "Credits critical": "1",
        "Credits low": "2",
        "Will not last": "1",
        "Keys rejected": "1",
        "Polls fail": "2",
        "Space near limit": "2",
    }


@needs_prometheus
def test_runways_name_the_exhausted_account_first_and_sums_leave_other_units_and_the_unlimited_out(
    prometheus: Prometheus,
) -> None:
    fleet = {panel["title"]: target for name, panel, target in targets() if name == "fleet"}
    shortest = asked(prometheus, fleet["Shortest runways"], ".+", LATER)
    assert [series["metric"]["account"] for series in shortest][:1] == ["exhausted"]
    [left] = asked(prometheus, fleet["Balance left"], ".+", LATER)
    assert float(left["value"][1]) == pytest.approx(4.9 + 19 + 5 + 5 * 100)
    assert left["metric"]["unit"] == "credits"
    spenders = {
        series["metric"]["account"] for series in asked(prometheus, fleet["Largest spenders in 24 h"], ".+", LATER)
    }
    assert len(spenders) == 10 and "fine" not in spenders
