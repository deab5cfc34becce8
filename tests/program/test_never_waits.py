"""Responses, polls and the stop never wait for a log, a file or a lock that another program holds."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.demo import faults
from exporter.demo.vendors import Vendors, vidnavigator_account
from tests.program.running import PATIENT, Program, command, environment, free_port, running, until, write_config

F_SETPIPE_SZ = 1031


def hanging(vendors: Vendors) -> dict[str, str]:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = faults.hang()
    return {"name": "hung", "provider": "vidnavigator", "api_key": key, "base_url": vendors.vidnavigator_url}


@contextmanager
def unread(config: Path) -> Iterator[Program]:
    """Run the program with a standard error that is a pipe of 4 KiB, which is never read."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    port = free_port()
    process = subprocess.Popen(
        command(f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=debug"),
        stdout=writer,
        stderr=writer,
        text=True,
        env=environment(),
    )
    os.close(writer)
    program = Program(process, url=f"http://127.0.0.1:{port}")

    def responds() -> bool:
        try:
            return program.get("/-/ready")[0] == 200
        except OSError:
            return False

    try:
        until(responds, "ready")
        yield program
    finally:
        process.kill()
        process.wait(PATIENT)
        os.close(reader)


def test_an_unread_standard_error_loses_log_lines_and_delays_no_poll(tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(1200)]
    accounts = [{"name": name, "provider": "videodb", "api_key_env": f"NOT_SET_{name}"} for name in names]
    with unread(write_config(tmp_path / "c.yaml", accounts)) as program:
        metrics = program.metrics()
        polls = [value for name, value in metrics.items() if name.startswith("video_api_polls_total{")]
        assert polls == [1] * len(names)
        assert metrics["video_api_exporter_log_lines_dropped_total"] > 0
        assert program.get("/-/healthy") == (200, "healthy\n")
        assert program.stop(seconds=5) == 0


def test_a_reload_during_the_stop_gets_503_and_the_stop_ends(vendors: Vendors, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", [hanging(vendors)], poll={"interval": "5m", "timeout": "4m"})
    with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
        assert vendors.wait_for_requests(1)
        program.signal(signal.SIGTERM)
        until(lambda: "stopping" in program.log, "stopping")
        assert program.get("/-/reload", "POST") == (503, "the exporter is stopping\n")
        assert program.process.wait(PATIENT) == 0


def test_400_signals_and_40_requests_at_once_cause_a_few_reloads(vendors: Vendors, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", [hanging(vendors)], poll={"interval": "5m", "timeout": "4m"})
    with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
        responses: list[tuple[int, str]] = []
        asking = [
            threading.Thread(target=lambda: responses.append(program.get("/-/reload", "POST"))) for _ in range(40)
        ]
        for thread in asking:
            thread.start()
            for _ in range(10):
                program.signal(signal.SIGHUP)
        for thread in asking:
            thread.join(PATIENT)
        assert responses == [(200, "reloaded\n")] * 40
        assert 1 <= program.log.count("configuration reloaded") < 10


def test_a_configuration_that_became_a_named_pipe_is_refused_and_the_old_one_is_kept(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", [{"name": "a", "provider": "videodb", "api_key_env": "NOT_SET"}])
    with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
        program.ready()
        config.unlink()
        os.mkfifo(config)
        assert program.get("/-/reload", "POST") == (500, f"{config}: cannot be read: it is not a regular file\n")
        assert program.value("up", "a") == 0
        assert program.stop(seconds=5) == 0


HANGING_KEY = """
import sys, threading
from exporter.cli import main
from exporter.config.credentials import KeySource
loading = threading.current_thread()
def read(self):
    if threading.current_thread() is not loading:
        print("reading", flush=True)
        threading.Event().wait()
    return "k" * 20
KeySource.read = read
sys.exit(main(sys.argv[1:]))
"""


def test_a_key_file_that_cannot_be_read_for_ever_does_not_delay_the_stop(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", [{"name": "a", "provider": "videodb", "api_key_file": "key"}])
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING_KEY, f"--config.file={config}", "--web.listen-address=127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "stopping, although some polls have not ended" in log
    finally:
        process.kill()
        process.wait(PATIENT)


@pytest.mark.parametrize("broken", ["store", "scheduler"])
def test_a_configuration_that_cannot_be_applied_is_undone_and_polls_go_on(tmp_path: Path, broken: str) -> None:
    patch = {
        "store": "from exporter.metrics.store import Store as Broken",
        "scheduler": "from exporter.polling.scheduler import Scheduler as Broken",
    }[broken]
    script = f"""
import sys
from exporter.cli import main
{patch}
whole = Broken.replace
def replace(self, accounts, *more):
    accounts = list(accounts)
    whole(self, accounts, *more)
    if any(account.name == "bad" for account in accounts):
        raise ZeroDivisionError
Broken.replace = replace
sys.exit(main(sys.argv[1:]))
"""
    good = {"name": "good", "provider": "videodb", "api_key_env": "NOT_SET"}
    config = write_config(tmp_path / "c.yaml", [good])
    port = free_port()
    arguments = [f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=log, env=environment(), text=True)
    program = Program(process, url=f"http://127.0.0.1:{port}")
    try:
        until(lambda: "listening" in (tmp_path / "log").read_text(), "listening")
        program.ready()
        write_config(config, [{**good, "name": "bad"}])
        assert program.get("/-/reload", "POST") == (500, "unexpected exception; see the exporter's log\n")
        metrics = program.metrics()
        assert metrics["video_api_exporter_config_last_reload_successful"] == 0
        assert {found[1] for name in metrics if (found := re.search(r'account="(\w+)"', name))} == {"good"}
        write_config(config, [good, {**good, "name": "better"}])
        assert program.get("/-/reload", "POST") == (200, "reloaded\n")
        until(lambda: program.value("polls_total", "better") == 1, "the new account is polled")
        assert program.stop(seconds=5) == 0
    finally:
        process.kill()
        process.wait(PATIENT)
