"""Measures how long a user waits for the command line, for check-config, and for the first whole page."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bench.daemon import Daemon
from bench.processes import ROOT, workplace


def starting(counts: tuple[int, ...] = (10, 10_000)) -> dict[str, Any]:
    """Return the median seconds of five runs of each."""
    with workplace() as cache:
        return _starting(counts, {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache)})


def _starting(counts: tuple[int, ...], env: Mapping[str, str]) -> dict[str, Any]:
    """Measure with byte code at hand, as an installed program has it. The first run, which makes it, does not count."""
    result: dict[str, Any] = {"spread": {}}
    _times(env, "--help")
    _keep(result, "--help", _times(env, "--help"))
    for count in counts:
        with workplace() as directory, ExitStack() as stack:
            daemon = Daemon(count, "concurrency: 64", 0.0, directory, stack)
            check = "check-config", f"--config.file={daemon.config}"
            _times(env, *check)
            _keep(result, f"check-config, {count:,} accounts", _times(env, *check))
            times, memory = [], []
            for _ in range(6 if count < 1000 else 1):
                (directory / "state.db").unlink(missing_ok=True)
                daemon.start(env)
                daemon.until("/-/ready")
                times.append(daemon.until("/metrics", daemon.is_complete))
                memory.append(daemon.process.memory())
                daemon.process.stop()
            _keep(result, f"start to the first whole /metrics, {count:,} accounts", times[1:] or times)
            _keep(result, f"resident MB then, {count:,} accounts", memory)
    result["imports"] = _imports(env)
    return result


def _keep(result: dict[str, Any], name: str, figures: list[float]) -> None:
    result[name] = statistics.median(figures)
    result["spread"][name] = [min(figures), max(figures)]


def _times(env: Mapping[str, str], *arguments: str) -> list[float]:
    """Return the seconds of five runs."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "exporter", *arguments]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return times


def _imports(env: Mapping[str, str]) -> dict[str, float]:
    """Return the ms that the slowest packages take to import, their own imports included."""
    run = [sys.executable, "-X", "importtime", "-c", "import exporter.app"]
    environ = {**os.environ, **env}
    lines = subprocess.run(run, cwd=ROOT, env=environ, check=True, capture_output=True, text=True).stderr.splitlines()
    found = {}
    for line in lines[1:]:
        _, total, name = line.removeprefix("import time:").split("|")
        found[name.strip()] = int(total) / 1e3
    packages = ("requests", "apscheduler.schedulers.background", "prometheus_client", "pydantic", "asyncio")
    more = ("sqlite3", "yaml", "ssl", "h11", "bcrypt", "exporter.app")
    return {name: found[name] for name in (*packages, *more) if name in found}
