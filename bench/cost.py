"""Measures the CPU time of a poll, compared with the least that Python needs for the same.

The least is a new connection, a GET, its JSON and one commit of SQLite, without any check. All take turns.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import ssl
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from bench.daemon import Daemon
from bench.fleet import Fleet
from bench.processes import workplace
from exporter.transport.transports import Transports

ACCOUNTS = 100
ROUNDS = 12


class Least:
    """Requests the usage of an account and keeps it, with nothing but the standard library."""

    def __init__(self, url: str, key: str, database: Path, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._request = (
            f"GET {parts.path}/usage HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
        ).encode()
        self._context = context
        self._session: ssl.SSLSession | None = None
        self._db = sqlite3.connect(database, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("CREATE TABLE state (account INTEGER PRIMARY KEY, state BLOB)")

    def poll(self) -> None:
        for account in range(ACCOUNTS):
            body = self._response().partition(b"\r\n\r\n")[2]
            json.loads(body)
            self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (account, body))

    def _response(self) -> bytes:
        with socket.create_connection((self._host, self._port)) as connection:
            if self._context is None:
                return self._exchange(connection)
            with self._context.wrap_socket(
                connection, server_hostname=self._host, session=self._session, suppress_ragged_eofs=True
            ) as tls:
                response = self._exchange(tls)
                self._session = tls.session
                return response

    def _exchange(self, connection: socket.socket) -> bytes:
        connection.sendall(self._request)
        return b"".join(iter(lambda: connection.recv(65536), b""))

    def close(self) -> None:
        self._db.close()


def cost() -> dict[str, Any]:
    """Return the median CPU milliseconds of each kind of poll, with the least and the most of all rounds."""
    with ExitStack() as stack:
        kinds: dict[str, Callable[[], None]] = {}
        for tls in (False, True):
            directory = stack.enter_context(workplace())
            daemon = Daemon(ACCOUNTS, "concurrency: 1", 0.0, directory, stack, tls=tls)
            context = ssl.create_default_context(cafile=directory / "ca.pem") if tls else None
            least = Least(daemon.vendor_url, daemon.first_key, directory / "least.db", context)
            fleet = stack.enter_context(Fleet(daemon.config, Transports().of))
            stack.callback(least.close)
            over = " over TLS" if tls else ""
            kinds[f"the least{over}"], kinds[f"a poll{over}"] = least.poll, fleet.poll
            if not tls:
                kinds["a poll without history"] = partial(_without_history, fleet.poll)
        figures: dict[str, list[float]] = {name: [] for name in kinds}
        for poll in kinds.values():
            poll()
        for _ in range(ROUNDS):
            for name, poll in kinds.items():
                begin = time.thread_time()
                poll()
                figures[name].append(1e3 * (time.thread_time() - begin) / ACCOUNTS)
    rows = [
        {"name": name, "cpu_ms": statistics.median(found), "spread": [min(found), max(found)]}
        for name, found in figures.items()
    ]
    return {"rows": rows}


def _without_history(poll: Callable[[], None]) -> None:
    def nothing(*_: object) -> None:
        """Keep no reading and no poll."""

    with (
        mock.patch("exporter.state.retention.reading_of", nothing),
        mock.patch("exporter.state.retention.poll_of", nothing),
    ):
        poll()
