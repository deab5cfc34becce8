"""The rules of grafana/dashboard-linter, by the names it gives them.

The linter itself is a Go program that is not installed here. Where a rule does not fit, `.lint` beside the
dashboards says so and why, in the linter's own form, and these tests read it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.files import FOLDER
from tests.grafana.boards import BOARDS, SELECTOR, Json, panels, queries, selectors, variables

EXCLUSIONS = yaml.safe_load((FOLDER / ".lint").read_text())["exclusions"]
boards = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def excluded(rule: str, board: str, panel: str) -> bool:
    entries = EXCLUSIONS.get(rule, {}).get("entries", [])
    return any(entry["dashboard"] == BOARDS[board]["title"] and entry["panel"] == panel for entry in entries)


@boards
def test_template_datasource_rule(board: Json) -> None:
    [source] = variables(board, "datasource")
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@boards
@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_rule_and_template_instance_rule(board: Json, name: str) -> None:
    [variable] = [variable for variable in variables(board, "query") if variable["name"] == name]
    assert variable["datasource"]["uid"] == "${datasource}"
    assert variable["label"] == name.title()
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["allValue"] == ".+"


@boards
def test_template_label_promql_rule(board: Json) -> None:
    for variable in variables(board, "query"):
        assert re.fullmatch(r"label_values\([a-z_]+(\{.+\})?, \w+\)", variable["query"]["query"])
        assert variable["definition"] == variable["query"]["query"]


@boards
def test_template_on_time_change_reload_rule(board: Json) -> None:
    assert {variable["refresh"] for variable in variables(board, "query")} == {2}


@boards
def test_template_unused_rule(board: Json) -> None:
    text = " ".join(target["expr"] for panel in board["panels"] for target in panel.get("targets", []))
    for variable in variables(board, "query"):
        assert f"${variable['name']}" in text, f"nothing uses ${variable['name']}"


@boards
def test_uneditable_dashboard_rule(board: Json) -> None:
    assert board["editable"] is False


@boards
def test_panel_datasource_rule_for_panels_queries_annotations_and_filters(board: Json) -> None:
    askers = [*board["annotations"]["list"], *variables(board, "query"), *variables(board, "adhoc")]
    for panel in board["panels"]:
        if panel["type"] != "row":
            askers += [panel, *panel["targets"]]
    assert {asker["datasource"]["uid"] for asker in askers} == {"${datasource}"}


def test_panel_title_description_rule_for_every_kind_of_panel() -> None:
    for name, panel in panels():
        assert panel["title"], name
        assert panel["description"].endswith("."), f"{name} / {panel['title']}"


def test_panel_units_rule_for_every_kind_of_panel() -> None:
    # That Grafana knows the units is checked against its own library, by grafana/checks.
    for name, panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], f"{name} / {panel['title']}"


def test_panel_no_targets_rule_for_every_kind_of_panel() -> None:
    for name, panel in panels():
        assert panel["targets"], f"{name} / {panel['title']}"


@pytest.mark.needs("promtool")
def test_target_promql_rule(tmp_path: Path) -> None:
    # promtool reads only rules, so each query becomes one; a failure names the query's place.
    places = dict(enumerate(queries()))
    rules = [
        {"record": f"q{number}", "expr": expr.replace("$__rate_interval", "5m")} for number, (_, expr) in places.items()
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    check = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    assert f"{len(places)} rules found" in check.stdout


def test_target_rate_interval_rule() -> None:
    for where, expr in queries():
        for function, window in re.findall(r"\b(i?rate)\([^\[]*\[([^\]]+)\]", expr):
            assert window == "$__rate_interval", f"{where}: {function} over {window}"


@pytest.mark.parametrize("label", ["job", "instance"])
def test_target_job_rule_and_target_instance_rule(label: str) -> None:
    rule = f"target-{label}-rule"
    for name, panel in panels():
        found = [one for target in panel["targets"] for one in selectors(target["expr"])]
        missing = {metric for metric, matchers in found if (label, "=~", f"${label}") not in matchers}
        # Alerts and recorded series stand for all replicas: they alone have no such label.
        assert all(metric.startswith(("ALERTS", "video_api:")) for metric in missing), missing
        assert bool(missing) == excluded(rule, name, panel["title"]), f"{name} / {panel['title']}: {missing}"


def test_target_counter_agg_rule() -> None:
    for where, expr in queries():
        for found in re.finditer(r"(.{0,9})\b\w+_total\{[^}]*\}(.?)", expr):
            assert found[1].endswith(("rate(", "increase(")), f"{where}: {found[0]}"
            assert found[2] == "[", f"{where}: {found[0]}"


def test_target_histogram_rule() -> None:
    for where, expr in queries():
        if "_bucket{" in expr:
            assert expr.startswith("histogram_quantile("), where


def test_every_selector_of_the_queries_is_seen_by_these_rules() -> None:
    known = re.compile(r"\b(video_api[a-z0-9_:]*|process_\w+|scrape_\w+|ALERTS\w*)\b")
    for where, expr in queries():
        outside = SELECTOR.sub("", expr)
        assert not known.findall(outside), f"{where} has a metric without braces"
