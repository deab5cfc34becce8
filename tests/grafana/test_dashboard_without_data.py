"""What is not known is not drawn: a data source without data, and accounts that were never read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from grafana.server import Prometheus
from tests.grafana.boards import BOARDS, Json, targets

NOW = 1_800_000_000.0
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


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus that knows one account, which was never read, and scrapes nothing."""
    folder = tmp_path_factory.mktemp("without-data")
    samples = folder / "samples.om"
    lines = [f"{line} {NOW:.0f}" for line in NEVER_READ.split("\n") if line]
    samples.write_text("\n".join([*lines, "# EOF", ""]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", samples, folder / "data"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("global: {}\n")
    with Prometheus(folder) as running:
        yield running


def asked(prometheus: Prometheus, target: Json, account: str, at: float) -> list[Json]:
    values = {"job": ".+", "instance": ".+", "provider": "videodb", "account": account, "__rate_interval": "5m"}
    expr = re.sub(r"\$(\w+)", lambda found: values[found[1]], target["expr"])
    return prometheus.instant(expr, at)


def test_without_any_data_no_query_has_a_value_so_that_panels_say_it_in_words(prometheus: Prometheus) -> None:
    for name, panel, target in targets():
        found = asked(prometheus, target, "new", NOW - 86400)
        assert found == [], f"{name} / {panel['title']}"


def test_an_account_that_was_never_read_shows_that_its_key_is_rejected_and_no_figure(prometheus: Prometheus) -> None:
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
    unknown = {"No credits left", "Credits critical", "Credits low", "Ends before reset", "Space near limit"}
    assert not unknown & {title for _, title, _ in values}


def test_every_tile_of_counts_has_words_for_what_is_not_known() -> None:
    for panel in BOARDS["fleet"]["panels"]:
        if panel["type"] == "stat":
            assert panel["fieldConfig"]["defaults"]["noValue"] in {
                "No account polled yet",
                "No balance known",
                "Rules not loaded",
                "No limits known",
            }
