"""The chart, rendered by helm and checked by tools for Kubernetes, and the manifests that are rendered from it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trustme
import yaml

from exporter import __version__
from tests.deploy.conftest import ROOT, TOOLS
from tests.deploy.containers import check

CHART = ROOT / "deploy/helm/video-api-exporter"
EVERYTHING = CHART / "ci/all-values.yaml"
REPLICAS = CHART / "ci/replicas-values.yaml"
COPY = ROOT / "deploy/kubernetes/copy-state.yaml"
MANIFESTS = ROOT / "deploy/kubernetes/video-api-exporter.yaml"
HELM = str(TOOLS / "helm")
MEBIBYTE = 1024 * 1024
ONE = {"name": "media", "provider": "videodb", "existingSecret": {"name": "keys", "key": "videodb"}}

Object = dict[str, Any]


def helm(tmp_path: Path, values: Object, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values))
    command = [HELM, "template", "x", str(CHART), "--namespace=n", f"--values={file}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(tmp_path: Path, values: Object | None = None) -> list[Object]:
    """Return the objects of a release with these values, or with everything switched on."""
    done = helm(tmp_path, yaml.safe_load(EVERYTHING.read_text()) if values is None else values)
    assert done.returncode == 0, done.stderr
    # SafeLoader in C: the dashboards are long.
    return [made for made in yaml.load_all(done.stdout, yaml.CSafeLoader) if made]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [made for made in objects if made["kind"] == kind]


def only(objects: list[Object], kind: str) -> Object:
    (made,) = of_kind(objects, kind)
    return made


def pod(objects: list[Object]) -> Object:
    """Return the pod of the StatefulSet, or of the first Deployment."""
    made = [*of_kind(objects, "StatefulSet"), *of_kind(objects, "Deployment")][0]
    return made["spec"]["template"]["spec"]  # type: ignore[no-any-return]  # YAML


def container(objects: list[Object], name: str = "exporter") -> Object:
    return next(made for made in pod(objects)["containers"] if made["name"] == name)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return render(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Return two shards of three replicas on one database."""
    return render(tmp_path_factory.mktemp("shared"), yaml.safe_load(REPLICAS.read_text()))


# What helm and Kubernetes say


@pytest.mark.parametrize("values", [EVERYTHING, REPLICAS], ids=lambda path: path.stem)
def test_helm_lint_is_clean(values: Path) -> None:
    output = check([HELM, "lint", "--strict", str(CHART), f"--values={values}"])
    assert "[WARNING]" not in output
    assert "[ERROR]" not in output


@pytest.mark.parametrize("version", ["1.28", "1.33", "1.37"])
def test_kubernetes_knows_every_field(
    version: str, everything: list[Object], shared: list[Object], tmp_path: Path
) -> None:
    copy = yaml.safe_load(COPY.read_text())
    core = [made for made in [*everything, *shared, copy] if "monitoring.coreos.com" not in made["apiVersion"]]
    file = tmp_path / "rendered.yaml"
    file.write_text(yaml.dump_all(core))
    done = subprocess.run(
        [str(TOOLS / "kubernetes-validate"), "--strict", f"--kubernetes-version={version}", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed") == len(core)


def test_the_operator_knows_every_field_of_its_resources(everything: list[Object]) -> None:
    code = (
        "import json; from cloudcoil.models.prometheus_operator import v1;"
        "print(json.dumps({kind: getattr(v1, kind).model_json_schema(by_alias=True)"
        " for kind in ('ServiceMonitor', 'PrometheusRule')}))"
    )
    schemas = json.loads(check([str(TOOLS / "python"), "-c", code]))
    for schema in schemas.values():
        forbid_others(schema)
    custom = [made for made in everything if made["kind"] in schemas]
    assert len(custom) == 1 + len(list((ROOT / "deploy/prometheus/rules").glob("*.yml")))
    for made in custom:
        jsonschema.validate(made, schemas[made["kind"]])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**custom[0], "spec": {**custom[0]["spec"], "endpoint": []}}, schemas[custom[0]["kind"]])


def forbid_others(schema: Any) -> None:
    """Make a misspelt field an error wherever a schema lists the fields."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        if isinstance(schema.get("pattern"), str):
            # Go takes a flag anywhere, Python at the start alone.
            schema["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")
        for part in schema.values():
            forbid_others(part)
    elif isinstance(schema, list):
        for part in schema:
            forbid_others(part)


def test_every_finding_of_checkov_is_explained(everything: list[Object], shared: list[Object], tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(yaml.dump_all([*everything, *of_kind(shared, "Deployment")]))
    settings = ROOT / "deploy/helm/checkov.yaml"
    done = subprocess.run(
        [str(TOOLS / "checkov"), f"--config-file={settings}", f"--file={file}", "--output=json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    failed = [f"{found['check_id']} {found['resource']}" for found in result["results"]["failed_checks"]]
    assert failed == []
    assert result["summary"]["passed"] > 50


def test_helm_package_puts_the_linked_files_into_the_archive(tmp_path: Path) -> None:
    check([HELM, "package", str(CHART), f"--destination={tmp_path}"])
    (archive,) = tmp_path.glob("*.tgz")
    listing = check(["tar", "--list", "--verbose", "--file", str(archive)])
    for name in ("rules/accounts.yml", "dashboards/fleet.json"):
        assert re.search(rf"^-.* video-api-exporter/files/{name}$", listing, re.MULTILINE)
    assert "ci/" not in listing


# What an account becomes


def test_the_exporter_accepts_its_configuration(everything: list[Object], tmp_path: Path) -> None:
    laid_out = lay_out(everything, tmp_path)
    environment = {"TRIAL_KEY": "k", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check-config", f"--config.file={laid_out / 'config.yaml'}"],
        capture_output=True, text=True, check=False, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "OK, 5 accounts" in done.stdout


def lay_out(objects: list[Object], folder: Path) -> Path:
    """Write the configuration as the pod sees it, with a key wherever its Secrets are mounted."""
    names = {made["metadata"]["name"]: made for made in of_kind(objects, "ConfigMap")}
    volumes = {volume["name"]: volume for volume in pod(objects)["volumes"]}
    config = folder / "etc"
    mounted = {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in container(objects)["volumeMounts"]
        if mount["name"] in volumes
    }
    for source in mounted["/etc/video-api-exporter"]["projected"]["sources"]:
        data = names[source["configMap"]["name"]]["data"]
        items = source["configMap"].get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            file = config / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(data[item["key"]].replace("/etc/video-api-keys", str(folder / "keys")))
    trustme.CA().cert_pem.write_to_path(folder / "ca.crt")
    for file in config.glob("accounts.d/*.yaml"):
        text = file.read_text().replace("/etc/ca/ca.crt", str(folder / "ca.crt"))
        file.write_text(text)
        for path in re.findall(rf'"api_key_file":"({re.escape(str(folder))}[^"]+)"', text):
            mount = "/etc/video-api-keys/" + Path(path).parent.name
            assert mount in mounted, path
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("k")
            Path(path).chmod(0o400)
    return config


def test_a_key_in_the_values_is_only_in_a_secret(tmp_path: Path) -> None:
    objects = render(tmp_path, {"accounts": [{"name": "a", "provider": "videodb", "apiKey": "given-in-values"}]})
    secret = only(objects, "Secret")
    assert base64.b64decode(secret["data"]["videodb.a"]) == b"given-in-values"
    assert "given-in-values" not in json.dumps([made for made in objects if made is not secret])


def test_secrets_are_mounted_whole_as_files_that_only_the_exporter_reads(everything: list[Object]) -> None:
    secrets = {
        volume["secret"]["secretName"]: volume["secret"] for volume in pod(everything)["volumes"] if "secret" in volume
    }
    assert set(secrets) == {"video-api-keys", "library.keys", "x-video-api-exporter-keys", "video-api-web"}
    for name, secret in secrets.items():
        # With a subPath or a list of keys a rotation, or one more key, would need a restart.
        assert "items" not in secret
        assert secret["defaultMode"] == 0o440
        assert secret.get("optional", False) is (name != "video-api-web")
    assert not [mount for mount in container(everything)["volumeMounts"] if "subPath" in mount]
    assert pod(everything)["securityContext"]["fsGroup"] == 10001


def test_large_numbers_stay_numbers(everything: list[Object]) -> None:
    (accounts,) = [made for made in of_kind(everything, "ConfigMap") if made["metadata"]["name"].endswith("accounts-0")]
    media = yaml.safe_load(accounts["data"]["accounts.yaml"])[0]
    assert media["credit_rates"] == {"standard_request": 1000000}


def test_ten_thousand_accounts_fit(tmp_path: Path) -> None:
    accounts = [
        {
            "name": f"customer-{n:05}",
            "provider": "vidnavigator",
            "existingSecret": {"name": "keys", "key": f"customer-{n:05}"},
        }
        for n in range(10_000)
    ]
    objects = render(tmp_path, {"accounts": accounts})
    maps = [made for made in of_kind(objects, "ConfigMap") if "-accounts-" in made["metadata"]["name"]]
    sizes = [sum(map(len, made["data"].values())) for made in maps]
    assert len(sizes) == 10
    assert max(sizes) < MEBIBYTE / 2


# What a pod is


def test_shards_are_the_pods_of_the_statefulset_by_their_ordinal(everything: list[Object]) -> None:
    spec = only(everything, "StatefulSet")["spec"]
    assert spec["replicas"] == 3
    assert spec["podManagementPolicy"] == "Parallel"
    assert "--shard.count=3" in container(everything)["args"]
    index = next(entry for entry in container(everything)["env"] if entry["name"] == "VIDEO_API_EXPORTER_SHARD_INDEX")
    assert index["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


def test_the_exporter_accepts_the_flags_of_the_chart(everything: list[Object]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *container(everything)["args"]],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={"VIDEO_API_EXPORTER_SHARD_INDEX": "x-video-api-exporter-2", "PATH": ""},
    )  # fmt: skip
    # It gets as far as the files, which are not here.
    assert done.returncode == 2
    assert re.match(r"/etc/video-api-(exporter/config|web/web-config).yaml: cannot be read", done.stderr)


def test_state_is_kept_in_a_claim_unless_that_is_switched_off(everything: list[Object], tmp_path: Path) -> None:
    mount = next(mount for mount in container(everything)["volumeMounts"] if mount["name"] == "state")
    assert mount["mountPath"] == "/var/lib/video-api-exporter"
    (claim,) = only(everything, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state"
    without = render(tmp_path, {"accounts": [ONE], "persistence": {"enabled": False}})
    assert "volumeClaimTemplates" not in only(without, "StatefulSet")["spec"]
    assert {"name": "state", "emptyDir": {}} in pod(without)["volumes"]


def test_replicas_of_a_shard_are_a_deployment_that_keeps_its_state_in_the_database(
    shared: list[Object], tmp_path: Path
) -> None:
    deployments = of_kind(shared, "Deployment")
    assert [made["metadata"]["name"] for made in deployments] == ["x-video-api-exporter-0", "x-video-api-exporter-1"]
    assert not of_kind(shared, "StatefulSet")
    for shard, made in enumerate(deployments):
        spec, labels = made["spec"], made["spec"]["template"]["metadata"]["labels"]
        assert spec["replicas"] == 3
        assert {"--shard.count=2", f"--shard.index={shard}"} <= set(container([made])["args"])
        # A pod of one shard is no pod of the other, and all are the Service's.
        assert labels["app.kubernetes.io/component"] == f"shard-{shard}"
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert only(shared, "Service")["spec"]["selector"].items() <= labels.items()
        (apart,) = pod([made])["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]
        assert not [volume for volume in pod([made])["volumes"] if "emptyDir" in volume]
    (one,) = of_kind(render(tmp_path, {**yaml.safe_load(REPLICAS.read_text()), "shards": 1}), "Deployment")
    assert one["metadata"]["name"] == "x-video-api-exporter"


def test_a_rollout_of_replicas_removes_none_before_a_new_one_was_scraped(shared: list[Object]) -> None:
    for made in of_kind(shared, "Deployment"):
        assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        # The ServiceMonitor's interval is 30 s.
        assert made["spec"]["minReadySeconds"] >= 2 * 30


def test_the_connection_string_is_a_file_from_its_secret(shared: list[Object], tmp_path: Path) -> None:
    (config,) = [made for made in of_kind(shared, "ConfigMap") if made["metadata"]["name"].endswith("-config")]
    assert json.loads(config["data"]["config.yaml"])["state"] == {"url_file": "/etc/video-api-state/url"}
    (volume,) = [each for each in pod(shared)["volumes"] if each["name"] == "state"]
    assert volume["secret"] == {"secretName": "video-api-state", "defaultMode": 0o440}
    ports = [port["port"] for rule in only(shared, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
    assert 5432 in ports
    folder = lay_out(shared, tmp_path)
    text = (folder / "config.yaml").read_text().replace("/etc/video-api-state", str(tmp_path))
    (folder / "config.yaml").write_text(text)
    (tmp_path / "url").write_text("postgresql://exporter@db.example/exporter\n")
    done = check([sys.executable, "-m", "exporter", "check-config", f"--config.file={folder / 'config.yaml'}"])
    assert "OK, 1 account" in done


def test_the_job_that_copies_a_state_names_what_the_chart_made(everything: list[Object]) -> None:
    job = yaml.safe_load(COPY.read_text())["spec"]["template"]["spec"]
    made = job["containers"][0]
    source, target = made["args"][2].removeprefix("--from="), made["args"][3].removeprefix("--to=")
    assert made["args"][:2] == ["state", "copy"]
    assert [mount["mountPath"] for mount in made["volumeMounts"]] == [
        str(Path(each).parent) for each in (source, target)
    ]
    (config,) = [each for each in of_kind(everything, "ConfigMap") if each["metadata"]["name"].endswith("-config")]
    assert json.loads(config["data"]["config.yaml"])["state"] == {"path": source}
    claim = only(everything, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]
    assert job["volumes"][0]["persistentVolumeClaim"]["claimName"] == f"{claim}-video-api-video-api-exporter-0"
    assert made["image"].endswith(f":{__version__}")


def test_probes_use_the_health_address(everything: list[Object]) -> None:
    made = container(everything)
    assert "--web.health-address=:10391" in made["args"]
    assert {"name": "health", "containerPort": 10391} in made["ports"]
    for probe, path in {
        "startupProbe": "/-/healthy",
        "livenessProbe": "/-/healthy",
        "readinessProbe": "/-/ready",
    }.items():
        assert made[probe]["httpGet"] == {"path": path, "port": "health"}


def test_pods_meet_the_restricted_standard(everything: list[Object]) -> None:
    spec = pod(everything)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert {key for volume in spec["volumes"] for key in volume} <= {
        "name",
        "projected",
        "configMap",
        "secret",
        "emptyDir",
    }
    for made in spec["containers"]:
        assert made["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(made["resources"]) == {"requests", "limits"}


def test_a_changed_account_reloads_and_does_not_restart(tmp_path: Path) -> None:
    before = render(tmp_path, {"accounts": [ONE]})
    after = render(tmp_path, {"accounts": [ONE, {**ONE, "name": "more"}], "config": {"poll": {"interval": "1m"}}})
    assert only(before, "StatefulSet") == only(after, "StatefulSet")
    assert of_kind(before, "ConfigMap") != of_kind(after, "ConfigMap")
    assert container(after, "config-reload")["args"] == ["/etc/video-api-exporter", "10", "10391"]
    assert pod(after)["shareProcessNamespace"] is True
    without = render(tmp_path, {"accounts": [ONE], "configReload": {"enabled": False}})
    assert [made["name"] for made in pod(without)["containers"]] == ["exporter"]
    assert "shareProcessNamespace" not in pod(without)


def test_references_between_resources_are_consistent(everything: list[Object]) -> None:
    labels = only(everything, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    service = only(everything, "Service")
    selectors = [
        service["spec"]["selector"],
        only(everything, "StatefulSet")["spec"]["selector"]["matchLabels"],
        only(everything, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only(everything, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    monitor = only(everything, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert pod(everything)["serviceAccountName"] == only(everything, "ServiceAccount")["metadata"]["name"]


def test_the_network_policy_allows_scrapes_probes_and_requests_to_vendors(everything: list[Object]) -> None:
    spec = only(everything, "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    scrape, probes = spec["ingress"]
    assert scrape["from"] and scrape["ports"][0]["port"] == "metrics"
    assert "from" not in probes and probes["ports"][0]["port"] == "health"
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53, 443]


# One copy of rules and dashboards


def test_the_chart_has_the_rules_of_the_project(everything: list[Object]) -> None:
    made = {
        rule["metadata"]["name"].removeprefix("x-video-api-exporter-"): rule["spec"]
        for rule in of_kind(everything, "PrometheusRule")
    }
    assert made == {
        path.stem: yaml.safe_load(path.read_text().replace("account, team, env", "account, env, team"))
        for path in (ROOT / "deploy/prometheus/rules").glob("*.yml")
    }


@pytest.mark.parametrize(
    ("accounts", "more", "identity"),
    [
        ([ONE], [], "provider, account"),
        ([{**ONE, "labels": {"team": "a"}}, {**ONE, "labels": {"cost_center": "7"}}], [], "cost_center, team"),
        ([{**ONE, "labels": {"team": "a"}}], ["namespace", "team"], "namespace, team"),
    ],
)
def test_the_rules_keep_the_labels_that_the_values_give_to_accounts(
    accounts: list[Object], more: list[str], identity: str, tmp_path: Path
) -> None:
    values = {"accounts": accounts, "prometheusRule": {"enabled": True, "accountLabels": more}}
    made = of_kind(render(tmp_path, values), "PrometheusRule")
    exprs = [rule["expr"] for one in made for group in one["spec"]["groups"] for rule in group["rules"]]
    expected = identity if identity.startswith("provider") else f"provider, account, {identity}"
    assert f"max by ({expected}) (video_api_credits_monthly_limit)" in exprs
    assert not [expr for expr in exprs if re.search(r"\benv\b", expr)]


@pytest.mark.parametrize(
    ("interval", "accepted"),
    [("15s", True), ("1m", True), ("1m30s", True), ("120s", True), ("2m", True), ("121s", False), ("5m", False)],
)
def test_a_scrape_interval_that_the_rules_do_not_hold_for_is_refused(
    interval: str, accepted: bool, tmp_path: Path
) -> None:
    done = helm(tmp_path, {"accounts": [ONE], "serviceMonitor": {"enabled": True, "interval": interval}})
    assert (done.returncode == 0) is accepted, done.stderr


def test_a_pod_is_the_same_instance_after_a_restart_and_relabelings_of_the_values_follow(
    everything: list[Object],
) -> None:
    by_name, of_the_values = only(everything, "ServiceMonitor")["spec"]["endpoints"][0]["relabelings"]
    assert by_name == {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"}
    assert of_the_values["targetLabel"] == "node"


def test_single_alerts_can_be_left_out_and_all_get_labels_and_annotations(tmp_path: Path) -> None:
    values = {
        "enabled": True,
        "disabled": ["VideoApiSpendSpike", "VideoApiExporterDown"],
        "alertLabels": {"tier": "2"},
        "alertAnnotations": {"dashboard": "{{ $labels.account }}"},
    }
    made = of_kind(render(tmp_path, {"accounts": [ONE], "prometheusRule": values}), "PrometheusRule")
    rules = [rule for one in made for group in one["spec"]["groups"] for rule in group["rules"]]
    assert all(group["rules"] for one in made for group in one["spec"]["groups"])
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    assert "VideoApiCreditsLow" in alerts and not set(values["disabled"]) & set(alerts)  # type: ignore[call-overload]  # it is the list
    assert all(alert["labels"]["tier"] == "2" for alert in alerts.values())
    assert all(alert["annotations"]["dashboard"] == "{{ $labels.account }}" for alert in alerts.values())
    assert alerts["VideoApiExporterAbsent"]["labels"]["severity"] == "critical"
    assert not any("labels" in rule for rule in rules if "record" in rule)


def test_the_runbooks_may_stand_at_another_address(tmp_path: Path) -> None:
    assert exporter_down(tmp_path, {})["annotations"]["runbook_url"] == (
        "https://video-api-exporter.github.io/video-api-exporter/runbooks/#videoapiexporterdown"
    )
    moved = exporter_down(tmp_path, {"prometheusRule": {"enabled": True, "runbookBaseUrl": "https://wiki.example/r/"}})
    assert moved["annotations"]["runbook_url"] == "https://wiki.example/r/videoapiexporterdown"


@pytest.mark.parametrize(
    ("values", "jobs"),
    [({}, ".*video-api-exporter.*"), ({"fullnameOverride": "credits"}, ".*video-api-exporter.*|credits")],
)
def test_the_rules_watch_the_job_that_the_operator_names_after_the_service(
    values: Object, jobs: str, tmp_path: Path
) -> None:
    assert set(re.findall(r'job=~"(.*?)"', exporter_down(tmp_path, values)["expr"])) == {jobs}


def exporter_down(tmp_path: Path, values: Object) -> Object:
    """Return the alert VideoApiExporterDown of a release with these values."""
    objects = render(tmp_path, {"accounts": [ONE], "prometheusRule": {"enabled": True}} | values)
    rules = [
        rule for one in of_kind(objects, "PrometheusRule") for group in one["spec"]["groups"] for rule in group["rules"]
    ]
    return next(rule for rule in rules if rule.get("alert") == "VideoApiExporterDown")


def test_an_alert_to_leave_out_that_does_not_exist_is_named(tmp_path: Path) -> None:
    values = {"accounts": [ONE], "prometheusRule": {"enabled": True, "disabled": ["VideoApiNoSuch"]}}
    refused = helm(tmp_path, values)
    assert refused.returncode != 0
    assert "prometheusRule.disabled: there is no alert VideoApiNoSuch" in refused.stderr


def test_the_chart_has_the_dashboards_of_the_project(everything: list[Object]) -> None:
    maps = [made for made in of_kind(everything, "ConfigMap") if "grafana_dashboard" in made["metadata"]["labels"]]
    made = {name: json.loads(text) for entry in maps for name, text in entry["data"].items()}
    assert made == {path.name: json.loads(path.read_text()) for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert all(sum(map(len, entry["data"].values())) < MEBIBYTE for entry in maps)


def test_the_charts_rules_and_dashboards_are_links_and_not_copies() -> None:
    assert (CHART / "files/rules").resolve() == ROOT / "deploy/prometheus/rules"
    assert (CHART / "files/dashboards").resolve() == ROOT / "grafana/dashboards"


def test_the_monitoring_objects_are_off_by_default(tmp_path: Path) -> None:
    kinds = {made["kind"] for made in render(tmp_path, {"accounts": [ONE]})}
    assert not kinds & {"ServiceMonitor", "PrometheusRule"}


# What cannot be deployed


NAMELESS = "accounts[0] (media): existingSecret.name is missing"


def with_key(**key: Any) -> Object:
    """Return values with one account that has its key in these ways."""
    return {"accounts": [{"name": "a", "provider": "videodb"} | key]}


def with_rules(**values: Any) -> Object:
    return {"accounts": [{**ONE, "labels": {"team": "media"}}], "prometheusRule": {"enabled": True, **values}}


def with_monitor(**values: Any) -> Object:
    return {"accounts": [ONE], "serviceMonitor": {"enabled": True, **values}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "accounts: is empty"),
        ({"accounts": [ONE], "shards": 0}, "'/shards': minimum: got 0, want 1"),
        ({"accounts": [ONE], "shards": 1.5}, "'/shards'"),
        ({"accounts": [ONE], "shard": 2}, "'shard' not allowed"),
        ({"accounts": [ONE], "replicas": 2}, "replicas: more than 1 need a database to share"),
        (
            {"accounts": [ONE], "state": {"postgresql": {"existingSecret": {"name": "s"}}}},
            "state.postgresql.existingSecret.key is missing",
        ),
        ({"accounts": [ONE], "config": {"state": {"path": "/x"}}}, "config.state: is set by the chart"),
        ({"accounts": [{"name": "a"}]}, "'/accounts/0': missing property 'provider'"),
        ({"accounts": [{**ONE, "existingSecret": {"key": "k"}}]}, NAMELESS),
        ({"accounts": [{**ONE, "existingSecret": {"name": "", "key": "k"}}]}, NAMELESS),
        (with_key(existingSecret={"name": "s"}), "accounts[0] (a): existingSecret.key is missing"),
        (with_key(), "accounts[0] (a): has no key"),
        (
            with_key(apiKey="k", api_key_env="E"),
            "accounts[0] (a): has its key in more than one way: apiKey, api_key_env",
        ),
        (with_key(api_key="k"), "accounts[0] (a): api_key would stand in a ConfigMap"),
        (with_key(apiKey="k", name="a b"), "accounts[0] (a b): apiKey needs a name of letters"),
        (with_key(apiKey=""), "accounts[0] (a): apiKey is empty"),
        (with_rules(alertLabels={"severity": "x"}), "prometheusRule.alertLabels.severity: is a label that the alerts"),
        (with_rules(alertLabels={"provider": "x"}), "prometheusRule.alertLabels.provider: is a label that the alerts"),
        (with_rules(alertLabels={"team": "x"}), "prometheusRule.alertLabels.team: is a label that the alerts"),
        (with_rules(alertLabels={"a-b": "x"}), "'/prometheusRule/alertLabels': additional properties 'a-b'"),
        (with_rules(alertAnnotations={"runbook_url": "x"}), "for runbooks set prometheusRule.runbookBaseUrl"),
        (with_monitor(endpoint={"interval": "7m"}), "serviceMonitor.endpoint.interval: is set by the chart"),
        (with_monitor(scrapeTimeout="60s"), "serviceMonitor.scrapeTimeout: is longer than serviceMonitor.interval"),
        (with_monitor(scrapeTimeout="1m30s", interval="1m29s"), "scrapeTimeout: is longer than"),
    ],
)
def test_values_that_cannot_be_deployed_fail_with_their_name(values: Object, message: str, tmp_path: Path) -> None:
    done = helm(tmp_path, values)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_shard_count_below_1_fails_even_without_the_schema(tmp_path: Path) -> None:
    done = helm(tmp_path, {"accounts": [ONE], "shards": -2}, "--skip-schema-validation")
    assert "shards: -2 is not a number of pods" in done.stderr


# What goes with the chart


def test_every_value_is_documented_and_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
    for name, default in values.items():
        if isinstance(default, dict) and "properties" in schema["properties"][name]:
            assert set(default) == set(schema["properties"][name]["properties"]), name


def test_the_chart_is_of_the_exporter_s_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    stack = (ROOT / "deploy/compose/compose.yaml").read_text()
    assert f"image: ghcr.io/video-api-exporter/video-api-exporter:{__version__}\n" in stack


def test_the_plain_manifests_are_current() -> None:
    assert MANIFESTS.read_text() == check([str(ROOT / "scripts/manifests")]), "make manifests renews them"
