"""Measures how long a user waits for the command line, for check-config, and for the first whole page."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from bench.daemon import Daemon
from bench.processes import ROOT, workplace


def starting(counts: tuple[int, ...] = (10, 10_000)) -> dict[str, Any]:
    """Return the median seconds of five runs of each."""
    result: dict[str, Any] = {"--help": _median("--help")}
    for count in counts:
        with workplace() as directory, ExitStack() as stack:
            daemon = Daemon(count, "concurrency: 64", 0.0, directory, stack)
            result[f"check-config, {count:,} accounts"] = _median("check-config", f"--config.file={daemon.config}")
            times, memory = [], []
            for _ in range(5 if count < 1000 else 1):
                (directory / "state.db").unlink(missing_ok=True)
                daemon.start()
                daemon.until("/-/ready")
                times.append(daemon.until("/metrics", daemon.is_complete))
                memory.append(daemon.process.memory())
                daemon.process.stop()
            result[f"start to the first whole /metrics, {count:,} accounts"] = statistics.median(times)
            result[f"resident MB then, {count:,} accounts"] = statistics.median(memory)
    result["imports"] = _imports()
    return result


def _median(*arguments: str) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "exporter", *arguments], cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _imports() -> dict[str, float]:
    """Return the ms that the slowest packages take to import, their own imports included."""
    run = [sys.executable, "-X", "importtime", "-c", "import exporter.app"]
    lines = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stderr.splitlines()
    found = {}
    for line in lines[1:]:
        _, total, name = line.removeprefix("import time:").split("|")
        found[name.strip()] = int(total) / 1e3
    packages = ("requests", "apscheduler.schedulers.background", "prometheus_client", "pydantic", "asyncio")
    more = ("sqlite3", "yaml", "ssl", "h11", "bcrypt", "exporter.app")
    return {name: found[name] for name in (*packages, *more) if name in found}
