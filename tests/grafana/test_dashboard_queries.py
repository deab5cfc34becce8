"""A real Prometheus that scrapes the demo has data for every query of every panel and variable.

The alert rules are loaded with their waits taken out, so that the demo's troubles fire at once, and one target
is a port where nothing listens, so that there is an alert on an exporter too.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from grafana.files import FOLDER
from grafana.server import Prometheus
from tests.grafana.boards import BOARDS, SELECTOR, Json, variables

ROOT = FOLDER.parents[1]
PATIENCE = 90.0
pytestmark = pytest.mark.needs("prometheus")
EVERY = {"job": ".+", "instance": ".+", "provider": ".+", "account": ".+", "unit": "credits"}
# The Account dashboard is asked for each of these; between them they have all that an account can have.
ACCOUNTS = [
    {"provider": "vidnavigator", "account": "media-prod"},
    {"provider": "vidnavigator", "account": "revoked"},
    {"provider": "vidnavigator", "account": "batch"},
    {"provider": "videodb", "account": "video-lab"},
    {"provider": "vidu", "account": "clips"},
]
# What the demo never shows, and the query that proves the metric and its labels all the same.
NEVER_IN_THE_DEMO = {
    ("exporter", "Responses not fully used", "rejected"): (" > 0", " >= 0"),
    ("exporter", "Responses not fully used", "folded"): (" > 0", " >= 0"),
    ("exporter", "Exporters", "replicas"): ("_replicas", "_shards"),
    ("exporter", "Exporters", "held"): ("_accounts_held", "_shards"),
    ("exporter", "Exporters", "kept"): ("_state_up", "_shards"),
    ("account", "Quotas", "reset"): ("_reset_", "_expiry_"),
}


def rules_without_waits(folder: Path) -> None:
    """Copy the rule files; what needs minutes or days of history in production is there at once."""
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml"):
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule.pop("for", None)
                if "record" in rule:
                    rule["expr"] = re.sub(r" offset \w+", "", rule["expr"])
        (folder / path.name).write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `video-api-exporter demo`; give its address."""
    folder = tmp_path_factory.mktemp("demo")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "demo", "--speed=2000", "--web.listen-address=127.0.0.1:0"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "VIDEO_API_EXPORTER_REVISION": "under-test"},
        )
        try:
            yield until(lambda: re.search(r"listening on http://(127\.0\.0\.1:\d+)", log.read_text()), log)[1]
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def victoriametrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus | None]:
    """Run a VictoriaMetrics, which speaks Prometheus' API. None where it is missing."""
    program = shutil.which("victoria-metrics")
    if program is None:
        yield None
        return
    folder = tmp_path_factory.mktemp("victoriametrics")
    log = folder / "log"
    with log.open("wb") as output:
        flags = [f"-storageDataPath={folder / 'data'}", "-httpListenAddr=127.0.0.1:0", "-search.latencyOffset=0s"]
        process = subprocess.Popen([program, *flags], stdout=output, stderr=subprocess.STDOUT)
    try:
        server = Prometheus(folder)
        server.url = until(lambda: re.search(r"started server at (http://[\d.:]+)/", log.read_text()), log)[1]
        yield server
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def prometheus(
    demo: str, victoriametrics: Prometheus | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes the demo each second, with all rules, and writes everything to VictoriaMetrics."""
    folder = tmp_path_factory.mktemp("prometheus")
    rules_without_waits(folder)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers there while the test runs
        targets = [demo, f"127.0.0.1:{closed.getsockname()[1]}"]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in folder.glob("*.yml")],
            "scrape_configs": [{"job_name": "video-api-exporter", "static_configs": [{"targets": targets}]}],
        }
        if victoriametrics is not None:
            config["remote_write"] = [{"url": f"{victoriametrics.url}/api/v1/write"}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with Prometheus(folder) as running:
            yield running


def until(ask: Callable[[], Any], context: object = "") -> Any:
    """Return the first true response; fails when there was none for long."""
    give_up = time.monotonic() + PATIENCE
    while not (response := ask()):
        assert time.monotonic() < give_up, f"no response within {PATIENCE:.0f} s: {context}"
        Event().wait(0.25)
    return response


def interpolate(expr: str, values: dict[str, str]) -> str:
    for name, value in {**EVERY, "__rate_interval": "30s", **values}.items():
        expr = re.sub(rf"\${name}\b", value, expr)
    assert "$" not in expr
    return expr


def responses(prometheus: Prometheus, target: Json, values: dict[str, str]) -> list[Json]:
    """Return the series of a panel's query as Grafana would ask for it."""
    expr, now = interpolate(target["expr"], values), time.time()
    return prometheus.range(expr, now - 60, now, 1) if target["range"] else prometheus.instant(expr, now)


def settings(board: str) -> list[dict[str, str]]:
    return ACCOUNTS if board == "account" else [{}]


def all_targets() -> list[Any]:
    return [
        pytest.param(name, panel, target, id=f"{name}-{panel['title']}-{target['refId']}")
        for name, board in BOARDS.items()
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def in_the_demo(board: str, panel: Json, target: Json) -> Json:
    """Return a panel's query so that the demo has data for it."""
    change = NEVER_IN_THE_DEMO.get((board, panel["title"], target["refId"]))
    if change is None:
        return target
    assert change[0] in target["expr"]
    return {**target, "expr": target["expr"].replace(*change)}


@pytest.mark.needs("victoria-metrics")
def test_victoriametrics_responds_to_every_query_too(prometheus: Prometheus, victoriametrics: Prometheus) -> None:
    for board, content in BOARDS.items():
        for panel in content["panels"]:
            for target in panel.get("targets", []):
                asked = in_the_demo(board, panel, target)

                def ask(asked: Json = asked, board: str = board) -> list[Json]:
                    return [found for one in settings(board) for found in responses(victoriametrics, asked, one)]

                until(ask, asked["expr"])


@pytest.mark.parametrize(("board", "panel", "target"), all_targets())
def test_every_query_returns_data_and_all_labels_that_the_panel_names(
    board: str, panel: Json, target: Json, prometheus: Prometheus
) -> None:
    target = in_the_demo(board, panel, target)

    def ask() -> list[Json]:
        return [series for values in settings(board) for series in responses(prometheus, target, values)]

    found = until(ask, target["expr"])
    named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    for link in panel["fieldConfig"]["defaults"]["links"]:
        named |= set(re.findall(r"__field\.labels\.(\w+)", link["url"]))
    for series in found:
        assert named <= set(series["metric"]), target["legendFormat"]


def test_query_tables_have_every_column_that_they_name(prometheus: Prometheus) -> None:
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "table" or panel["title"] == "Responses not fully used":
                continue
            [organize] = [one["options"] for one in panel["transformations"] if one["id"] == "organize"]
            alone = len(panel["targets"]) == 1
            values = {"Value" if alone else f"Value #{target['refId']}" for target in panel["targets"]}
            wanted = set(organize["renameByName"]) - values

            def ask(name: str = name, panel: Json = panel, wanted: set[str] = wanted) -> bool:
                labels: set[str] = set()
                for target in panel["targets"]:
                    for setting in settings(name):
                        labels.update(*(series["metric"] for series in responses(prometheus, target, setting)))
                return wanted <= labels

            until(ask, f"{name} / {panel['title']}: {wanted}")


@pytest.mark.parametrize("board", BOARDS)
def test_the_query_of_every_variable_returns_data(board: str, prometheus: Prometheus) -> None:
    for variable in variables(BOARDS[board], "query"):
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found is not None
        for values in settings(board):
            asked = {"match[]": interpolate(found[1], values)}
            assert until(partial(prometheus.ask, f"label/{found[2]}/values", asked), asked)


@pytest.mark.parametrize("board", BOARDS)
def test_query_of_every_annotation_is_understood_and_alerts_are_found(board: str, prometheus: Prometheus) -> None:
    for annotation in BOARDS[board]["annotations"]["list"]:
        expr = annotation["target"]["expr"]

        def ask(expr: str = expr) -> list[Json]:
            now = time.time()
            return [
                series
                for values in settings(board)
                for series in prometheus.range(interpolate(expr, values), now - 3600, now, 1)
            ]

        if "ALERTS" in expr:
            for series in until(ask, expr):
                assert set(re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"])) <= set(series["metric"])
        else:
            ask()


def test_query_of_fleet_can_be_filtered_by_any_configured_label(prometheus: Prometheus) -> None:
    # Grafana adds an ad hoc filter to every selector of every query of the dashboard.
    for panel in BOARDS["fleet"]["panels"]:
        for target in panel.get("targets", []):
            filtered = SELECTOR.sub(r'\1{team="research", \2}', target["expr"])
            found = until(partial(responses, prometheus, {**target, "expr": filtered}, {}), filtered)
            accounts = {series["metric"]["account"] for series in found if series["metric"].get("account")}
            research = {"trial", "leaving", "no-plan", "revoked", "video-research", "video-lab", "dubbing"}
            assert accounts <= research, f"{panel['title']}: {accounts}"


def test_query_of_sums_leaves_unlimited_accounts_out(prometheus: Prometheus) -> None:
    balances = until(lambda: prometheus.instant("video_api_credits_balance == Inf", time.time()))
    assert {series["metric"]["account"] for series in balances} == {"broadcast"}
    [panel] = [panel for panel in BOARDS["fleet"]["panels"] if panel["title"] == "Balance left"]
    for series in responses(prometheus, panel["targets"][0], {}):
        assert all(value != "+Inf" for _, value in series["values"])


def test_query_of_the_worst_state_names_the_demos_troubles(prometheus: Prometheus) -> None:
    [panel] = [panel for panel in BOARDS["fleet"]["panels"] if panel["title"] == "Accounts, worst first"]
    target = next(target for target in panel["targets"] if target["refId"] == "state")

    def ask() -> dict[str, str]:
        found = {series["metric"]["account"]: series["value"][1] for series in responses(prometheus, target, {})}
        return found if len(found) == 15 else {}

    states = until(ask)
    assert (states["revoked"], states["no-plan"], states["broadcast"]) == ("7", "6", "0")
