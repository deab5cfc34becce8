"""A simulated account is spent and topped up, and a webhook gets the alerts from all programs together."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.vendors import Vendors, vidnavigator_account
from tests.alerts.programs import ROOT, RULES, alertmanager, prometheus, script
from tests.program.running import environment, running, until, write_config

PATIENT = 90.0
STABLE = pytest.mark.needs("prometheus", "prometheus-alertmanager")
UNSTABLE = pytest.mark.needs("prometheus-unstable", "prometheus-alertmanager-unstable")
SUITES = pytest.mark.parametrize(
    "suite", [pytest.param("", marks=STABLE, id="stable"), pytest.param("-unstable", marks=UNSTABLE, id="unstable")]
)
LOW = {
    "alertname": "VideoApiCreditsLow",
    "severity": "critical",
    "provider": "vidnavigator",
    "account": "media-prod",
    "team": "media",
    "env": "prod",
}


def impatient(directory: Path) -> str:
    """Write the rules without their waiting; return the glob that finds them."""
    directory.mkdir()
    for path in RULES.glob("*.yml"):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                rule.pop("for", None)
                rule.pop("keep_firing_for", None)
        (directory / path.name).write_text(yaml.safe_dump(rules))
    return str(directory / "*.yml")


@SUITES
def test_a_webhook_gets_credits_low_and_its_resolution_after_a_top_up(suite: str, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    def alert(receiver: str, status: str) -> dict[str, Any] | None:
        """Return the critical alert as this receiver was told of it."""
        for notification in heard:
            for told in notification["alerts"]:
                if (notification["receiver"], told["status"]) == (receiver, status) and told["labels"] == LOW:
                    return dict(told)
        return None

    with Vendors() as vendors, script("stack") as stack, stack.webhook(heard.append) as url:
        key = vendors.add(vidnavigator_account(monthly_remaining=62.5, purchased=0))
        account = {
            "name": "media-prod",
            "provider": "vidnavigator",
            "api_key": key,
            "base_url": vendors.vidnavigator_url,
            "labels": {"team": "media", "env": "prod"},
        }
        config = write_config(tmp_path / "config.yaml", [account], poll={"interval": "10s", "timeout": "5s"})
        with (
            running(f"--config.file={config}") as exporter,
            alertmanager(tmp_path / "alertmanager", stack.alertmanager_config(url, "1s", "1s"), suite) as manager,
            prometheus(
                tmp_path / "prometheus",
                stack.prometheus_config(
                    exporter.url.removeprefix("http://"),
                    manager.url.removeprefix("http://"),
                    impatient(tmp_path / "rules"),
                    "1s",
                ),
                suite=suite,
            ) as server,
        ):
            exporter.ready()
            balance = "video_api:credits_balance"
            until(lambda: server.get("/api/v1/query", query=balance)["data"]["result"], "a balance", PATIENT)
            credits = vendors.accounts[key].responses["/usage"]["credits"]

            credits["monthly_remaining"] = 3.5
            firing = until(lambda: alert("media", "firing"), "the team hears of it", PATIENT)
            assert firing["annotations"]["description"].startswith(
                "The balance of vidnavigator account media-prod is 3.50"
            )
            assert firing["annotations"]["runbook_url"].endswith("/runbooks/#videoapicreditslow")
            until(lambda: alert("on-call", "firing"), "who is on call hears of it", PATIENT)

            credits["purchased"] = 50
            until(lambda: alert("media", "resolved"), "the team hears that it is over", PATIENT)
            until(lambda: alert("on-call", "resolved"), "who is on call hears it too", PATIENT)


def programs_of(suite: str, directory: Path) -> Path:
    """Return a folder that has the programs of a Debian suite under their usual names."""
    directory.mkdir()
    for program in ("prometheus", "prometheus-alertmanager"):
        (directory / program).symlink_to(str(shutil.which(program + suite)))
    return directory


@SUITES
def test_the_stack_prints_addresses_and_a_notification_and_stops_everything_it_started(
    suite: str, tmp_path: Path
) -> None:
    programs, temporary = programs_of(suite, tmp_path / "bin"), tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        # A shell ignores SIGINT for what it starts in the background.
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, ROOT / "scripts/stack.py", "--speed=600"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), "TMPDIR": str(temporary), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        lines.extend(process.stdout)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:

        def addresses() -> dict[str, str] | None:
            found = dict(re.findall(r"(?m)^(\S+)\s+(http://\S+?)/", "".join(lines)))
            return found if len(found) == 3 else None

        urls = until(addresses, "the addresses", PATIENT)
        assert set(urls) == {"exporter", "Prometheus", "Alertmanager"}
        for url in urls.values():
            with urllib.request.urlopen(url + "/-/healthy", timeout=PATIENT) as response:
                assert response.status == 200
        # Of the demo's accounts, one has an invoice that failed: an alert that waits for nothing.
        until(lambda: "VideoApiInvoiceFailed" in "".join(lines), "a notification", PATIENT)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(PATIENT) == 0
        finally:
            process.terminate()
        reader.join(PATIENT)
        assert process.stdout is not None
        process.stdout.close()
    assert os.listdir(temporary) == []
    assert [url for url in urls.values() if _responds(url)] == []


def _responds(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
