"""The scrape configurations, checked by promtool and against the exporter."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.containers import check

CONFIGS = sorted((ROOT / "deploy/prometheus").glob("*.yml"))


def test_there_is_one_for_a_single_exporter_one_for_shards_and_one_for_tls() -> None:
    assert {path.stem for path in CONFIGS} == {"single", "shards", "tls"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_promtool_accepts_it_with_all_rules(path: Path) -> None:
    rules = list((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    output = check(["promtool", "check", "config", str(path)])
    assert f"{len(rules)} rule files found" in output


def test_the_recommended_scrape_interval_is_the_same_everywhere() -> None:
    configs = [*CONFIGS, ROOT / "deploy/compose/prometheus.yml"]
    intervals = {yaml.safe_load(path.read_text())["global"]["scrape_interval"] for path in configs}
    chart = yaml.safe_load((ROOT / "deploy/helm/video-api-exporter/values.yaml").read_text())
    assert {*intervals, chart["serviceMonitor"]["interval"]} == {"30s"}
    for page in ("alerting", "deployment"):
        assert "every 30 seconds, and at least every 2 minutes" in " ".join(
            (ROOT / f"docs/{page}.md").read_text().split()
        )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_scrapes_under_the_job_name_that_rules_and_dashboards_know(path: Path) -> None:
    (job,) = yaml.safe_load(path.read_text())["scrape_configs"]
    assert job["job_name"] == "video-api-exporter"
    assert "10390" in str(job)


def test_the_one_for_tls_sends_a_password_from_a_file_over_tls() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus/tls.yml").read_text())["scrape_configs"]
    assert job["scheme"] == "https"
    assert "password_file" in job["basic_auth"]
    assert "password" not in job["basic_auth"]
    assert "insecure_skip_verify" not in job["tls_config"]
