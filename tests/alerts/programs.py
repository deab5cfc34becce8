"""Runs the programs that the tests of alerts need, each on a free port."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.program.running import PATIENT, environment, until

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy/prometheus/rules"


@dataclass
class Server:
    """A running Prometheus or Alertmanager."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """Return the decoded JSON of a response."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(self.url + path + query, timeout=PATIENT) as response:
            return json.load(response)


def alertmanager(directory: Path, config: str, suite: str = "") -> AbstractContextManager[Server]:
    """Run Debian's Alertmanager of a suite with this configuration, alone, until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    flags = (f"--storage.path={directory / 'data'}", "--cluster.listen-address=")
    return _running(f"prometheus-alertmanager{suite}", directory, config, flags)


def prometheus(directory: Path, config: str, *flags: str, suite: str = "") -> AbstractContextManager[Server]:
    """Run Debian's Prometheus of a suite with this configuration over `directory`/data until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    return _running(f"prometheus{suite}", directory, config, (f"--storage.tsdb.path={directory / 'data'}", *flags))


@contextmanager
def _running(program: str, directory: Path, config: str, flags: tuple[str, ...]) -> Iterator[Server]:
    file, log = directory / "config.yml", directory / "log"
    file.write_text(config)
    with log.open("w") as output:
        process = subprocess.Popen(
            [program, f"--config.file={file}", "--web.listen-address=127.0.0.1:0", *flags],
            stdout=output,
            stderr=output,
            env=environment(),
        )

        def listening() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return re.search(r'msg="Listening on" (?:component=\S+ )?address=(\S+)', log.read_text())

        def ready() -> bool:
            try:
                with urllib.request.urlopen(server.url + "/-/ready", timeout=PATIENT) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        try:
            server = Server(f"http://{until(listening, 'it listens')[1]}")
            until(ready, "it is ready")
            yield server
        finally:
            process.terminate()
            process.wait(PATIENT)


@contextmanager
def script(name: str) -> Iterator[ModuleType]:
    """Load scripts/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]
