"""Faults from outside on the running program. Kills, reloads, hanging vendors and keys in what it emits."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.demo import faults
from exporter.demo.vendors import Vendors, videodb_account, vidnavigator_account
from tests.program.running import Program, random_key, run, running, until, write_config


def navigator(vendors: Vendors, name: str = "nav", key: str | None = None, **more: Any) -> dict[str, Any]:
    key = key or vendors.add(vidnavigator_account())
    base_url = vendors.vidnavigator_url
    return {"name": name, "provider": "vidnavigator", "api_key": key, "base_url": base_url, **more}


def hanging(vendors: Vendors, name: str = "hung") -> dict[str, Any]:
    account = navigator(vendors, name)
    vendors.accounts[account["api_key"]].fault = faults.hang()
    return account


def stateful(directory: Path, accounts: Sequence[dict[str, Any]], **more: Any) -> Path:
    return write_config(directory / "config.yaml", accounts, state={"path": str(directory / "state.db")}, **more)


class TestStopping:
    def test_sigterm_while_a_vendor_hangs_exits_0_within_five_seconds(self, vendors: Vendors, tmp_path: Path) -> None:
        config = write_config(tmp_path / "c.yaml", [hanging(vendors)], poll={"interval": "5m", "timeout": "4m"})
        with running(f"--config.file={config}") as program:
            assert vendors.wait_for_requests(1)
            assert program.stop(seconds=5) == 0
            assert "Traceback" not in program.log

    def test_while_stopping_it_is_not_ready(self, vendors: Vendors, tmp_path: Path) -> None:
        config = write_config(tmp_path / "c.yaml", [hanging(vendors)], poll={"interval": "5m", "timeout": "4m"})
        with running(f"--config.file={config}") as program:
            assert vendors.wait_for_requests(1)
            program.signal(signal.SIGTERM)
            until(lambda: program.get("/-/ready") == (503, "stopping\n"), "stopping")
            assert program.process.wait(10) == 0

    def test_a_second_signal_ends_it_at_once(self, vendors: Vendors, tmp_path: Path) -> None:
        config = write_config(tmp_path / "c.yaml", [hanging(vendors)], poll={"interval": "5m", "timeout": "4m"})
        with running(f"--config.file={config}") as program:
            assert vendors.wait_for_requests(1)
            program.signal(signal.SIGINT)
            until(lambda: "stopping" in program.log, "stopping")
            program.signal(signal.SIGINT)
            assert program.process.wait(10) == 1

    def test_a_poll_that_ends_during_the_stop_is_saved(self, vendors: Vendors, tmp_path: Path) -> None:
        account = navigator(vendors)
        vendors.latency_seconds = 1.0
        config = stateful(tmp_path, [account])
        with running(f"--config.file={config}") as program:
            assert vendors.wait_for_requests(1)
            assert program.stop() == 0
        vendors.latency_seconds = 0.0
        with running(f"--config.file={config}") as program:
            assert program.value("polls_total", "nav") == 1
        assert len(vendors.requests) == 1

    def test_it_is_healthy_while_vendors_hang(self, vendors: Vendors, tmp_path: Path) -> None:
        config = write_config(tmp_path / "c.yaml", [hanging(vendors)], poll={"interval": "5m", "timeout": "4m"})
        with running(f"--config.file={config}") as program:
            assert vendors.wait_for_requests(1)
            assert program.get("/-/healthy")[0] == 200
            assert program.get("/-/ready")[0] == 503
            assert program.value("poll_interval_seconds", "hung") == 300

    def test_a_poll_that_the_stop_interrupted_is_not_counted_and_is_due_again(
        self, vendors: Vendors, tmp_path: Path
    ) -> None:
        account = hanging(vendors)
        config = stateful(tmp_path, [account], poll={"interval": "5m", "timeout": "4m"})
        with running(f"--config.file={config}") as program:
            assert vendors.wait_for_requests(1)
            assert program.stop() == 0
        vendors.accounts[account["api_key"]].fault = None
        with running(f"--config.file={config}") as program:
            program.ready()
            assert program.value("up", "hung") == 1
            assert program.value("polls_total", "hung") == 1
            assert program.value("poll_failures_total", "hung", reason="connection") == 0


class TestRestart:
    def test_after_a_kill_it_continues_with_the_saved_state_and_polls_no_account_early(
        self, vendors: Vendors, tmp_path: Path
    ) -> None:
        config = stateful(tmp_path, [navigator(vendors)])
        with running(f"--config.file={config}") as program:
            program.ready()
            before = {series: value for series, value in program.metrics().items() if 'account="nav"' in series}
        assert program.process.returncode == -signal.SIGKILL
        with running(f"--config.file={config}") as program:
            program.ready()
            after = {series: value for series, value in program.metrics().items() if 'account="nav"' in series}
        assert after == before
        assert len(vendors.requests) == 1

    def test_credits_spent_while_it_was_stopped_are_booked(self, vendors: Vendors, tmp_path: Path) -> None:
        account = navigator(vendors)
        config = stateful(tmp_path, [account])
        with running(f"--config.file={config}") as program:
            program.ready()
            first = program.value("last_success_timestamp_seconds", "nav")
        vendors.accounts[account["api_key"]].responses["/usage"]["credits"]["monthly_remaining"] -= 4.5
        with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
            assert program.value("last_success_timestamp_seconds", "nav") == first
            stateful(tmp_path, [{**account, "interval": "6m"}])
            program.get("/-/reload", "POST")
            until(lambda: program.value("polls_total", "nav") == 2, "the poll of what has changed")
            second = program.value("last_success_timestamp_seconds", "nav")
            assert program.value("credits_spent_total", "nav") == 4.5
            assert program.value("reading_gap_seconds", "nav") == pytest.approx(second - first, abs=0.01)  # type: ignore[operator]  # they are there

    def test_a_crash_loop_neither_ends_a_cooldown_nor_repeats_polls(self, vendors: Vendors, tmp_path: Path) -> None:
        limited, well = navigator(vendors, "limited"), navigator(vendors, "well")
        vendors.accounts[limited["api_key"]].fault = faults.status(429, retry_after=600)
        config = stateful(tmp_path, [limited, well], poll={"interval": "5m"})
        for _ in range(4):
            with running(f"--config.file={config}") as program:
                program.ready()
                assert program.value("cooldown_until_timestamp_seconds", "limited") is not None
        assert len(vendors.requests) == 2

    def test_poll_by_hand_obeys_the_daemons_cooldown(self, vendors: Vendors, tmp_path: Path) -> None:
        account = navigator(vendors)
        vendors.accounts[account["api_key"]].fault = faults.status(429)
        config = stateful(tmp_path, [account])
        with running(f"--config.file={config}") as program:
            program.ready()
            done = run("poll", f"--config.file={config}")
        assert done.returncode == 1
        assert "not polled" in done.stdout
        assert "the vendor put this key into cool-down" in done.stdout
        assert len(vendors.requests) == 1

    def test_the_daemon_obeys_a_cooldown_that_poll_by_hand_met(self, vendors: Vendors, tmp_path: Path) -> None:
        account = navigator(vendors)
        vendors.accounts[account["api_key"]].fault = faults.status(429)
        config = stateful(tmp_path, [account])
        run("poll", f"--config.file={config}")
        with running(f"--config.file={config}") as program:
            program.ready()
            assert program.value("polls_total", "nav") == 0
        assert len(vendors.requests) == 1

    def test_a_second_daemon_on_the_same_state_file_exits_1_with_one_line(
        self, vendors: Vendors, tmp_path: Path
    ) -> None:
        config = stateful(tmp_path, [navigator(vendors)])
        with running(f"--config.file={config}") as program:
            program.ready()
            done = run(f"--config.file={config}", "--web.listen-address=127.0.0.1:0")
        assert done.returncode == 1
        assert str(tmp_path / "state.db") in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1

    def test_a_corrupt_state_file_is_set_aside_and_the_program_continues(
        self, vendors: Vendors, tmp_path: Path
    ) -> None:
        config = stateful(tmp_path, [navigator(vendors)])
        (tmp_path / "state.db").write_bytes(secrets.token_bytes(5000))
        with running(f"--config.file={config}") as program:
            program.ready()
            assert program.value("up", "nav") == 1
            [aside] = [
                path
                for path in tmp_path.iterdir()
                if path.name.startswith("state.db.") and path.suffix not in (".lock",) and "corrupt" in path.name
            ]
            assert aside.name in program.log


class TestReload:
    @pytest.fixture
    def config(self, vendors: Vendors, tmp_path: Path) -> Path:
        return write_config(tmp_path / "config.yaml", [navigator(vendors, "stays"), navigator(vendors, "goes")])

    def edit(self, config: Path, *accounts: dict[str, Any]) -> None:
        before = json.loads(config.read_text())["accounts"]
        write_config(config, [*(account for account in before if account["name"] == "stays"), *accounts])

    @pytest.mark.parametrize("how", ["SIGHUP", "POST"])
    def test_a_reload_applies_changes_and_leaves_other_accounts_alone(
        self, vendors: Vendors, config: Path, how: str
    ) -> None:
        with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
            program.ready()
            before = program.value("next_poll_timestamp_seconds", "stays")
            self.edit(config, navigator(vendors, "comes"))
            if how == "POST":
                assert program.get("/-/reload", "POST") == (200, "reloaded\n")
            else:
                program.signal(signal.SIGHUP)
            until(lambda: program.value("up", "comes") == 1, "the new account")
            assert program.value("polls_total", "goes") is None
            assert program.value("polls_total", "stays") == 1
            assert program.value("next_poll_timestamp_seconds", "stays") == before
            assert program.metrics()['video_api_exporter_accounts{provider="vidnavigator"}'] == 2

    def test_a_changed_account_is_polled_at_once_and_keeps_its_counters(self, vendors: Vendors, tmp_path: Path) -> None:
        account = navigator(vendors)
        config = write_config(tmp_path / "config.yaml", [account])
        with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
            program.ready()
            write_config(config, [{**account, "interval": "7m", "labels": {"team": "media"}}])
            program.get("/-/reload", "POST")
            until(lambda: program.value("polls_total", "nav", team="media") == 2, "the second poll")

    def test_an_account_that_is_added_again_has_its_old_counters(self, vendors: Vendors, tmp_path: Path) -> None:
        stays, goes = navigator(vendors, "stays"), navigator(vendors, "goes")
        config = stateful(tmp_path, [stays, goes])
        with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
            program.ready()
            stateful(tmp_path, [stays])
            program.get("/-/reload", "POST")
            assert program.value("polls_total", "goes") is None
            stateful(tmp_path, [stays, goes])
            program.get("/-/reload", "POST")
            assert program.value("polls_total", "goes") == 1

    def test_an_invalid_configuration_changes_nothing_and_every_error_is_reported(self, config: Path) -> None:
        with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
            program.ready()
            good = config.read_text()
            config.write_text(good.replace('"goes"', '"stays"').replace('"api_key"', '"api_kye"', 1))
            status, text = program.get("/-/reload", "POST")
            assert status == 500
            assert len(text.strip().splitlines()) >= 2
            assert all(line.startswith(f"{config}:") for line in text.strip().splitlines())
            assert program.value("up", "goes") == 1
            assert program.metrics()["video_api_exporter_config_last_reload_successful"] == 0
            config.write_text(good)
            assert program.get("/-/reload", "POST")[0] == 200
            assert program.metrics()["video_api_exporter_config_last_reload_successful"] == 1

    def test_a_reload_by_http_needs_the_flag_and_the_method_post(self, config: Path) -> None:
        with running(f"--config.file={config}") as program:
            assert program.get("/-/reload", "POST")[0] == 403
            assert program.get("/-/reload")[0] == 405

    def test_a_reload_ends_no_cooldown(self, vendors: Vendors, tmp_path: Path) -> None:
        account = navigator(vendors)
        vendors.accounts[account["api_key"]].fault = faults.status(429)
        config = write_config(tmp_path / "config.yaml", [account])
        with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
            program.ready()
            write_config(config, [{**account, "interval": "6m"}])
            program.get("/-/reload", "POST")
            until(lambda: program.value("poll_interval_seconds", "nav") == 360, "the reload")
            assert program.value("polls_total", "nav") == 1
        assert len(vendors.requests) == 1


class TestSecrets:
    """No output of the process at debug level has six characters in a row of a key."""

    @pytest.fixture
    def keys(self) -> list[str]:
        return [random_key() for _ in range(6)]

    def emitted(self, program: Program) -> str:
        pages = [
            program.get(path)[1] for path in ("/", "/metrics", "/api/v1/accounts", "/-/ready", "/-/healthy", "/no")
        ]
        pages.append(program.get("/-/reload", "POST")[1])
        command_line = Path(f"/proc/{program.process.pid}/cmdline").read_text()
        return "\n".join([*pages, command_line])

    def test_no_output_has_a_key(self, vendors: Vendors, tmp_path: Path, keys: list[str]) -> None:
        for key in keys[:4]:
            vendors.add(vidnavigator_account(), key)
        vendors.add(videodb_account(), keys[4])
        vendors.accounts[keys[0]].fault = faults.repeat_key(401)
        vendors.accounts[keys[1]].fault = faults.repeat_key(500)
        vendors.accounts[keys[2]].fault = faults.redirect(vendors.vidnavigator_url + "/usage?key=" + keys[2])
        vendors.accounts[keys[4]].fault = faults.repeat_key(200)
        key_file = tmp_path / "key"
        key_file.write_text(keys[1] + "\n")
        key_file.chmod(0o644)
        nav = vendors.vidnavigator_url
        accounts = [
            {"name": "literal", "provider": "vidnavigator", "api_key": keys[0], "base_url": nav},
            {"name": "file", "provider": "vidnavigator", "api_key_file": str(key_file), "base_url": nav},
            {"name": "env", "provider": "vidnavigator", "api_key_env": "NAV_KEY", "base_url": nav},
            {"name": "well", "provider": "vidnavigator", "api_key": "${GOOD_KEY}", "base_url": nav},
            {"name": "db", "provider": "videodb", "api_key": keys[4], "base_url": vendors.videodb_url},
            {"name": "nobody", "provider": "vidnavigator", "api_key": keys[5], "base_url": nav},
        ]
        config = stateful(tmp_path, accounts)
        variables = {"NAV_KEY": keys[2], "GOOD_KEY": keys[3]}
        arguments = [f"--config.file={config}", "--log.level=debug", "--web.enable-lifecycle"]
        with running(*arguments, **variables) as program:
            program.ready()
            everything = self.emitted(program)
            program.stop()
            everything += program.log
        for command in (["check-config"], ["poll"], ["poll", "--output=json"], ["poll", "--output=prometheus"]):
            done = run(*command, f"--config.file={config}", **variables)
            everything += done.stdout + done.stderr
        assert "readable by every user" in everything
        for key in keys:
            for at in range(len(key) - 5):
                assert key[at : at + 6] not in everything, f"{key[at : at + 6]} of a key"
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*") if path.is_file())
        assert len(stored) > 1000
        for key in keys:
            assert key.encode() not in stored

    def test_a_key_in_a_broken_configuration_is_not_repeated(self, tmp_path: Path, keys: list[str]) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            f"accounts:\n  - name: a\n    provider: videodb\n    api_key: [{keys[0]}]\n"
            f"  - name: b\n    provider: videodb\n    api_kye: {keys[1]}\n"
            f"  - name: c\n    provider: videodb\n    api_key: '{keys[2]}\\n'\n    api_key_env: {keys[3]}\n"
        )
        done = run("check-config", f"--config.file={path}")
        assert done.returncode == 2
        for key in keys:
            assert key not in done.stdout + done.stderr

    def test_a_redirect_is_not_followed_and_the_key_is_not_sent(self, vendors: Vendors, tmp_path: Path) -> None:
        with Vendors() as elsewhere:
            account = navigator(vendors)
            vendors.accounts[account["api_key"]].fault = faults.redirect(elsewhere.vidnavigator_url + "/usage")
            config = write_config(tmp_path / "config.yaml", [account])
            with running(f"--config.file={config}") as program:
                program.ready()
                assert program.value("last_poll_failure", "nav", reason="client_error") == 1
            assert elsewhere.requests == []


def test_memory_is_bounded_under_hostile_responses(vendors: Vendors, tmp_path: Path) -> None:
    accounts = []
    for number, fault in enumerate([faults.big_body(), faults.gzip_bomb(), faults.deep_json(), faults.garbage()] * 3):
        account = navigator(vendors, f"hostile{number}")
        vendors.accounts[account["api_key"]].fault = fault
        accounts.append(account)
    config = write_config(tmp_path / "config.yaml", accounts)
    with running(f"--config.file={config}") as program:
        program.ready()
        assert sum(v for s, v in program.metrics().items() if 'reason="invalid_response"' in s) >= len(accounts)
        status = Path(f"/proc/{program.process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 150_000, "kB at the most; 150 MB of bodies and 1.5 GB of bombs were sent"


def test_a_state_directory_that_cannot_be_made_is_logged_and_the_program_continues(
    vendors: Vendors, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    config = write_config(
        tmp_path / "c.yaml", [navigator(vendors)], state={"path": str(tmp_path / "file" / "state.db")}
    )
    with running(f"--config.file={config}") as program:
        program.ready()
        assert program.value("up", "nav") == 1
        assert program.metrics()["video_api_exporter_state_write_failures_total"] > 0
        assert str(tmp_path / "file" / "state.db") in program.log
        assert "Traceback" not in program.log
    assert os.listdir(tmp_path) == ["c.yaml", "file"] or set(os.listdir(tmp_path)) == {"c.yaml", "file"}
