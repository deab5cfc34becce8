"""Lives of accounts under all rules together: every program fires what each life calls for, and no more.

promtool and VictoriaMetrics' vmalert-tool evaluate the six days of every life. A real Prometheus 3 has them backfilled.
All three stand in one file, because the lives take long to simulate.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.lives import HOURS, STEP, Series, number, scrape
from tests.alerts.programs import RULES, Server, prometheus
from tests.alerts.scenarios import SCENARIOS, Expected, Scenario
from tests.conftest import unmeasured
from tests.program.running import until

GROUPS = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
ALL = [rule for group in GROUPS for rule in group["rules"]]
# The lives are scraped every ten minutes, which is too rare on purpose.
ALERTS = [rule for rule in ALL if rule.get("alert", "VideoApiScrapesTooRare") != "VideoApiScrapesTooRare"]
EVALUATED = 2 * STEP
TOLERANCE = 0.8
"""Hours: polls, scrapes and evaluations are that coarse here, and `keep_firing_for` adds to it."""
OFTEN = 5
"""Scrapes in a step for VictoriaMetrics, which is the largest interval that the documentation allows."""
LONG = "512h"
# Samples are ten minutes apart; the blocks are as old as they are, and stay.
FLAGS = (f"--query.lookback-delta={STEP + 60}s", f"--storage.tsdb.retention.time={LONG}")

Labels = frozenset[tuple[str, str]]
Firing = dict[int, list[Labels]]
"""By evaluation, the labels of the alerts that fire."""


@cache
def lived(scenario: Scenario) -> Series:
    with unmeasured():
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


def checks(scenario: Scenario, *more: str) -> list[dict[str, object]]:
    """Return the tests of expressions that a life has to pass, of its alerts and those of its exporters."""
    selectors = [f'account="{scenario.name}"', *(f'instance="{run.instance}"' for run in scenario.runs)]
    firing = ",".join(['alertstate="firing"', *more])
    selected = [f"ALERTS{{{firing},{selector}}}" for selector in dict.fromkeys(selectors)]

    def fires(series: list[str], hour: float, alerts: Iterable[tuple[str, str]]) -> dict[str, object]:
        return {
            "expr": f"count by (alertname, severity) ({' or '.join(series)})",
            "eval_time": f"{hour * 3600:.0f}s",
            "exp_samples": [
                {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": 1} for name, severity in alerts
            ],
        }

    found = [fires(selected, hour, expected_at(scenario.alerts, hour)) for hour in checkpoints(scenario.alerts)]
    # At no time was there another one, nor one twice.
    return [*found, fires([f"max_over_time({one}[{HOURS}h])" for one in selected], HOURS, scenario.alerts)]


@pytest.mark.needs("promtool")
def test_promtool_fires_the_alerts_of_each_life_and_no_others(tmp_path: Path) -> None:
    series = {name: values(series) for scenario in SCENARIOS for name, series in lived(scenario).items()}
    document = {
        "rule_files": [str(RULES / "*.yml")],
        "evaluation_interval": f"{EVALUATED}s",
        "group_eval_order": [group["name"] for group in GROUPS],
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": [{"series": name, "values": written} for name, written in series.items()],
                "promql_expr_test": [
                    # Their scrapes are rare on purpose.
                    check
                    for scenario in SCENARIOS
                    for check in checks(scenario, 'alertname!="VideoApiScrapesTooRare"')
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(document))
    run = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def often(series: list[float | None]) -> list[float | None]:
    """Return what more frequent scrapes see, which is the same until the next poll."""
    return [value for value in series for _ in range(OFTEN)]


@pytest.mark.needs("vmalert-tool")
def test_vmalert_tool_fires_the_alerts_of_each_life_and_no_others(tmp_path: Path) -> None:
    # It writes what a group records when the group has ended, so no rule may read what its own group records.
    groups = [*layers(), [rule for rule in ALL if "alert" in rule]]
    rules = [{"name": f"{n}", "rules": group} for n, group in enumerate(groups)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": rules}))
    # All lives at once are more than it takes in one request.
    tests = [
        {
            "interval": f"{STEP // OFTEN}s",
            "input_series": [
                {"series": name, "values": values(often(series))}
                for scenario in some
                for name, series in lived(scenario).items()
            ],
            "metricsql_expr_test": [check for scenario in some for check in checks(scenario)],
        }
        for some in (SCENARIOS[::2], SCENARIOS[1::2])
    ]
    document = {
        "rule_files": [str(tmp_path / "rules.yml")],
        "evaluation_interval": f"{EVALUATED}s",
        "group_eval_order": [group["name"] for group in rules],
        "tests": tests,
    }
    (tmp_path / "test.yml").write_text(json.dumps(document))
    run = subprocess.run(
        ["vmalert-tool", "unittest", "--disableAlertgroupLabel", f"--files={tmp_path / 'test.yml'}"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "TMPDIR": str(tmp_path),
            "GOGC": "400",
        },  # it spends a fifth of its time on garbage otherwise
    )
    assert run.returncode == 0, run.stdout + run.stderr


def openmetrics(path: Path, start: int) -> None:
    """Write every life's samples; what the exporter gives as a Unix time moves with the start."""
    with path.open("w") as file:
        for scenario in SCENARIOS:
            for name, values in lived(scenario).items():
                offset = start if "_timestamp_seconds{" in name else 0
                file.writelines(
                    f"{name} {number(value + offset)} {start + n * STEP}\n"
                    for n, value in enumerate(values)
                    if value is not None
                )
        file.write("# EOF\n")


def create_blocks(*arguments: str | Path) -> None:
    # One block and not one for every two hours of every rule, of which there would be thousands.
    command = ["promtool-unstable", "tsdb", "create-blocks-from", f"--max-block-duration={LONG}", "--quiet", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def layers() -> Iterator[list[dict[str, Any]]]:
    """Yield the recording rules in parts, each of which reads only what the ones before it record."""
    left = [rule for rule in ALL if "record" in rule]
    while left:
        names = {rule["record"] for rule in left}
        now = [rule for rule in left if not names & set(re.findall(r"video_api:[\w:]+", rule["expr"]))]
        yield now
        left = [rule for rule in left if rule not in now]


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A Prometheus that holds the six days up to now, recorded figures included, and when they begin."""
    directory = tmp_path_factory.mktemp("prometheus")
    for scenario in SCENARIOS:
        lived(scenario)  # before the end is fixed, because Prometheus soon forgets its last samples
    start = int(time.time()) // STEP * STEP - HOURS * 3600
    openmetrics(directory / "samples", start)
    data = directory / "data"
    create_blocks("openmetrics", directory / "samples", data)
    for n, layer in enumerate(layers()):
        rules = directory / f"recording-{n}.yml"
        rules.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": layer}]}))
        with prometheus(directory, "{}", *FLAGS, suite="-unstable") as server:
            create_blocks(
                *("rules", f"--url={server.url}", f"--output-dir={data}", f"--eval-interval={STEP}s"),
                *(f"--start={start}", f"--end={start + HOURS * 3600}", rules),
            )
    # A group is first evaluated somewhere within its interval.
    soon = [{**group, "interval": "2s"} for group in GROUPS]
    (directory / "rules.yml").write_text(yaml.safe_dump({"groups": soon}))
    with prometheus(directory, f"rule_files: [{directory / 'rules.yml'}]", *FLAGS, suite="-unstable") as server:
        yield server, start


def seconds(rule: dict[str, Any], key: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([smh])", rule.get(key, "0s")).groups()  # type: ignore[union-attr]  # promtool checked it
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def evaluate(server: Server, start: int, rule: dict[str, Any]) -> Firing:
    """Evaluate an alert's expression over the six days, and wait and keep as Prometheus does."""
    end = start + HOURS * 3600
    response = server.get("/api/v1/query_range", query=rule["expr"], start=str(start), end=str(end), step=str(STEP))
    firing: Firing = defaultdict(list)
    for series in response["data"]["result"]:
        labels = {**series["metric"], "alertname": rule["alert"], **rule.get("labels", {})}
        labels.pop("__name__", None)
        active = {round((at - start) / STEP) for at, _ in series["values"]}
        since = kept = fires = None
        for n in range(HOURS * 3600 // STEP + 1):
            if n in active:
                since, kept = n if since is None else since, None
                fires = fires or (n - since) * STEP >= seconds(rule, "for")
            else:
                since, kept = None, n if kept is None else kept
                fires = fires and (n - kept) * STEP < seconds(rule, "keep_firing_for")
            if fires:
                firing[n].append(frozenset(labels.items()))
    return firing


@pytest.fixture(scope="module")
def history(backfilled: tuple[Server, int]) -> list[Firing]:
    server, start = backfilled
    return [evaluate(server, start, rule) for rule in ALERTS]


def names(firing: Sequence[Labels], scenario: Scenario) -> list[tuple[str, str]]:
    instances = {run.instance for run in scenario.runs}
    return sorted(
        (alert["alertname"], alert["severity"])
        for alert in map(dict, firing)
        if alert.get("account") == scenario.name or alert.get("instance") in instances
    )


@pytest.mark.needs("prometheus-unstable", "promtool-unstable")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_simulated_life_fires_its_alerts_and_no_others(history: list[Firing], scenario: Scenario) -> None:
    for hour in checkpoints(scenario.alerts):
        firing = [labels for alert in history for labels in alert.get(round(hour * 3600 / STEP), [])]
        assert names(firing, scenario) == sorted(expected_at(scenario.alerts, hour)), f"hour {hour}"
    ever = {labels for alert in history for firing in alert.values() for labels in firing}
    assert set(names(list(ever), scenario)) == set(scenario.alerts)


@pytest.mark.needs("prometheus-unstable", "promtool-unstable")
def test_prometheus_evaluates_every_rule_without_an_error_and_finds_accounts_without_credits(
    backfilled: tuple[Server, int],
) -> None:
    server, _ = backfilled

    def evaluated() -> list[dict[str, Any]]:
        groups = server.get("/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = until(evaluated, "all rules are evaluated", 60)
    assert len(rules) == len(ALL)
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []

    def exhausted() -> set[str]:
        alerts = server.get("/api/v1/alerts")["data"]["alerts"]
        return {
            alert["labels"]["account"] for alert in alerts if alert["labels"]["alertname"] == "VideoApiCreditsExhausted"
        }

    until(lambda: exhausted() == {"runaway", "card-declined"}, "the alerts of those that have none left are active now")
