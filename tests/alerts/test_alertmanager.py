"""The Alertmanager configuration with amtool and with a running Alertmanager."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from tests.alerts.programs import ROOT, RULES, Server, alertmanager
from tests.program.running import until

needs_alertmanager = pytest.mark.needs("prometheus-alertmanager")
CONFIG = ROOT / "deploy/alertmanager/alertmanager.yml"


@pytest.mark.needs("amtool")
def test_amtool_accepts_the_configuration() -> None:
    checked = subprocess.run(["amtool", "check-config", CONFIG], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.needs("amtool")
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=warning", "operations"),
        ("severity=warning team=research", "operations"),
        ("severity=warning team=media", "media"),
        ("severity=warning team=live", "live"),
        ("severity=critical", "on-call"),
        ("severity=critical team=research", "on-call"),
        ("severity=critical team=media", "on-call,media"),
        ("severity=critical team=live", "on-call,live"),
    ],
)
def test_an_alert_is_routed_by_severity_and_team(labels: str, receivers: str) -> None:
    routed = subprocess.run(
        [
            "amtool",
            *("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receivers}"),
            *("alertname=VideoApiCreditsLow", "provider=videodb", "account=media-prod", *labels.split()),
        ],
        capture_output=True,
        text=True,
    )
    assert routed.returncode == 0, routed.stdout + routed.stderr


def test_every_way_of_notifying_has_an_example_and_reads_its_secrets_from_files() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    kinds = {key for receiver in config["receivers"] for key in receiver if key != "name"}
    assert kinds == {"slack_configs", "email_configs", "pagerduty_configs", "webhook_configs"}
    secrets = re.findall(
        r"(?m)^\s*(?:- )?(\w*(?:password|key|token|credentials|api_url)\w*): (\S+)$", CONFIG.read_text()
    )
    assert len(secrets) == 4
    assert all(name.endswith("_file") and value.startswith("/etc/") for name, value in secrets)


def test_inhibition_names_alerts_that_exist() -> None:
    alerts = {
        rule.get("alert")
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    }
    named = set(re.findall(r"VideoApi\w+", json.dumps(yaml.safe_load(CONFIG.read_text())["inhibit_rules"])))
    assert named <= alerts


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Alertmanager with the routes and inhibitions of the file; it notifies nobody."""
    directory = tmp_path_factory.mktemp("alertmanager")
    config = yaml.safe_load(CONFIG.read_text())
    config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]
    with alertmanager(directory, yaml.safe_dump(config)) as server:
        yield server


ACCOUNTS = map("account-{}".format, itertools.count())
LAST = ({"alertname": "VideoApiSubscriptionInactive"}, {"alertname": "VideoApiSubscriptionEnding"})


def inhibited(server: Server, *alerts: dict[str, str]) -> set[str]:
    """Send alerts of one account, never used before; return the names and severities of the silenced ones."""
    account = {"provider": "videodb", "account": next(ACCOUNTS)}
    return {f"{a['alertname']} {a['severity']}" for a in silenced(server, [{**account, **alert} for alert in alerts])}


def silenced(server: Server, alerts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Send alerts of one account; return the labels of the silenced ones.

    Alertmanager takes alerts in one by one, after it has answered: once the last two sent are seen to work, all are in.
    """
    account = next(ACCOUNTS)
    last = [{"provider": "videodb", "account": account, **alert} for alert in LAST]
    request = urllib.request.Request(
        f"{server.url}/api/v2/alerts",
        json.dumps([{"labels": labels} for labels in (*alerts, *last)]).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()

    def now(account: str) -> list[dict[str, str]]:
        known = server.get(f"/api/v2/alerts?filter=account%3D{account}")
        return [alert["labels"] for alert in known if alert["status"]["inhibitedBy"]]

    until(lambda: now(account), "the last alert is silenced")
    return now(alerts[0]["account"])


LOW, CRITICALLY_LOW = (
    {"alertname": "VideoApiCreditsLow", "severity": severity} for severity in ("warning", "critical")
)
EXHAUSTED = {"alertname": "VideoApiCreditsExhausted", "severity": "critical"}
SOON = {"alertname": "VideoApiCreditsRunOutSoon", "severity": "critical"}
BEFORE_RESET = {"alertname": "VideoApiCreditsRunOutBeforeReset", "severity": "warning"}
FAILING = {"alertname": "VideoApiPollFailing", "severity": "warning"}
STALE = {"alertname": "VideoApiDataStale", "severity": "warning"}


@needs_alertmanager
def test_a_critical_alert_inhibits_the_warning_about_the_same_resource(running: Server) -> None:
    assert inhibited(running, LOW, CRITICALLY_LOW) == {"VideoApiCreditsLow warning"}
    for name in ("VideoApiStorageNearLimit", "VideoApiChannelsNearLimit", "VideoApiQuotaNearLimit"):
        pair = ({"alertname": name, "severity": severity} for severity in ("warning", "critical"))
        assert inhibited(running, *pair) == {f"{name} warning"}


@needs_alertmanager
def test_a_critical_alert_inhibits_no_warning_about_another_resource(running: Server) -> None:
    storage = {"alertname": "VideoApiStorageNearLimit", "severity": "critical"}
    assert inhibited(running, LOW, storage) == set()
    voices, minutes = (
        {"alertname": "VideoApiQuotaNearLimit", "severity": severity, "quota": quota}
        for severity, quota in (("critical", "voices"), ("warning", "minutes"))
    )
    assert inhibited(running, voices, minutes) == set()


@needs_alertmanager
def test_credits_exhausted_inhibits_the_alerts_before_it(running: Server) -> None:
    lower = {"VideoApiCreditsLow warning", "VideoApiCreditsLow critical"}
    sooner = {"VideoApiCreditsRunOutSoon critical", "VideoApiCreditsRunOutBeforeReset warning"}
    assert inhibited(running, EXHAUSTED, LOW, CRITICALLY_LOW, SOON, BEFORE_RESET) == lower | sooner


@needs_alertmanager
def test_hours_left_inhibit_days_left(running: Server) -> None:
    assert inhibited(running, SOON, BEFORE_RESET, LOW) == {"VideoApiCreditsRunOutBeforeReset warning"}


@needs_alertmanager
def test_an_inactive_subscription_inhibits_an_ending_one(running: Server) -> None:
    inactive = {"alertname": "VideoApiSubscriptionInactive", "severity": "critical"}
    ending = {"alertname": "VideoApiSubscriptionEnding", "severity": "warning"}
    assert inhibited(running, inactive, ending) == {"VideoApiSubscriptionEnding warning"}


@needs_alertmanager
def test_an_alert_with_a_reason_inhibits_poll_failing_which_inhibits_data_stale(running: Server) -> None:
    both = {"VideoApiPollFailing warning", "VideoApiDataStale warning"}
    assert inhibited(running, FAILING, STALE) == {"VideoApiDataStale warning"}
    for name, severity in (("VideoApiKeyRejected", "critical"), ("VideoApiRateLimited", "warning")):
        reason = {"alertname": name, "severity": severity, "reason": "auth"}
        assert inhibited(running, reason, FAILING, STALE) == both


@needs_alertmanager
def test_exporter_down_inhibits_exporter_absent(running: Server) -> None:
    down = {"alertname": "VideoApiExporterDown", "severity": "critical", "job": "video-api-exporter"}
    absent = {"alertname": "VideoApiExporterAbsent", "severity": "critical"}
    assert inhibited(running, down, absent) == {"VideoApiExporterAbsent critical"}


@needs_alertmanager
def test_a_state_that_cannot_be_used_inhibits_its_failed_writes_of_the_same_exporter(running: Server) -> None:
    down = {"alertname": "VideoApiStateDown", "severity": "critical", "instance": "a"}
    not_saved = {"alertname": "VideoApiStateNotSaved", "severity": "warning", "instance": "a"}
    assert inhibited(running, down, not_saved) == {"VideoApiStateNotSaved warning"}
    assert inhibited(running, down, {**not_saved, "instance": "b"}) == set()


@needs_alertmanager
def test_an_account_of_the_same_name_at_another_vendor_is_not_inhibited(running: Server) -> None:
    name = next(ACCOUNTS)
    pair = (("videodb", EXHAUSTED), ("vidnavigator", LOW))
    assert silenced(running, [{"provider": provider, "account": name, **alert} for provider, alert in pair]) == []
