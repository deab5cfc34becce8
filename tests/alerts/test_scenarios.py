"""Lives of accounts under all rules together: promtool and a real Prometheus fire what each life calls for, no more."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.alerts.lives import HOURS, STEP, Series, number, scrape
from tests.alerts.programs import RULES
from tests.alerts.scenarios import SCENARIOS, Expected, Scenario

GROUPS = [group["name"] for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
EVALUATED = 2 * STEP
TOLERANCE = 0.8
"""Hours: polls, scrapes and evaluations are that coarse here, and `keep_firing_for` adds to it."""


@cache
def lived(scenario: Scenario) -> Series:
    return scrape(scenario.name, scenario.life, scenario.runs)


def expected_at(alerts: Expected, hour: float) -> list[tuple[str, str]]:
    return [alert for alert, (begins, ends) in alerts.items() if begins <= hour < ends]


def checkpoints(alerts: Expected) -> list[float]:
    """Return the hours at which it is clear which alerts fire: just off each beginning and end, and now and then."""
    edges = [edge for interval in alerts.values() for edge in interval]
    hours = {float(hour) for hour in range(0, HOURS + 1, 12)}
    hours |= {edge + sign * (TOLERANCE + 0.2) for edge in edges for sign in (-1, 1)}
    clear = (hour for hour in hours if 0 <= hour <= HOURS and all(abs(hour - edge) > TOLERANCE for edge in edges))
    return sorted(round(hour * 3600 / EVALUATED) * EVALUATED / 3600 for hour in clear)


def values(series: list[float | None]) -> str:
    """Write a series as promtool reads it; where it ends, a stale marker."""
    before = None
    written = []
    for value in series:
        written.append("stale" if value is None and before is not None else "_" if value is None else number(value))
        before = value
    return " ".join(written)


def alerts_of(scenario: Scenario) -> str:
    """Return what selects the firing alerts of a life and of its exporters, whose scrapes are rare on purpose here."""
    selectors = [f'account="{scenario.name}"', *(f'instance="{run.instance}"' for run in scenario.runs)]
    firing = 'alertname!="VideoApiScrapesTooRare",alertstate="firing"'
    return " or ".join(f"ALERTS{{{firing},{selector}}}" for selector in dict.fromkeys(selectors))


@pytest.mark.needs("promtool")
def test_promtool_fires_the_alerts_of_each_life_and_no_others(tmp_path: Path) -> None:
    def firing(expr: str, hour: float, alerts: list[tuple[str, str]]) -> dict[str, object]:
        return {
            "expr": f"count by (alertname, severity) ({expr})",
            "eval_time": f"{hour * 3600:.0f}s",
            "exp_samples": [
                {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": 1} for name, severity in alerts
            ],
        }

    series = {name: values(series) for scenario in SCENARIOS for name, series in lived(scenario).items()}
    checks = []
    for scenario in SCENARIOS:
        selected = alerts_of(scenario)
        hours = checkpoints(scenario.alerts)
        checks += [firing(selected, hour, expected_at(scenario.alerts, hour)) for hour in hours]
        # At no time was there another one, nor one twice.
        ever = re.sub(r"ALERTS\{.*?\}", rf"max_over_time(\g<0>[{HOURS}h])", selected)
        checks.append(firing(ever, HOURS, list(scenario.alerts)))
    document = {
        "rule_files": [str(RULES / "*.yml")],
        "evaluation_interval": f"{EVALUATED}s",
        "group_eval_order": GROUPS,
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": [{"series": name, "values": written} for name, written in series.items()],
                "promql_expr_test": checks,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    run = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
