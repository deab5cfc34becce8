"""Signals that come while the program is still importing its modules."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exporter.demo import faults
from exporter.demo.vendors import Vendors, vidnavigator_account
from tests.program.running import PATIENT, command, environment, run, until, write_config

TIMES = [
    *((signal.SIGTERM, seconds) for seconds in (0.0, 0.03, 0.1, 0.2, 0.35, 0.5)),
    (signal.SIGINT, 0.0),
    (signal.SIGINT, 0.15),
]
"""A signal, and the seconds after the program's first line when it comes."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    account = {"name": "a", "provider": "videodb", "api_key": secrets.token_hex(16), "base_url": "http://127.0.0.1:9"}
    return write_config(tmp_path / "config.yaml", [account])


def holds(pid: int, number: int) -> bool:
    """Tell whether the main thread of a process lets a signal wait."""
    found = re.search(r"^SigBlk:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(*arguments: str, number: int = signal.SIGTERM, **streams: object) -> Iterator[subprocess.Popen[str]]:
    """Start the program and go on right after its first line."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    process = subprocess.Popen(command(*arguments), text=True, env=environment(), **streams)  # type: ignore[call-overload]  # streams
    try:
        pause, end = threading.Event(), time.monotonic() + PATIENT
        # On a busy machine the moment in which it holds the signal can pass between two looks.
        # A program that has used a second of CPU is past that moment.
        while process.poll() is None and not holds(process.pid, number) and cpu_seconds(process.pid) < 1:
            assert time.monotonic() < end, "it never holds the signal"
            pause.wait(0.001)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENT)


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.mark.parametrize(("number", "offset"), TIMES, ids=str)
def test_a_stop_signal_during_the_start_exits_0(config: Path, number: int, offset: float) -> None:
    with started(f"--config.file={config}", "--web.listen-address=127.0.0.1:0", number=number) as process:
        wait(offset)
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENT)
        assert process.returncode == 0, log
        assert "Traceback" not in log


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.25])
def test_a_reload_signal_during_the_start_does_not_end_the_program(config: Path, offset: float) -> None:
    with started(
        f"--config.file={config}", "--web.listen-address=127.0.0.1:0", number=signal.SIGHUP, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        wait(offset)
        process.send_signal(signal.SIGHUP)
        line = ""
        while "listening on" not in line:
            line = process.stdout.readline()
            assert line, "it has ended"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENT)
        assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["check-config"], ["poll"]], ids=lambda words: words[0])
def test_a_signal_ends_a_command(tmp_path: Path, arguments: list[str]) -> None:
    # So many accounts take more than a second of CPU, so the signal comes before the end.
    accounts = [
        {"name": f"a{i}", "provider": "videodb", "api_key": secrets.token_hex(16), "base_url": "http://127.0.0.1:9"}
        for i in range(20_000)
    ]
    config = write_config(tmp_path / "config.yaml", accounts)
    with started(*arguments, f"--config.file={config}") as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENT)
        assert process.returncode == -signal.SIGTERM


def test_a_signal_ends_help_whose_output_is_not_read() -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        with started("--help", stdout=writer) as process:
            until(lambda: not holds(process.pid, signal.SIGTERM), "the signals are released")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENT) == -signal.SIGTERM
    finally:
        os.close(reader)
        os.close(writer)


def test_a_stop_signal_ends_a_start_that_hangs() -> None:
    code = (
        "import threading, exporter.runtime.signals as s; s.hold(); s.watch_start(0.1);"
        " print('up', flush=True); threading.Event().wait()"
    )
    python = command()[0]
    process = subprocess.Popen([python, "-c", code], stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENT) == 0
    finally:
        process.kill()
        process.communicate(timeout=PATIENT)


def test_wrong_flags_and_configurations_still_exit_2(tmp_path: Path) -> None:
    assert run("--nonsense").returncode == 2
    assert run(f"--config.file={tmp_path / 'missing'}").returncode == 2


@pytest.fixture
def foreground() -> Iterator[None]:
    """Start programs as from a terminal: a shell has those that it starts in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_ends_a_poll_by_hand_although_its_vendor_hangs(vendors: Vendors, tmp_path: Path) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = faults.hang()
    account = {"name": "a", "provider": "vidnavigator", "api_key": key, "base_url": vendors.vidnavigator_url}
    config = write_config(tmp_path / "config.yaml", [account], poll={"timeout": "50s"})
    with started("poll", f"--config.file={config}") as process:
        assert vendors.wait_for_requests(1, key)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130
