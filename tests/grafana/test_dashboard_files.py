"""The committed dashboards equal the output of the builders and name exported families only."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
import yaml

from exporter.metrics.catalogue import FAMILIES
from grafana.fields import GREY, LOWEST
from grafana.files import FOLDER, rendered
from tests.grafana.boards import BOARDS, Json, panels, queries, selectors, targets, variables

ROOT = FOLDER.parents[1]
RULES = [
    rule
    for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
UIDS = {"fleet": "video-api-fleet", "account": "video-api-account", "exporter": "video-api-exporter"}


def test_the_committed_dashboards_are_current() -> None:
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert committed == rendered(), "run make dashboards"


def test_uids_do_not_change_because_links_and_bookmarks_use_them() -> None:
    assert {name: board["uid"] for name, board in BOARDS.items()} == UIDS


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_have_unique_numbers_and_do_not_overlap(board: Json) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_every_panel_says_in_words_that_it_has_no_data() -> None:
    for name, panel in panels():
        words = panel["fieldConfig"]["defaults"]["noValue"]
        assert re.search(r"[A-Za-z]{4}", words), f"{name} / {panel['title']}: {words!r}"
        assert words != "No data"


def test_every_panel_has_thresholds_and_unknown_values_are_grey() -> None:
    # Grafana colours a missing value as it does the first step.
    for name, panel in panels():
        overridden = [
            prop["value"]
            for override in panel["fieldConfig"]["overrides"]
            for prop in override["properties"]
            if prop["id"] == "thresholds"
        ]
        for thresholds in [panel["fieldConfig"]["defaults"]["thresholds"], *overridden]:
            unknown, base, *rising = thresholds["steps"]
            assert unknown == {"color": GREY, "value": None}, f"{name} / {panel['title']}"
            assert base["value"] == LOWEST, f"{name} / {panel['title']}"
            assert [step["value"] for step in rising] == sorted(step["value"] for step in rising)


def test_links_lead_to_existing_dashboards_and_variables() -> None:
    links = [link for _, panel in panels() for link in panel_links(panel)]
    assert len(links) > 5
    runbooks = {rule["annotations"]["runbook_url"].partition("#")[0] for rule in RULES if "alert" in rule}
    for link in links:
        found = re.match(r"/d/([^/?]+)/\?(.+)$", link["url"])
        if not found:
            assert {link["url"]} == runbooks
            continue
        [board] = [board for board in BOARDS.values() if board["uid"] == found[1]]
        known = {variable["name"] for variable in board["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", found[2])) <= known
    for board in BOARDS.values():
        [link] = board["links"]
        assert set(link["tags"]) <= set(board["tags"])
        assert link["includeVars"]
        assert link["keepTime"]


def panel_links(panel: Json) -> list[Json]:
    config = panel["fieldConfig"]
    properties = [prop for override in config["overrides"] for prop in override["properties"]]
    return [
        *config["defaults"]["links"],
        *(link for prop in properties if prop["id"] == "links" for link in prop["value"]),
    ]


def test_every_metric_is_exported_or_recorded_or_belongs_to_prometheus() -> None:
    exported = {family.name for family in FAMILIES}
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    own = {
        "video_api_exporter_build_info",
        "video_api_exporter_accounts",
        "video_api_exporter_config_last_reload_successful",
        "video_api_exporter_config_last_reload_success_timestamp_seconds",
        "video_api_exporter_poll_duration_seconds_bucket",
        "video_api_exporter_poll_lag_seconds_bucket",
        "video_api_exporter_polls_in_flight",
        "video_api_exporter_accounts_held",
        "video_api_exporter_log_lines_dropped_total",
        "video_api_exporter_replicas",
        "video_api_exporter_shard_index",
        "video_api_exporter_shards",
        "video_api_exporter_state_up",
        "video_api_exporter_state_write_failures_total",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }
    prometheus = {"up", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE"}
    for where, expr in queries():
        for metric, _ in selectors(expr):
            assert metric in exported | recorded | own | prometheus, f"{where}: {metric}"


def test_the_colours_and_words_of_failures_cover_every_reason() -> None:
    from exporter import errors
    from grafana.exporter import REASON_COLOURS
    from grafana.queries import FAILURE_WORDS

    reasons = set(errors.REASONS)
    assert set(FAILURE_WORDS["options"]) == reasons
    assert set(REASON_COLOURS) == reasons


UNLIMITED = (
    "video_api_credits_balance",
    "video_api_credits_monthly_remaining",
    "video_api_credits_purchased",
    "video_api_storage_limit_bytes",
    "video_api_channels_limit",
)


def test_values_that_can_be_unlimited_are_left_out_of_sums_and_lines() -> None:
    seen = 0
    for name, panel, target in targets():
        for metric in UNLIMITED:
            pattern = rf"{metric}\{{[^}}]*\}}\)(.{{0,7}})"
            for after in re.findall(pattern, target["expr"]):
                if panel["type"] == "timeseries" and "video_api_up{" not in target["expr"]:
                    seen += 1
                    assert after.startswith(" < Inf)"), f"{name} / {panel['title']} / {target['refId']}"
    assert seen >= 5


def test_an_unlimited_balance_is_shown_as_unlimited() -> None:
    def mapped(mappings: list[Json]) -> bool:
        return any(mapping["options"].get("Infinity", {}).get("text") == "Unlimited" for mapping in mappings)

    shown = {panel["title"]: panel for name, panel in panels()}
    assert mapped(shown["Balance"]["fieldConfig"]["defaults"]["mappings"])
    overrides = {
        override["matcher"]["options"]: override["properties"]
        for override in shown["Accounts, worst first"]["fieldConfig"]["overrides"]
    }
    [mappings] = [prop["value"] for prop in overrides["Balance"] if prop["id"] == "mappings"]
    assert mapped(mappings)


def test_dashboards_name_no_host_and_no_data_source() -> None:
    for name, text in rendered().items():
        hosts = set(re.findall(r"https?://([^/\"]+)", text))
        assert hosts <= {"video-api-exporter.github.io"}, name
        assert not re.search(r'"uid": "(?!\$\{datasource\}|video-api-)', text), name


def test_the_account_variables_follow_each_other() -> None:
    for board in BOARDS.values():
        chain = [variable["name"] for variable in board["templating"]["list"]]
        assert chain[:5] == ["datasource", "job", "instance", "provider", "account"]
        for variable in variables(board, "query"):
            used = set(re.findall(r"\$(\w+)", variable["query"]["query"]))
            assert used <= set(chain[: chain.index(variable["name"])])


def test_provisioning_files_fit_the_compose_stack_and_set_no_uid() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())["services"]
    scrapes = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["global"]
    folder = ROOT / "grafana/provisioning"
    [provider] = yaml.safe_load((folder / "dashboards/video-api-exporter.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    mounts = dict(mount.split(":")[:2] for mount in compose["grafana"]["volumes"])
    assert mounts["../../grafana/dashboards"] == provider["options"]["path"]
    assert mounts["../../grafana/provisioning"] == "/etc/grafana/provisioning"
    [source] = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert "uid" not in source
    host = re.fullmatch(r"http://([a-z]+):9090", source["url"])
    assert host and host[1] in compose
    assert source["jsonData"]["timeInterval"] == scrapes["scrape_interval"]
