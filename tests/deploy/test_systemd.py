"""The systemd unit, checked by systemd-analyze and run by systemd in a container."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT
from tests.deploy.containers import Container, Containers, check

UNIT = ROOT / "deploy/systemd/video-api-exporter.service"

CONFIG = """
state: {path: "${STATE_DIRECTORY}/state.db"}
accounts:
  - name: library
    provider: videodb
    base_url: http://127.0.0.1:9
    api_key_file: ${CREDENTIALS_DIRECTORY}/key_videodb
"""

# Debian's systemd, and the exporter where the unit looks for it.
CONTAINERFILE = """
FROM localhost/systemd
RUN python3 -m venv /opt/video-api-exporter
COPY run.txt /
RUN /opt/video-api-exporter/bin/pip install --quiet --require-hashes --only-binary :all: --requirement /run.txt
COPY pyproject.toml README.md LICENSE /src/
COPY exporter /src/exporter
RUN /opt/video-api-exporter/bin/pip install --quiet --no-deps /src
COPY video-api-exporter.service /etc/systemd/system/
COPY config.yaml /etc/video-api-exporter/
COPY --chmod=600 videodb /etc/video-api-exporter/keys/
"""


def test_systemd_analyze_finds_no_error(tmp_path: Path) -> None:
    # The program has to be where the unit says, which is the one thing that differs here.
    program = tmp_path / "video-api-exporter"
    program.touch(mode=0o755)
    unit = tmp_path / UNIT.name
    text, replaced = re.subn(r"/opt/video-api-exporter/bin/video-api-exporter", str(program), UNIT.read_text())
    assert replaced == 1
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_exposure_is_under_1_5() -> None:
    check(["systemd-analyze", "security", "--offline=yes", "--threshold=14", str(UNIT)])


@pytest.fixture(scope="module")
def systemd(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Boot a systemd that knows the unit, a configuration and a key."""
    containers.base("localhost/systemd", "bookworm", "systemd", "procps", "python3", "python3-venv", "ca-certificates")
    context = tmp_path_factory.mktemp("context")
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements/run.txt", UNIT.relative_to(ROOT)):
        shutil.copy(ROOT / name, context)
    shutil.copytree(ROOT / "exporter", context / "exporter")
    (context / "config.yaml").write_text(CONFIG)
    (context / "videodb").write_text("k")
    (context / "Containerfile").write_text(CONTAINERFILE)
    containers.build(context, "localhost/unit", f"--file={context / 'Containerfile'}")
    container = containers.start(
        "--systemd=always", "--privileged", "--network=none", "localhost/unit",
        # As on a machine, where systemd makes its mounts visible to what it starts: credentials need that.
        "sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd",
    )  # fmt: skip
    started = container.exec("sh", "-c", "until systemctl is-system-running --wait; do :; done 2>&1 | grep -m1 running")
    assert "running" in started.stdout, started
    yield container
    container.stop(seconds=1)


@pytest.fixture
def service(systemd: Container) -> Iterator[Container]:
    assert systemctl(systemd, "start").returncode == 0, journal(systemd)
    yield systemd
    systemctl(systemd, "stop")
    systemd.exec("rm", "-rf", "/run/systemd/system/video-api-exporter.service.d")
    systemctl(systemd, "daemon-reload")


def systemctl(container: Container, verb: str) -> subprocess.CompletedProcess[str]:
    return container.exec("systemctl", verb, *([] if verb == "daemon-reload" else ["video-api-exporter"]))


def journal(container: Container) -> str:
    return container.exec("journalctl", "--unit=video-api-exporter", "--no-pager", "--output=cat").stdout


def shown(container: Container, name: str) -> str:
    return container.exec("systemctl", "show", "--value", f"--property={name}", "video-api-exporter").stdout.strip()


def test_the_unit_is_active_only_after_its_port_is_bound(service: Container) -> None:
    # Type=notify: `systemctl start` has returned, so READY=1 was said.
    assert shown(service, "ActiveState") == "active"
    assert shown(service, "WatchdogUSec") == "2min"
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10390/-/healthy').status)"
    assert service.exec("/opt/video-api-exporter/bin/python3", "-c", code).stdout == "200\n"


def test_the_unit_runs_as_its_own_user_with_its_state_and_its_key(service: Container) -> None:
    status = service.exec("cat", f"/proc/{shown(service, 'MainPID')}/status").stdout
    user = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
    assert user is not None
    assert 61184 <= int(user[1]) <= 65519  # systemd's dynamic users
    assert "state.db" in service.exec("ls", "/var/lib/private/video-api-exporter").stdout
    # The vendor is out of reach here: had the key been too, the reason would be another.
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10390/metrics').read().decode())"
    metrics = service.exec("/opt/video-api-exporter/bin/python3", "-c", code).stdout
    assert "key_videodb" not in journal(service)
    assert 'reason="credential"' not in re.sub(r"^video_api_poll_failures_total.*$", "", metrics, flags=re.MULTILINE)


def test_systemctl_reload_reloads_the_configuration(service: Container) -> None:
    service.exec(
        "sh", "-c", "echo 'accounts: 3' >/var/lib/broken && cp /etc/video-api-exporter/config.yaml /var/lib/good"
    )
    service.exec("cp", "/var/lib/broken", "/etc/video-api-exporter/config.yaml")
    try:
        assert systemctl(service, "reload").returncode == 0
        service.exec(
            "timeout", "20", "sh", "-c", "until journalctl -u video-api-exporter | grep -q 'must be a list'; do :; done"
        )
        assert "must be a list" in journal(service)
        assert shown(service, "ActiveState") == "active"
    finally:
        service.exec("cp", "/var/lib/good", "/etc/video-api-exporter/config.yaml")


def test_a_wrong_configuration_is_not_restarted(systemd: Container) -> None:
    systemd.exec(
        "sh",
        "-c",
        "cp /etc/video-api-exporter/config.yaml /var/lib/good; echo 'accounts: 3' >/etc/video-api-exporter/config.yaml",
    )
    try:
        assert systemctl(systemd, "start").returncode != 0
        assert (shown(systemd, "ExecMainStatus"), shown(systemd, "ActiveState")) == ("2", "failed")
        assert shown(systemd, "NRestarts") == "0"
    finally:
        systemd.exec("cp", "/var/lib/good", "/etc/video-api-exporter/config.yaml")
        systemctl(systemd, "reset-failed")


def test_systemctl_stop_ends_the_exporter_with_status_0(service: Container) -> None:
    assert systemctl(service, "stop").returncode == 0
    assert (shown(service, "Result"), shown(service, "ExecMainStatus")) == ("success", "0")


def test_the_watchdog_restarts_an_exporter_that_hangs(service: Container) -> None:
    # Two minutes are right for users and long for a test.
    drop_in = "/run/systemd/system/video-api-exporter.service.d"
    service.exec(
        "sh",
        "-c",
        f"mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=2\\nRestartSec=100ms\\n' >{drop_in}/short.conf",
    )
    systemctl(service, "daemon-reload")
    systemctl(service, "restart")
    before = shown(service, "MainPID")
    service.exec("kill", "-STOP", before)
    service.exec(
        "timeout", "30", "sh", "-c",
        "until [ $(systemctl show --value -p NRestarts video-api-exporter) = 1 ]; do :; done;"
        "until systemctl is-active video-api-exporter; do :; done",
    )  # fmt: skip
    assert shown(service, "NRestarts") == "1"
    assert shown(service, "MainPID") != before
