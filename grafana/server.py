"""Runs a Prometheus on loopback, for the tests of the queries and for the preview."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

_LISTENING = re.compile(r'msg="Listening on" (?:component=\S+ )?address=(\S+)')  # Prometheus 3 names it
START_SECONDS = 30.0


class Prometheus:
    """A Prometheus for a folder with `prometheus.yml`, as a context manager that starts and stops it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Prometheus:
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError("prometheus is not installed; on Debian: apt-get install prometheus")
        log = self._folder / "prometheus.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.data}",
                    "--web.listen-address=127.0.0.1:0",
                    "--storage.tsdb.retention.time=30d",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        give_up = time.monotonic() + START_SECONDS
        while not self.url:
            text = log.read_text(errors="replace")
            found = _LISTENING.search(text)
            if found and "Server is ready" in text:
                self.url = f"http://{found[1]}"
            elif self._process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise RuntimeError(f"Prometheus did not start:\n{text}")
            else:
                time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and wait for it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_SECONDS)
            self._process = None
            self.url = ""

    @property
    def data(self) -> Path:
        """Return the folder of the blocks."""
        return self._folder / "data"

    def ask(self, path: str, parameters: Mapping[str, object]) -> Any:
        """Return the `data` of an API response. Raises ValueError with Prometheus' message."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=60) as response:
                return json.load(response)["data"]
        except HTTPError as error:
            raise ValueError(f"{error.read().decode(errors='replace')}\n{dict(parameters)}") from None

    def instant(self, expr: str, at: float) -> list[dict[str, Any]]:
        """Return the series of an instant query at that Unix time."""
        result: list[dict[str, Any]] = self.ask("query", {"query": expr, "time": at})["result"]
        return result

    def range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series of a range query."""
        result: list[dict[str, Any]] = self.ask(
            "query_range", {"query": expr, "start": start, "end": end, "step": step}
        )["result"]
        return result
