"""Starts, stops and measures the processes of a benchmark. The figures come from /proc."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 900.0


class Process:
    """A program with its output in a log file. As a context manager it stops the program."""

    def __init__(self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.started = time.perf_counter()
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [str(word) for word in argv],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def check(self) -> None:
        """Raise RuntimeError with the end of the log if the program has ended by itself."""
        if self._popen.poll() is not None:
            raise RuntimeError(f"{self.log.stem} ended: {self.log.read_text(errors='replace')[-2000:]}")

    def wait_for(
        self, url: str, *, until: Callable[[bytes], bool] = lambda body: True, seconds: float = START_SECONDS
    ) -> float:
        """Return the seconds from the start until the address responded with 200 and ``until`` accepted the body."""
        while time.perf_counter() - self.started < seconds:
            self.check()
            # With gzip if possible, as Prometheus requests it.
            request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60) as response:
                body = response.read()
                if until(gzip.decompress(body) if response.headers["Content-Encoding"] == "gzip" else body):
                    return time.perf_counter() - self.started
            time.sleep(0.01)
        raise RuntimeError(f"no response from {url} in {seconds} s: {self.log.read_text(errors='replace')[-2000:]}")

    def wait_for_line(self, text: str, *, seconds: float = START_SECONDS) -> str:
        """Return the first line of the log with this text."""
        while time.perf_counter() - self.started < seconds:
            for line in self.log.read_text(errors="replace").splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line
            self.check()
            time.sleep(0.005)
        raise RuntimeError(f"{text!r} not seen in {seconds} s: {self.log.read_text(errors='replace')[-2000:]}")

    def cpu(self) -> float:
        """Return the CPU seconds so far, of all threads and children."""
        return cpu_seconds(self.pid)

    def memory(self, field: str = "VmRSS") -> float:
        """Return the resident MB (10^6 bytes), children included. ``VmHWM`` gives the peak."""
        total = 0
        for pid in _family(self.pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(field + ":"):
                        total += int(line.split()[1])
        return total * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a program so far, of all its threads and children.

    The kernel counts live threads in nanoseconds, and ended threads in clock ticks of 10 ms.
    """
    total = 0.0
    for each in _family(pid):
        live = 0
        for task in _list(f"/proc/{each}/task"):
            with contextlib.suppress(OSError):
                live += int(Path(f"/proc/{each}/task/{task}/schedstat").read_text().split()[0])
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += max(live / 1e9, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return total


def _family(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        yield pid
        for task in _list(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                waiting += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def free_port() -> int:
    """Return a free port of 127.0.0.1, for programs that cannot choose one themselves."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Make a directory for the time of a benchmark. nginx must be able to read it."""
    with tempfile.TemporaryDirectory(prefix="video-api-exporter-bench-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
