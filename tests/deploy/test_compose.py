"""The Compose stack, checked by docker compose and by a linter."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import ROOT, TOOLS
from tests.deploy.containers import check

STACK = ROOT / "deploy/compose"
FILES = {
    "demo": ["compose.yaml"],
    "accounts": ["compose.yaml", "compose.accounts.yaml"],
    "postgres": ["compose.yaml", "compose.accounts.yaml", "compose.postgres.yaml"],
}


@pytest.fixture(params=FILES)
def stack(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the stack as docker compose reads it."""
    files = [f"--file={STACK / name}" for name in FILES[request.param]]
    read: dict[str, Any] = json.loads(check([str(TOOLS / "docker-compose"), *files, "config", "--format", "json"]))
    return read


def mounts(stack: dict[str, Any]) -> list[Path]:
    services = stack["services"].values()
    return [
        Path(volume["source"])
        for service in services
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]


def test_ports_are_published_on_loopback_only(stack: dict[str, Any]) -> None:
    ports = [port for service in stack["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_every_service_is_confined_and_limited(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
        assert not service["user"].startswith(("0:", "root")), name


def test_every_service_has_a_health_check(stack: dict[str, Any]) -> None:
    without = {name for name, service in stack["services"].items() if "healthcheck" not in service}
    # The exporter's comes with its image.
    assert without == {"exporter"}


def test_every_image_is_an_exact_version(stack: dict[str, Any]) -> None:
    for service in stack["services"].values():
        tag = service["image"].rpartition(":")[2]
        # PostgreSQL's releases have two numbers.
        assert tag.lstrip("v").count(".") == (1 if service["image"].startswith("postgres:") else 2), service["image"]


def test_every_file_that_is_mounted_is_in_the_project(stack: dict[str, Any]) -> None:
    # Secrets are the operator's.
    sources = [source for source in mounts(stack) if STACK / "secrets" not in source.parents]
    assert sources
    for source in sources:
        assert source.exists(), source
        assert ROOT in source.parents


def test_secrets_are_files(stack: dict[str, Any]) -> None:
    for name, secret in stack["secrets"].items():
        assert Path(secret["file"]).parent == STACK / "secrets", name
    for service in stack["services"].values():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or value.startswith("/run/secrets/")


def test_two_replicas_share_a_database() -> None:
    files = [f"--file={STACK / name}" for name in FILES["postgres"]]
    stack = json.loads(check([str(TOOLS / "docker-compose"), *files, "config", "--format", "json"]))
    exporter, postgres = stack["services"]["exporter"], stack["services"]["postgres"]
    assert exporter["deploy"]["replicas"] == 2
    assert [port["published"] for port in exporter["ports"]] == ["10390-10391"]
    assert {"vidnavigator", "videodb", "postgresql"} == {secret["source"] for secret in exporter["secrets"]}
    assert [secret["source"] for secret in postgres["secrets"]] == ["postgresql-password"]


def test_its_prometheus_has_the_rules_and_scrapes_the_exporter() -> None:
    text = (STACK / "prometheus.yml").read_text()
    assert "/etc/prometheus/rules/*.yml" in text
    assert "names: [exporter]" in text
    check(["promtool", "check", "config", str(STACK / "prometheus.yml")])


def test_the_exporter_accepts_the_configuration_with_the_charts_accounts(tmp_path: Path) -> None:
    text = (STACK / "config/config.yaml").read_text()
    for provider in ("vidnavigator", "videodb"):
        (tmp_path / provider).write_text("k")
        text = text.replace(f"/run/secrets/{provider}", str(tmp_path / provider))
    (tmp_path / "config.yaml").write_text(text)
    command = [sys.executable, "-m", "exporter", "check-config", f"--config.file={tmp_path / 'config.yaml'}"]
    assert "OK, 2 accounts" in check(command)


@pytest.mark.parametrize("name", FILES)
def test_every_finding_of_the_linter_is_explained(name: str, tmp_path: Path) -> None:
    files = [f"--file={STACK / name}" for name in FILES[name]]
    merged = tmp_path / "compose.yaml"
    merged.write_text(check([str(TOOLS / "docker-compose"), *files, "config"]))
    settings = STACK / ".compose-lint.yml"
    check([str(TOOLS / "compose-lint"), "check", "--fail-on=low", f"--config={settings}", str(merged)])
