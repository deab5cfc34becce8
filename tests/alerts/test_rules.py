"""The rules are well-formed and pass their unit tests in Prometheus' own tools."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from exporter.metrics.catalogue import FAMILIES
from tests.alerts.programs import ROOT, RULES, script

UNIT_TESTS = sorted((ROOT / "tests/alerts/rules").glob("*.yml"))
FILES = sorted(RULES.glob("*.yml"))
GROUPS = [group for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
ALL = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.needs("promtool")
def test_promtool_accepts_every_file() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", *FILES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_unit_tests_of_a_rule_pass(path: Path) -> None:
    run = promtool("test", "rules", path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.needs("promtool-unstable")
def test_the_unit_tests_pass_on_prometheus_3() -> None:
    run = subprocess.run(["promtool-unstable", "test", "rules", *UNIT_TESTS], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.needs("vmalert-tool")
def test_the_unit_tests_of_alerts_pass_on_victoriametrics(tmp_path: Path) -> None:
    tests = []
    for path in UNIT_TESTS:
        document = yaml.safe_load(path.read_text())
        document["rule_files"] = [str(RULES / Path(rule_file(path.read_text())).name)]
        # It knows no promql_expr_test.
        document["tests"] = [
            {key: value for key, value in test.items() if key != "promql_expr_test"}
            for test in document["tests"]
            if "alert_rule_test" in test
        ]
        if document["tests"]:
            tests.append(tmp_path / path.name)
            tests[-1].write_text(yaml.safe_dump(document, width=10**9))
    assert {path.stem for path in tests} >= {rule["alert"] for rule in ALERTS}
    files = [f"--files={path}" for path in tests]
    run = subprocess.run(
        ["vmalert-tool", "unittest", "--disableAlertgroupLabel", *files], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def rule_file(text: str) -> str:
    found = re.search(r"(?m)^rule_files: \[(.*)\]$", text)
    assert found
    return found[1]


def samples(written: str) -> list[str]:
    """Return the samples that promtool's short form stands for, one by one."""
    found = []
    for part in written.split():
        times = re.fullmatch(r"(_|stale|[-+.\w]+?)(?:([-+][\d.]+))?x(\d+)", part)
        if times is None:
            found.append(part)
        elif times[1] in ("_", "stale"):
            found += [times[1]] * int(times[3])
        else:
            found += [f"{float(times[1]) + n * float(times[2] or 0):.15g}" for n in range(int(times[3]) + 1)]
    return found


def rolled_out(series: dict[str, str]) -> list[dict[str, str]]:
    """Return a series as a rollout leaves it that gives all targets another label, in a third and in two thirds."""
    name, every = series["series"], samples(series["values"])
    if ":" in name.partition("{")[0]:
        return [series]
    ends = [len(every) // 3, len(every) * 2 // 3, len(every)]
    parts = []
    for zone, (begin, end) in enumerate(itertools.pairwise([0, *ends])):
        values = ["_"] * begin + every[begin:end] + ["stale"] * (end < len(every))
        parts.append({"series": name.replace("}", f',rolled_out="{zone}"}}'), "values": " ".join(values)})
    return parts


def test_the_short_forms_of_promtool_are_understood() -> None:
    assert samples("_x2 1x1 0+12x2 stale Inf+0x1") == ["_", "_", "1", "1", "0", "12", "24", "stale", "inf", "inf"]


@pytest.mark.needs("promtool")
def test_a_rollout_that_changes_any_other_label_restarts_no_alert(tmp_path: Path) -> None:
    tests = []
    for path in UNIT_TESTS:
        document = yaml.safe_load(path.read_text())
        if not path.stem.startswith("VideoApi"):
            continue
        document["rule_files"] = [str(RULES / Path(rule_file(path.read_text())).name)]
        for test in document["tests"]:
            test["input_series"] = [part for series in test["input_series"] for part in rolled_out(series)]
        tests.append(tmp_path / path.name)
        tests[-1].write_text(json.dumps(document))
    assert len(tests) > 25
    run = promtool("test", "rules", *tests)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("window", re.findall(r"\[(.+?)\]", "\n".join(rule["expr"] for rule in ALL)))
def test_no_window_is_a_multiple_of_a_scrape_interval(window: str) -> None:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    seconds = sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([dhms])", window))
    assert all(seconds % interval for interval in (5, 10, 15, 30, 60, 120, 300))


def test_no_rule_forecasts_on_a_gauge() -> None:
    for rule in ALL:
        assert not re.search(r"\b(deriv|predict_linear|delta|idelta)\b", rule["expr"]), rule


def test_accounts_and_exporters_are_identified_by_labels_that_no_rollout_changes() -> None:
    accounts = re.compile(r"provider, account, team, env(, (severity|reason|quota|status|currency|job, instance))*")
    lists = {labels for rule in ALL for labels in re.findall(r"by \((.*?)\)", rule["expr"])}
    others = {labels for labels in lists if not accounts.fullmatch(labels)}
    assert others == {"job, namespace, instance", "job, namespace", "job, namespace, provider, account"}
    for rule in ALL:
        assert "without" not in rule["expr"], rule
        # What is read raw, and not as a record, stands in an aggregation.
        for before in re.findall(r"(.*)\bvideo_api_\w+", rule["expr"].replace("\n", " ")):
            assert re.search(r"by \(.*?\) \(|absent\(", before), rule


def test_every_family_named_in_a_rule_is_exported() -> None:
    exporter = {
        "video_api_exporter_build_info",
        "video_api_exporter_config_last_reload_successful",
        "video_api_exporter_log_lines_dropped_total",
        "video_api_exporter_replicas",
        "video_api_exporter_shard_index",
        "video_api_exporter_shards",
        "video_api_exporter_state_up",
        "video_api_exporter_state_write_failures_total",
    }
    named = {name for rule in ALL for name in re.findall(r"\bvideo_api_\w+", rule["expr"])}
    assert named <= {family.name for family in FAMILIES} | exporter


def test_every_recorded_figure_named_in_a_rule_is_recorded() -> None:
    recorded = {rule["record"] for rule in ALL if "record" in rule}
    named = {name for rule in ALL for name in re.findall(r"\bvideo_api:[\w:]+", rule["expr"])}
    assert named <= recorded


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_happens_and_what_to_do(rule: dict[str, Any]) -> None:
    name, annotations = rule["alert"], rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    page, _, heading = annotations["runbook_url"].partition("#")
    documentation = re.search(r'(?m)^Documentation = "(.+)"$', (ROOT / "pyproject.toml").read_text())
    assert documentation
    assert page == f"{documentation[1]}runbooks/"
    assert heading == name.lower()
    assert f"\n### {name}\n" in (ROOT / "docs/runbooks.md").read_text()
    if f"- alert: {name}\n" not in (RULES / "exporter.yml").read_text():
        for text in (annotations["summary"], annotations["description"]):
            assert "{{ $labels.account }}" in text
            assert "{{ $labels.provider }}" in text


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_explained(rule: dict[str, Any]) -> None:
    assert f"`{rule['alert']}`" in (ROOT / "docs/alerting.md").read_text()


@pytest.mark.parametrize("rule", [rule for rule in ALL if "record" in rule], ids=lambda rule: rule["record"])
def test_every_recording_rule_is_explained(rule: dict[str, Any]) -> None:
    family = rule["record"].replace("video_api:", "video_api_", 1)
    copied = rule["expr"].endswith(f" ({family})")
    assert copied or f"`{rule['record']}`" in (ROOT / "docs/alerting.md").read_text()


@pytest.fixture
def mutate_rules() -> Iterator[ModuleType]:
    with script("mutate_rules") as module:
        yield module


@pytest.mark.needs("promtool")
def test_every_fourth_change_to_a_rule_fails_one_of_its_unit_tests(mutate_rules: ModuleType) -> None:
    # All of them take most of a minute; `make mutate` tries them.
    mutants = list(mutate_rules.mutants())[::4]
    assert len(mutants) > 225
    assert [str(mutant) for mutant in mutate_rules.survivors(mutants)] == []


@pytest.mark.needs("promtool")
def test_a_change_that_no_unit_test_notices_is_found(
    mutate_rules: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "VideoApiExporterDown.yml").write_text("rule_files: [x]\ntests: []\n")
    monkeypatch.setattr(mutate_rules, "TESTS", tmp_path)
    mutants = [mutant for mutant in mutate_rules.mutants() if mutant.name == "VideoApiExporterDown"]
    found = {mutant.change for mutant in mutate_rules.survivors(mutants)}
    assert found == {mutant.change for mutant in mutants if mutant.change}
    assert "for: 5m -> none" in found
