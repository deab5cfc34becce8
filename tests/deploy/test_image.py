"""The container image, built from the Dockerfile on a substitute for its base image, and run."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter import __version__
from tests.deploy.conftest import ROOT
from tests.deploy.containers import Container, Containers

IMAGE = "localhost/video-api-exporter:test"
MEGABYTE = 1_000_000
USER = 10001
# As deploy/ runs it: nothing to write but its volume, no privilege, no network but its own loopback.
CONFINED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")
ADDRESS = "http://127.0.0.1:10390"

# Runs in the image's own Python: the simulated vendors, for a container that shares their loopback.
VENDORS = """
import json, threading
from exporter.demo.vendors import Vendors, videodb_account, vidnavigator_account
keys = KEYS
with Vendors() as vendors:
    vendors.add(videodb_account(balance=112.5), keys["videodb"])
    vendors.add(vidnavigator_account(monthly_remaining=62.5, purchased=50), keys["vidnavigator"])
    print(json.dumps({"videodb": vendors.videodb_url, "vidnavigator": vendors.vidnavigator_url}), flush=True)
    threading.Event().wait()
"""


@pytest.fixture(scope="module")
def base_name() -> str:
    """Return the one base that all stages of the Dockerfile are built on, pinned to a release."""
    bases = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert len(bases) == 1
    base: str = bases.pop()
    assert re.fullmatch(r"python:3\.13\.\d+-slim-trixie", base)
    return base


@pytest.fixture(scope="module")
def image(containers: Containers, base_name: str) -> Containers:
    # The real base has its Python in /usr/local: the stand-in has Debian's own, linked there.
    link = 'for name in python3 python; do ln -s /usr/bin/python3 "$1/usr/local/bin/$name"; done'
    containers.base(
        f"docker.io/library/{base_name}", "trixie", "python3", "python3-venv", "ca-certificates", hooks=(link,)
    )
    containers.build(
        ROOT, IMAGE, "--build-arg", f"VERSION={__version__}", "--build-arg", "REVISION=0123abc",
        "--build-arg", "CREATED=2026-01-02T03:04:05Z",
    )  # fmt: skip
    return containers


@pytest.fixture(scope="module")
def vendors(image: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Run the simulated vendors in a container; others join its network."""
    keys = {provider: secrets.token_hex(16) for provider in ("videodb", "vidnavigator")}
    folder = tmp_path_factory.mktemp("vendors")
    (folder / "vendors.py").write_text(VENDORS.replace("KEYS", repr(keys)))
    folder.chmod(0o755)
    container = image.start(
        "--network=none", f"--volume={folder}:/simulated:ro", "--entrypoint=python3", IMAGE, "/simulated/vendors.py"
    )
    urls = json.loads(container.wait_for(r"^\{.*\}$").group())
    yield {"keys": keys, "urls": urls, "container": container}
    container.stop(seconds=1)


def deployment(folder: Path, vendors: dict[str, Any], **more: Any) -> tuple[str, ...]:
    """Write a configuration and keys as an operator would; return how to mount them beside the vendors."""
    accounts = []
    (folder / "keys").mkdir(mode=0o755)
    for provider, key in vendors["keys"].items():
        file = folder / "keys" / provider
        file.write_text(key + "\n")
        file.chmod(0o400)
        os.chown(file, USER, USER)
        accounts.append(
            {
                "name": "media",
                "provider": provider,
                "base_url": vendors["urls"][provider],
                "api_key_file": f"/run/secrets/{provider}",
            }
        )
    config = {"state": {"path": "/var/lib/video-api-exporter/state.db"}, "accounts": accounts, **more}
    (folder / "config").mkdir(mode=0o755)
    (folder / "config" / "config.yaml").write_text(json.dumps(config))
    return (
        *CONFINED,
        f"--network=container:{vendors['container'].identity}",
        f"--volume={folder / 'config'}:/etc/video-api-exporter:ro",
        f"--volume={folder / 'keys'}:/run/secrets:ro",
    )


@pytest.fixture
def running(image: Containers, vendors: dict[str, Any], tmp_path: Path) -> Iterator[Container]:
    """Start the image with its own command, a configuration and a state volume, and nothing else."""
    container = image.start(*deployment(tmp_path, vendors), "--volume=/var/lib/video-api-exporter", IMAGE)
    container.wait_for("listening on .*:10390")
    yield container
    container.stop(seconds=1)


def test_the_image_adds_at_most_60_megabytes_to_its_base(image: Containers, base_name: str) -> None:
    added = image.image(IMAGE)["Size"] - image.image(base_name)["Size"]
    print(f"{added / MEGABYTE:.1f} MB above {base_name}")
    assert 0 < added <= 60 * MEGABYTE


def test_the_image_has_its_labels_and_its_default_command(image: Containers) -> None:
    config = image.image(IMAGE)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["video-api-exporter"]
    assert config["Volumes"] == {"/var/lib/video-api-exporter": {}}
    assert config["ExposedPorts"] == {"10390/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["version"] == __version__
    assert labels["revision"] == "0123abc"
    assert labels["created"] == "2026-01-02T03:04:05Z"
    assert labels["licenses"] == "Apache-2.0"


def test_the_image_has_neither_pip_nor_sources(image: Containers) -> None:
    listing = image.run("--entrypoint=sh", IMAGE, "-c", "ls / /src /dist /build /opt/*/bin 2>&1").stdout
    assert "video-api-exporter" in listing
    assert "pip" not in listing
    for left in ("/src", "/dist", "/build"):
        assert f"cannot access '{left}'" in listing


def test_the_image_serves_metrics_from_a_read_only_root(running: Container) -> None:
    metrics = eventually(lambda: running.get(ADDRESS + "/metrics"), lambda text: text.count("video_api_up{") == 2)
    families = {family.name: family.samples for family in text_string_to_metric_families(metrics)}
    balances = {sample.labels["provider"]: sample.value for sample in families["video_api_credits_balance"]}
    assert balances == {"videodb": 112.5, "vidnavigator": 112.5}
    (build,) = families["video_api_exporter_build_info"]
    assert (build.labels["version"], build.labels["revision"]) == (__version__, "0123abc")


def test_the_exporter_runs_as_its_user_and_as_process_1(running: Container) -> None:
    status = running.exec("cat", "/proc/1/status").stdout
    assert re.search(r"^Uid:\s+10001\s", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert "video-api-exporter" in running.exec("cat", "/proc/1/cmdline").stdout


def test_sigterm_stops_the_image_with_status_0_and_saves_the_state(running: Container) -> None:
    eventually(lambda: running.get(ADDRESS + "/metrics"), lambda text: text.count("video_api_up{") == 2)
    files = running.exec("ls", "/var/lib/video-api-exporter").stdout
    assert "state.db" in files
    assert running.stop() == 0


def test_health_check_passes_while_it_serves_and_fails_when_it_hangs(image: Containers, running: Container) -> None:
    def healthy() -> bool:
        return image.run_podman("healthcheck", "run", running.identity).returncode == 0

    assert healthy()
    image.run_podman("kill", "--signal=STOP", running.identity)
    assert not healthy()
    image.run_podman("kill", "--signal=CONT", running.identity)


def test_without_a_configuration_the_image_names_the_missing_file_and_exits_2(image: Containers) -> None:
    done = image.run("--network=none", "--no-healthcheck", *CONFINED, IMAGE)
    assert done.returncode == 2
    assert "/etc/video-api-exporter/config.yaml" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unwritable_state_volume_logs_one_clear_line_and_the_exporter_runs(
    image: Containers, vendors: dict[str, Any], tmp_path: Path
) -> None:
    mounts = deployment(tmp_path, vendors)
    # Another user's, as a volume that was made for a different image.
    (tmp_path / "state").mkdir(mode=0o755)
    container = image.start(*mounts, f"--volume={tmp_path / 'state'}:/var/lib/video-api-exporter", IMAGE)
    try:
        container.wait_for("listening on")
        eventually(lambda: container.get(ADDRESS + "/metrics"), lambda text: text.count("video_api_up{") == 2)
        told = [line for line in container.logs().splitlines() if "/var/lib/video-api-exporter" in line]
        assert len(told) == 1
        assert "Traceback" not in container.logs()
    finally:
        container.stop(seconds=1)


def test_the_demo_of_the_compose_stack_runs_in_the_image(image: Containers) -> None:
    service = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())["services"]["exporter"]
    scratch = [f"--tmpfs={mount}" for mount in service["tmpfs"]]
    demo = image.start("--network=none", *CONFINED, *scratch, f"--user={service['user']}", IMAGE, *service["command"])
    try:
        demo.wait_for("listening on .*:10390")
        assert "video_api_exporter_build_info" in demo.get(ADDRESS + "/metrics")
        assert image.run_podman("healthcheck", "run", demo.identity).returncode == 0
    finally:
        assert demo.stop() == 0


def test_the_chart_s_watcher_reloads_a_configuration_that_the_kubelet_changed(
    image: Containers, vendors: dict[str, Any], tmp_path: Path
) -> None:
    mounts = deployment(tmp_path, vendors)
    config = tmp_path / "config"
    kubelet_writes(config, "first", (config / "config.yaml").read_text())
    exporter = image.start(*mounts, IMAGE)
    exporter.wait_for("listening on")
    chart = ROOT / "deploy/helm/video-api-exporter/files"
    watcher = image.start(
        *CONFINED,
        f"--network=container:{exporter.identity}",
        f"--pid=container:{exporter.identity}",
        f"--volume={config}:/etc/video-api-exporter:ro",
        f"--volume={chart}:/reload:ro",
        "--entrypoint=python3",
        IMAGE, "/reload/reload.py", "/etc/video-api-exporter", "0.1", "10391",
    )  # fmt: skip
    try:
        watcher.wait_for("process 1 reloads because of first")
        changed = json.loads((config / "config.yaml").read_text())
        changed["accounts"] = changed["accounts"][:1]
        kubelet_writes(config, "second", json.dumps(changed))
        watcher.wait_for("process 1 reloads because of second")
        eventually(lambda: exporter.get(ADDRESS + "/metrics"), lambda text: text.count("video_api_up{") == 1)
    finally:
        watcher.stop(seconds=1)
        exporter.stop(seconds=1)


def kubelet_writes(folder: Path, version: str, config: str) -> None:
    """Replace the files of a volume as the kubelet does: a new directory, and one link to it swapped."""
    (folder / version).mkdir()
    (folder / version / "config.yaml").write_text(config)
    (folder / "..new").symlink_to(version)
    (folder / "..new").rename(folder / "..data")
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").symlink_to("..data/config.yaml")


def eventually(ask: Any, enough: Any) -> Any:
    """Repeat the request until the response is enough, a hundred times at most, which take a minute or so."""
    for _ in range(100):
        response = ask()
        if enough(response):
            return response
    raise AssertionError(response)
