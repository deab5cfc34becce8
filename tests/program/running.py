"""Runs the program and a real Prometheus as processes, which end with the test that started them."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENT = 30.0
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG")
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENT) -> Any:
    """Check repeatedly until the condition holds; return its result."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        pause.wait(0.05)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def environment(**variables: str) -> dict[str, str]:
    """Return an environment without a proxy and without the variables of the exporter."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "exporter", *arguments]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=PATIENT, env=environment(**variables)
    )


@dataclass
class Program:
    """A running exporter."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def get(self, path: str, method: str = "GET", timeout: float = PATIENT, **headers: str) -> tuple[int, str]:
        """Return status and body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Return every sample of the page by its name and labels as they are written."""
        _, text = self.get("/metrics")
        lines = (line.rpartition(" ") for line in text.split("\n") if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in lines}

    def value(self, family: str, account: str, **labels: str) -> float | None:
        """Return one account's sample; None where there is none."""
        wanted = {f'account="{account}"', *(f'{name}="{value}"' for name, value in labels.items())}
        for series, value in self.metrics().items():
            name, _, rest = series.partition("{")
            if name == f"video_api_{family}" and wanted <= set(rest.rstrip("}").split(",")):
                return value
        return None

    def ready(self) -> None:
        until(lambda: self.get("/-/ready")[0] == 200, "ready")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = PATIENT) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def running(*arguments: str, listen: str = "127.0.0.1:0", **variables: str) -> Iterator[Program]:
    """Run the exporter until the block ends; it is killed then where it still runs."""
    process = subprocess.Popen(
        command(*arguments, f"--web.listen-address={listen}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**variables),
    )
    program = Program(process)
    listening = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            program.lines.append(line)
            if found := re.search(r"listening on (https?://[^\s\"]+)", line):
                program.url = program.url or found[1]
                listening.set()
        listening.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert listening.wait(PATIENT), "it does not listen"
        assert program.url, program.log
        yield program
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENT)
        reader.join(PATIENT)
        if process.stdout is not None:
            process.stdout.close()


def write_config(path: Path, accounts: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """Write a configuration; JSON is YAML."""
    path.write_text(json.dumps({"accounts": list(accounts), **more}, indent=1))
    return path


def random_key() -> str:
    """Return a key no part of which is a word or a number that a page or a log may have by chance."""
    return "".join(secrets.choice("bcdfghjkmnpqrstvwxz") for _ in range(40))


def free_port() -> int:
    """Return a port that was free a moment ago, for programs that do not print the port that they took."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass
class Prometheus:
    """A running Prometheus server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        quoted = urllib.parse.quote(expression)
        with urllib.request.urlopen(f"{self.url}/api/v1/query?query={quoted}", timeout=PATIENT) as response:
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return result

    def value(self, expression: str) -> float | None:
        """Return the value of an expression with one result; None without any."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if len(result) == 1 else None


@contextmanager
def prometheus(directory: Path, config: str) -> Iterator[Prometheus]:
    """Run Debian's Prometheus with this configuration until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(config)
    port = free_port()
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
            env=environment(),
        )
        server = Prometheus(f"http://127.0.0.1:{port}")

        def responds() -> bool:
            assert process.poll() is None, (directory / "log").read_text()
            try:
                with urllib.request.urlopen(server.url + "/-/ready", timeout=PATIENT) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        try:
            until(responds, "Prometheus responds")
            yield server
        finally:
            process.terminate()
            process.wait(PATIENT)
