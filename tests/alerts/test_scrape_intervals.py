"""The rules at every scrape interval that the documentation allows, and at one that it does not.

Two replicas have the account. One scrape of both fails, and later a rollout gives both targets another label.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.alerts.programs import RULES
from tests.alerts.test_scenarios import GROUPS, values

HOUR = 3600
BEGINS = 3 * HOUR
"""When everything begins of which an alert tells."""
FAILS = BEGINS + 80 * 60
"""When one scrape fails."""
ROLLED_OUT = BEGINS + 95 * 60
"""When all targets get another label."""
REPLICAS = ("a", "b")
POLLED = 300


def after(begin: float, before: float | None, then: float | None) -> Callable[[float], float | None]:
    return lambda at: then if at >= begin else before


def steps(seconds: int, size: float = 1) -> Callable[[float], float]:
    """Return a counter that rises by `size` so often, once everything begins."""
    return lambda at: max(0, math.floor((at - BEGINS) / seconds) + 1) * size


SPENT = steps(POLLED, 10)


def exported(target: str) -> dict[str, Callable[[float], float | None]]:
    """Return what a replica with these labels exports at each second."""
    account = f'{target},provider="videodb",account="media"'
    return {
        f"video_api_credits_balance{{{account}}}": lambda at: 400 - SPENT(at),
        f"video_api_credits_spent_total{{{account}}}": SPENT,
        f"video_api_reading_gap_seconds{{{account}}}": lambda at: POLLED,
        f'video_api_credits_threshold{{{account},severity="warning"}}': lambda at: 395,
        f"video_api_up{{{account}}}": after(BEGINS, 1, 0),
        f'video_api_last_poll_failure{{{account},reason="auth"}}': after(BEGINS, None, 1),
        f"video_api_last_success_timestamp_seconds{{{account}}}": lambda at: min(at, BEGINS) // POLLED * POLLED,
        f"video_api_poll_interval_seconds{{{account}}}": lambda at: POLLED,
        f"video_api_cooldown_until_timestamp_seconds{{{account}}}": lambda at: (
            None if at < BEGINS else BEGINS + (at - BEGINS) // 900 * 900 + 60
        ),
        f"video_api_exporter_state_write_failures_total{{{target}}}": steps(300),
        f"video_api_exporter_log_lines_dropped_total{{{target}}}": steps(300),
        f"video_api_exporter_state_up{{{target}}}": after(BEGINS, 1, 0),
        f"video_api_exporter_replicas{{{target}}}": lambda at: len(REPLICAS),
        f"video_api_exporter_build_info{{{target}}}": lambda at: 1,
    }


OF_AN_EXPORTER = {"VideoApiStateNotSaved", "VideoApiStateDown", "VideoApiLogLinesDropped"}
FIRES_AFTER_MINUTES = {
    "VideoApiStateNotSaved": 15,
    "VideoApiStateDown": 5,
    "VideoApiLogLinesDropped": 15,
    "VideoApiCreditsLow": 10,
    "VideoApiKeyRejected": 21,
    "VideoApiPollFailing": 21,
    "VideoApiDataStale": 26,
    "VideoApiRateLimited": 30,
    "VideoApiCreditsRunOutSoon": 70,
}


def scraped(interval: int) -> dict[str, str]:
    """Return all series as promtool reads them. Where a scrape fails, every series but `up` ends for a while."""
    failed = FAILS // interval * interval
    series = {}
    for replica, (zone, begins, ends) in itertools.product(
        REPLICAS, (("1", 0, ROLLED_OUT), ("2", ROLLED_OUT, 5 * HOUR))
    ):
        target = f'job="video-api-exporter",instance="{replica}",topology_zone="{zone}"'
        times = [at if begins <= at < ends else None for at in range(0, 5 * HOUR, interval)]
        for name, of in exported(target).items():
            series[name] = values([None if at is None or at == failed else of(at) for at in times])
        series[f"up{{{target}}}"] = values([None if at is None else float(at != failed) for at in times])
    return series


def run(tmp_path: Path, interval: int, checks: list[tuple[int, set[str]]]) -> str:
    """Return what promtool says of the alerts that have to fire at these seconds, "" if all do and no others."""
    expr = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {
        "interval": f"{interval}s",
        "input_series": [{"series": name, "values": written} for name, written in scraped(interval).items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": f"{at}s",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": len(REPLICAS) if name in OF_AN_EXPORTER else 1}
                    for name in sorted(names)
                ],
            }
            for at, names in checks
        ],
    }
    document = {
        "rule_files": [str(RULES / "*.yml")],
        "evaluation_interval": "1m",
        "group_eval_order": [group["name"] for group in GROUPS],
        "tests": [test],
    }
    (tmp_path / "test.yml").write_text(json.dumps(document))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("interval", [15, 60, 120])
def test_every_alert_fires_once_for_all_replicas_in_time_and_outlives_a_failed_scrape_and_a_rollout(
    interval: int, tmp_path: Path
) -> None:
    def begun(minutes: int) -> set[str]:
        return {name for name, fires in FIRES_AFTER_MINUTES.items() if minutes >= fires}

    late = interval // 60  # by which a scrape can see it later
    clear = [n for n in range(75) if begun(n) == begun(n - 1 - late)]
    checks = [(BEGINS + n * 60, begun(n)) for n in clear]
    checks += [(at + n * 60, set(FIRES_AFTER_MINUTES)) for at in (FAILS, ROLLED_OUT) for n in range(8)]
    assert run(tmp_path, interval, checks) == ""


@pytest.mark.needs("promtool")
def test_an_alert_fires_if_scrapes_are_rarer_than_that(tmp_path: Path) -> None:
    assert "VideoApiScrapesTooRare" in run(tmp_path, 180, [(BEGINS - 60, set())])
