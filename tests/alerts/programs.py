"""The programs under test beside Prometheus; a missing one fails every test here, in one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.program.running import PATIENT, environment, until

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy/prometheus/rules"


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: apt-get install --no-install-recommends {package}", pytrace=False)
    return found


PROMTOOL = _program("promtool", "prometheus")
AMTOOL = _program("amtool", "prometheus-alertmanager")
ALERTMANAGER = _program("prometheus-alertmanager", "prometheus-alertmanager")


@dataclass
class Alertmanager:
    """A running Alertmanager."""

    url: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=PATIENT) as answer:
            return json.load(answer)


@contextmanager
def alertmanager(directory: Path, config: str) -> Iterator[Alertmanager]:
    """Run Debian's Alertmanager with this configuration, alone, until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "alertmanager.yml").write_text(config)
    log = directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                ALERTMANAGER,
                f"--config.file={directory / 'alertmanager.yml'}",
                f"--storage.path={directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ],
            stdout=output,
            stderr=output,
            env=environment(),
        )

        def listening() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return re.search(r'msg="Listening on" address=(\S+)', log.read_text())

        try:
            yield Alertmanager(f"http://{until(listening, 'Alertmanager listens')[1]}")
        finally:
            process.terminate()
            process.wait(PATIENT)
