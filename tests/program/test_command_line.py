"""Flags, exit statuses and the commands that end by themselves."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from exporter import commands
from exporter.demo import faults
from exporter.demo.vendors import Vendors, videodb_account, vidnavigator_account
from exporter.flags import FLAGS, Flag
from tests.program.running import command, environment, run, running, until, write_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    key = tmp_path / "key"
    key.write_text(secrets.token_hex(16))
    key.chmod(0o600)
    return write_config(
        tmp_path / "config.yaml",
        [{"name": "a", "provider": "videodb", "api_key_file": str(key), "base_url": "http://127.0.0.1:9"}],
    )


def status_of(arguments: list[str]) -> object:
    """Run a command in this process, and return its exit status however it ends."""
    try:
        return commands.run(arguments)
    except SystemExit as stopped:  # argparse ends so
        return stopped.code


WRONG_FLAGS = [
    (["--no-such-flag"], "an argument is not known (see"),
    (["--config.fil=a"], "an argument is not known; did you mean --config.file?"),
    (["--log.level=loud"], "argument --log.level: invalid choice (choose from"),
    (["--web.enable-lifecycle=yes"], "argument --web.enable-lifecycle: takes no value"),
    (["try-provider", "luma", "--response=a", "--status=bad"], "argument --status: must be an HTTP status"),
    (["no-such-command"], "invalid choice (choose from"),
    (
        ["--shard.index=4", "--shard.count=4"],
        "--shard.index: '4' is not a valid shard: shards are numbered 0 to 3",
    ),
    (["--shard.count=0"], "--shard.count: '0' is not a whole number of at least 1"),
    (["--shard.index=-1", "--shard.count=4"], "--shard.index: '-1' is not a valid shard: shards are numbered 0 to 3"),
    (["--shard.index=exporter-", "--shard.count=4"], "--shard.index: 'exporter-' is not a valid shard"),
    (["--shard.index=exporter-1-x", "--shard.count=4"], "--shard.index: 'exporter-1-x' is not a valid shard"),
    (["--web.telemetry-path=metrics"], "--web.telemetry-path: 'metrics' is not a path"),
    (["--web.listen-address=nonsense:port"], "nonsense:port"),
    (["--web.allowed-hosts=a.example,https://b.example"], "--web.allowed-hosts: 'https://b.example' is no host name"),
    (["demo", "--speed=0"], "--speed"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_FLAGS, ids=lambda value: " ".join(value)[:40])
def test_wrong_flags_exit_2_and_say_what_is_wrong(
    arguments: list[str],
    message: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIDEO_API_EXPORTER_CONFIG_FILE", str(config))
    assert status_of(arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_a_missing_configuration_is_named_and_exits_2(tmp_path: Path) -> None:
    done = run(f"--config.file={tmp_path / 'missing.yaml'}")
    assert done.returncode == 2
    assert str(tmp_path / "missing.yaml") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_configuration_exits_2_with_every_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("accounts:\n  - name: a\n    provider: vidnavigatr\n    api_key_env: X\n    intervall: 5m\n")
    for arguments in ([f"--config.file={path}"], ["check-config", f"--config.file={path}"]):
        done = run(*arguments, X=secrets.token_hex(16))
        assert done.returncode == 2
        assert [line.split(" ")[0] for line in done.stderr.strip().splitlines()] == [
            f"{path}:3:",
            f"{path}:5:",
        ]


def test_check_config_counts_the_accounts(config: Path) -> None:
    done = run("check-config", f"--config.file={config}")
    assert (done.returncode, done.stdout) == (0, f"{config}: OK, 1 account\n")


def test_check_config_calls_an_unreadable_key_an_error_that_a_start_only_warns_of(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "config.yaml",
        [{"name": "a", "provider": "videodb", "api_key_file": str(tmp_path / "missing")}],
    )
    assert run("check-config", f"--config.file={path}").returncode == 2
    with running(f"--config.file={path}") as program:
        program.ready()
        assert program.value("last_poll_failure", "a", reason="credential") == 1
        assert "cannot be read" in program.log


def test_a_port_in_use_exits_1_with_one_line(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = run(f"--config.file={config}", f"--web.listen-address={address}")
    assert done.returncode == 1
    assert address in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_each_flag_has_an_environment_variable(
    flag: Flag, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flag.variable == "VIDEO_API_EXPORTER_" + flag.name.upper().replace(".", "_").replace("-", "_")
    if flag.name.startswith("shard") or flag.choices:
        monkeypatch.setenv(flag.variable, "nonsense")
        assert status_of([]) == 2
        told = capsys.readouterr().err
        assert flag.name in told or flag.variable in told


@pytest.mark.parametrize("from_environment", [True, False])
def test_only_the_allowed_hosts_are_served(config: Path, from_environment: bool) -> None:
    flags = [] if from_environment else ["--web.allowed-hosts=a.example, b.example", "--web.allowed-hosts=c.example"]
    variables = {"VIDEO_API_EXPORTER_WEB_ALLOWED_HOSTS": "a.example, c.example"} if from_environment else {}
    with running(f"--config.file={config}", *flags, **variables) as program:
        for host, status in (("a.example", 200), ("c.example:1", 200), ("evil.example", 421)):
            assert program.get("/metrics", Host=host)[0] == status


def test_the_shard_index_is_read_from_the_name_of_a_pod(config: Path) -> None:
    with running(
        f"--config.file={config}",
        "--shard.count=4",
        VIDEO_API_EXPORTER_SHARD_INDEX="video-api-exporter-3",
    ) as program:
        assert program.metrics()["video_api_exporter_shard_index"] == 3
        assert program.metrics()["video_api_exporter_shards"] == 4


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["config-schema"]], ids=lambda words: words[0])
def test_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert done.returncode == 1
    assert done.stderr == "standard output: No space left on device\n"


def test_prometheus_clients_directory_for_several_processes_has_no_effect(config: Path, tmp_path: Path) -> None:
    directory = tmp_path / "several"
    directory.mkdir()
    with running(f"--config.file={config}", PROMETHEUS_MULTIPROC_DIR=str(directory)) as program:
        assert program.metrics()["video_api_exporter_shards"] == 1
        assert "multi-process" not in program.log
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("output", ["table", "prometheus"])
def test_a_name_that_the_terminal_cannot_show_is_escaped(output: str, tmp_path: Path) -> None:
    account = {"name": "日本", "provider": "videodb", "api_key_file": str(tmp_path / "missing")}
    config = write_config(tmp_path / "config.yaml", [account])
    done = run("poll", f"--config.file={config}", f"--output={output}", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if output == "table":
        assert r"videodb/\u65e5\u672c" in done.stdout


def test_check_config_checks_the_web_configuration_too(config: Path, tmp_path: Path) -> None:
    web = tmp_path / "web.yaml"
    web.write_text("basic_auth_user: {}\n")
    done = run("check-config", f"--config.file={config}", f"--web.config.file={web}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{web}:1: ")


def test_check_config_prints_the_warnings_of_the_web_configuration(config: Path, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    web = tmp_path / "web.yaml"
    files = "cert_file: both.pem, key_file: both.pem"
    web.write_text(f"tls_server_config: {{{files}, client_auth_type: RequireAndVerifyClientCert}}\n")
    done = run("check-config", f"--config.file={config}", f"--web.config.file={web}")
    assert done.returncode == 0
    assert done.stderr.startswith(f"{web}:1: tls_server_config.client_auth_type: admits a certificate of any authority")
    assert "(warning)" in done.stderr


def test_the_message_about_a_wrong_variable_names_it(config: Path) -> None:
    done = run(f"--config.file={config}", VIDEO_API_EXPORTER_SHARD_COUNT="many")
    assert done.stderr == "VIDEO_API_EXPORTER_SHARD_COUNT: 'many' is not a whole number of at least 1\n"


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("video-api-exporter ")
    text = run("--help").stdout
    for flag in FLAGS:
        assert f"--{flag.name}" in text


def test_help_comes_at_once_because_it_needs_no_library() -> None:
    code = """if True:
        import sys
        from exporter.cli import main
        try:
            main(["--help"])
        except SystemExit:
            print(sorted(sys.modules.keys() & {"pydantic", "yaml", "asyncio", "logging", "ssl", "requests"}))
        """
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment(), check=True
    )
    assert done.stdout.endswith("\n[]\n")


def test_a_start_loads_nothing_that_only_pages_logins_or_providers_by_configuration_need(config: Path) -> None:
    code = f"""if True:
        import sys
        from pathlib import Path
        import exporter.app
        from exporter.config.load import load
        from exporter.providers import PROVIDERS
        load(Path({str(config)!r}), PROVIDERS, {{}})
        late = {{"jinja2", "bcrypt", "jmespath", "exporter.config.provider_schema", "exporter.web.config_schema"}}
        print(sorted(sys.modules.keys() & late))
        """
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment(), check=True
    )
    assert done.stdout == "[]\n"


def test_a_message_names_a_key_of_a_provider_although_its_model_is_not_loaded_yet(config: Path) -> None:
    config.write_text("providers:\n  acme:\n    usage: {path: /a, path: /b}\n")
    done = run("check-config", f"--config.file={config}")
    assert f"{config}:3: providers.*.usage.path: duplicate key, first on line 3" in done.stderr


def test_no_package_can_watch_the_configuration_as_a_plugin_of_the_library_that_checks_it(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "curious.py").write_text("print('loaded')\nplugin = None\n")
    (tmp_path / "curious-1.0.dist-info").mkdir()
    (tmp_path / "curious-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: curious\nVersion: 1.0\n")
    (tmp_path / "curious-1.0.dist-info" / "entry_points.txt").write_text("[pydantic]\ncurious = curious:plugin\n")
    assert "loaded" not in run("check-config", f"--config.file={config}", PYTHONPATH=str(tmp_path)).stdout


def test_garbage_is_searched_for_when_polls_have_begun_and_not_before(tmp_path: Path) -> None:
    code = """if True:
        import gc, sys
        from exporter import cli, poll
        poll._chosen = lambda *_: sys.exit(f"{gc.isenabled()} {gc.get_freeze_count() > 0}")
        poll.load = lambda *_: print(gc.isenabled(), flush=True)
        cli.main(["poll"])
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("False\n", "True True\n")


def test_the_schema_is_json() -> None:
    done = run("config-schema")
    assert json.loads(done.stdout)["title"] == "video-api-exporter"
    done = run("config-schema", "--web")
    assert "tls_server_config" in json.loads(done.stdout)["properties"]


class TestPoll:
    @pytest.fixture
    def config(self, tmp_path: Path, vendors: Vendors) -> Path:
        good, bad, lucky = (
            vendors.add(videodb_account()),
            vendors.add(vidnavigator_account()),
            secrets.token_hex(16),
        )
        vendors.accounts[bad].fault = faults.repeat_key()
        vendors.add(vidnavigator_account(), lucky)
        return write_config(
            tmp_path / "config.yaml",
            [
                {"name": "media", "provider": "videodb", "api_key": good, "base_url": vendors.videodb_url},
                {
                    "name": "media",
                    "provider": "vidnavigator",
                    "api_key": lucky,
                    "base_url": vendors.vidnavigator_url,
                },
                {
                    "name": "bad",
                    "provider": "vidnavigator",
                    "api_key": bad,
                    "base_url": vendors.vidnavigator_url,
                },
            ],
        )

    def test_it_prints_a_table_and_explains_failures(self, config: Path) -> None:
        done = run("poll", f"--config.file={config}")
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        assert lines[0].split()[:3] == ["ACCOUNT", "RESULT", "BALANCE"]
        assert lines[2].split() == ["vidnavigator/media", "ok", "112.5", "80", "Voyager", "0.5%", "33.3%"]
        assert "vidnavigator/bad: The vendor does not know this key. Replace the key." in done.stdout

    def test_an_account_can_be_chosen_by_its_full_name(self, config: Path) -> None:
        done = run("poll", "videodb/media", f"--config.file={config}", "--output=json")
        assert done.returncode == 0
        [row] = json.loads(done.stdout)
        assert (row["account"], row["credits"]["balance"]) == ("media", 74.25)

    def test_fields_that_a_response_lacks_are_named(self, config: Path, vendors: Vendors) -> None:
        for account in vendors.accounts.values():
            account.fault = faults.body({"success": True, "data": {"credit_balance": "NaN"}})
        done = run("poll", "videodb/media", f"--config.file={config}")
        assert done.returncode == 0
        assert "videodb/media: the response has no balance that can be read" in done.stdout
        assert "videodb/media: fields that could not be read: data.credit_balance" in done.stdout

    def test_every_unknown_account_is_reported(self, config: Path) -> None:
        done = run("poll", "one", "two", f"--config.file={config}")
        assert len(done.stderr.strip().splitlines()) == 2

    def test_it_prints_the_metrics_of_the_account(self, config: Path) -> None:
        done = run("poll", "bad", f"--config.file={config}", "--output=prometheus")
        assert done.returncode == 1
        assert 'video_api_up{account="bad",provider="vidnavigator"} 0.0\n' in done.stdout

    @pytest.mark.parametrize(
        ("name", "message"), [("nobody", "there is no such account"), ("media", "several providers")]
    )
    def test_an_unknown_or_ambiguous_name_exits_2(self, config: Path, name: str, message: str) -> None:
        done = run("poll", name, f"--config.file={config}")
        assert done.returncode == 2
        assert message in done.stderr


def test_the_demo_prints_addresses_and_serves_all_accounts_with_their_past() -> None:
    with running("demo", "--speed=8640") as program:
        program.ready()
        assert f"{program.url}/metrics" in program.log
        until(lambda: len([s for s in program.metrics() if s.startswith("video_api_up{")]) == 15, "all accounts")
        polls = [value for series, value in program.metrics().items() if series.startswith("video_api_polls_total{")]
        assert sum(polls) > 100, "those before the start"
        assert " -m exporter report --config.file=" in program.log
        assert program.stop() == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "cannot go on: no file descriptor is left; raise LimitNOFILE="),
        (OSError(errno.EACCES, "Permission denied", "/x"), "cannot go on: /x: Permission denied"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "cannot go on: Broken pipe"),
        (OSError(), "cannot go on: the system call failed"),
    ],
    ids=["no descriptor", "a file", "a pipe of somebody else", "nothing known"],
)
def test_an_operating_system_error_is_reported_in_one_line(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr("exporter.config.load.load", fail)
    assert commands.run(["check-config"]) == 1
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert len(output.err.splitlines()) == 1


def test_a_reader_that_has_ended_causes_no_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command("--help"), stdout=writer, stderr=subprocess.PIPE, text=True, env=environment())
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "unread"])
def test_a_standard_error_that_cannot_be_written_changes_no_exit_status(tmp_path: Path, is_closed: bool) -> None:
    account = {"name": "a", "provider": "videodb", "api_key": secrets.token_hex(16), "base_url": "http://a.example"}
    config = write_config(tmp_path / "config.yaml", [account])
    for words, status, output in (
        (["--nonsense"], 2, ""),
        (["check-config", f"--config.file={tmp_path / 'missing'}"], 2, ""),
        (["check-config", f"--config.file={config}"], 0, f"{config}: OK, 1 account\n"),
    ):
        reader, writer = os.pipe()
        os.close(reader)
        shell = ["sh", "-c", '"$@" 2>&-', "sh"] if is_closed else []
        done = subprocess.run(
            [*shell, *command(*words)], stdout=subprocess.PIPE, stderr=writer, text=True, env=environment()
        )
        os.close(writer)
        assert (done.returncode, done.stdout) == (status, output)


@pytest.mark.parametrize("words", [["poll"], ["check-config"], ["providers"], ["config-schema"]], ids=lambda w: w[0])
def test_a_command_whose_reader_has_ended_exits_1_without_a_traceback(config: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    variables = environment(VIDEO_API_EXPORTER_CONFIG_FILE=str(config))
    done = subprocess.run(command(*words), stdout=writer, stderr=subprocess.PIPE, text=True, env=variables)
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "standard output" not in done.stderr
