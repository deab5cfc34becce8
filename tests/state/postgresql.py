"""Runs a PostgreSQL server for tests, on a socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.program.running import PATIENT, environment, until

# Root may not run the server, so Debian's user for it does.
_USER: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def _program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(found[-1]) if found else name


@dataclass
class Server:
    """A server that can be stopped, started again and suspended."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    def url(self, database: str = "postgres") -> str:
        return f"postgresql:///{database}?host={self.folder}&user=exporter"

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        self.databases += 1
        name = f"test{self.databases}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, statement: str, url: str = "") -> list[Any]:
        with psycopg.connect(url or self.url(), autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        self.process = subprocess.Popen(
            [_program("postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), "-h", "", "-F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd=self.folder,
            **_USER,
        )
        until(self._answers, "PostgreSQL answers")

    def stop(self, *, at_once: bool = False) -> None:
        """End all connections and stop, with ``at_once`` without writing what is only in memory."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self.process.wait(PATIENT)
            self.process = None

    def cut_connections(self, url: str) -> int:
        """End every connection to a database; return how many there were."""
        return len([self.run(f"SELECT pg_terminate_backend({pid})") for pid in self._connections(url)])

    @contextmanager
    def suspended(self, url: str) -> Iterator[None]:
        """Let the server answer on no connection to a database that there is now, until the block ends."""
        connections = self._connections(url)
        assert connections
        try:
            for pid in connections:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in connections:
                os.kill(pid, signal.SIGCONT)

    def _connections(self, url: str) -> list[int]:
        name = url.partition("///")[2].partition("?")[0]
        return [pid for database, pid in self.run("SELECT datname, pid FROM pg_stat_activity") if database == name]

    def _answers(self) -> bool:
        try:
            return self.run("SELECT 1") == [(1,)]
        except psycopg.OperationalError:
            return False


@contextmanager
def server() -> Iterator[Server]:
    """Run a server until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, because a socket's path may have 107 characters
    try:
        if _USER:
            shutil.chown(folder, "postgres", "postgres")
        subprocess.run(
            [_program("initdb"), "-D", str(folder / "data"), "-U", "exporter", "-A", "trust", "-N", "-E", "UTF8"],
            check=True,
            capture_output=True,
            env=environment(),
            cwd=folder,
            **_USER,
        )
        running = Server(folder)
        try:
            running.start()
            yield running
        finally:
            running.stop(at_once=True)
    finally:
        shutil.rmtree(folder)
