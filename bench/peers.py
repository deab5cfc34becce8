"""Runs the programs that a user could run in the exporter's place, with the same samples.

nginx sends a ready file, which is the limit of the machine. prometheus_client and query-exporter come from their own
environment, pushgateway and nginx from Debian, json_exporter from ``$JSON_EXPORTER``.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry

from bench.processes import ROOT, Process, free_port
from bench.scrapes import Client, Target, post
from bench.workload import LABELS, Row, Workload, account_keys, label_values
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.family import Family
from exporter.metrics.page import Exposition
from exporter.metrics.render import Renderer
from exporter.runtime.clock import SystemClock

ENVIRONMENT = ROOT / ".venv" / "bench"
REQUIREMENTS = ROOT / "bench" / "requirements.txt"


class Missing(Exception):
    """A peer is not on this machine. The text says how to get it."""


def environment() -> Path:
    """Return the interpreter of the peers' environment. Make the environment if it does not exist."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        print(f"making {ENVIRONMENT.name} for the peers", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        except subprocess.CalledProcessError:
            raise Missing(f"its packages could not be installed: pip install -r {REQUIREMENTS.name}") from None
        shutil.copy(REQUIREMENTS, stamp)
    return python


def program(name: str, package: str) -> str:
    """Return the path of a Debian program. Raises Missing."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise Missing(f"apt-get install --no-install-recommends {package}")
    return path


class Peers:
    """Starts each peer for ``count`` accounts. ``stack`` stops them."""

    NAMES = ("nginx", "exporter", "pushgateway", "prometheus_client", "query-exporter", "json_exporter")

    def __init__(self, count: int, directory: Path, stack: ExitStack) -> None:
        self._count, self._directory, self._stack = count, directory, stack
        keys, workload = account_keys(count), Workload(directory)
        self._last = keys[-1][1].encode()
        self._columns: list[tuple[Family, list[Row]]] = [(family, []) for family in FAMILIES]
        page = Exposition(FAMILIES, CollectorRegistry(), SystemClock())
        page.reset(keys)
        for number, key in enumerate(keys):
            labels, rows = label_values(key), workload.rows(number, 0)
            for (_, column), (_, samples) in zip(self._columns, rows, strict=True):
                column += [((*labels, *own), value) for own, value in samples]
            render = Renderer(LABELS, labels)
            page.put(key, [render(family, samples) for family, samples in rows])
        self._columns = [(family, column) for family, column in self._columns if column]
        self._text = page.body("", "").data

    def start(self, name: str) -> list[Target]:
        """Start a peer and return its targets. Raises Missing."""
        make: dict[str, Callable[[], list[Target]]] = {
            "nginx": self._nginx,
            "exporter": self._exporter,
            "pushgateway": self._pushgateway,
            "prometheus_client": self._prometheus_client,
            "query-exporter": self._query_exporter,
            "json_exporter": self._json_exporter,
        }
        return make[name]()

    def _exporter(self) -> list[Target]:
        process = self._run("exporter", [sys.executable, "-m", "bench.page", str(self._count)])
        base = process.wait_for_line("serving").split()[1]
        url = f"{base}/metrics"
        start = process.wait_for(url, until=lambda text: self._last in text)

        def scrape(encoding: str) -> None:
            client = Client(url, encoding)
            client.scrape()
            client.close()

        def target(name: str, prepare: Callable[[str], object], at_most: int = 1_000_000) -> Target:
            return Target(f"exporter, {name}", url, process, prepare, start, at_most)

        return [
            # The second of two scrapes, as a pair of Prometheus servers makes them. All bytes are ready.
            target("nothing changed", scrape),
            target("own metrics changed", lambda encoding: time.sleep(1.0), 10),
            target("1 % changed", lambda encoding: post(f"{base}/change?share=0.01")),
            target(
                "all changed", lambda encoding: post(f"{base}/change?share=1"), max(5, min(20, 20_000 // self._count))
            ),
        ]

    def _nginx(self) -> list[Target]:
        port, directory = free_port(), self._directory
        (directory / "metrics").write_bytes(self._text)
        (directory / "metrics.gz").write_bytes(gzip.compress(self._text, 6))
        config = directory / "nginx.conf"
        config.write_text(
            f"pid {directory}/nginx.pid; error_log stderr; daemon off; master_process off;"
            " events {} http { access_log off; gzip_static on; keepalive_requests 1000000; sendfile on;"
            f" server {{ listen 127.0.0.1:{port}; root {directory}; default_type text/plain; }} }}"
        )
        argv = [program("nginx", "nginx-light"), "-p", str(directory), "-e", "stderr", "-c", str(config)]
        return [self._target("nginx, a ready file", self._run("nginx", argv), port)]

    def _pushgateway(self) -> list[Target]:
        port = free_port()
        gateway = program("prometheus-pushgateway", "prometheus-pushgateway")
        argv = [gateway, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        process = self._run("pushgateway", argv)
        base = f"http://127.0.0.1:{port}"
        process.wait_for(f"{base}/-/ready")
        # In one push, because a group for each account, as separate jobs would make them, is much slower.
        push = urllib.request.Request(f"{base}/metrics/job/bench", data=self._text, method="PUT")
        urllib.request.urlopen(push, timeout=600).close()
        return [self._target("pushgateway", process, port)]

    def _prometheus_client(self) -> list[Target]:
        port, samples = free_port(), self._directory / "samples.json"
        samples.write_text(
            json.dumps(
                [
                    (family.name, family.type, family.help, LABELS + family.labels, column)
                    for family, column in self._columns
                ]
            )
        )
        argv = [str(environment()), str(ROOT / "bench" / "collector.py"), str(samples), str(port)]
        return [self._target("prometheus_client, a collector", self._run("prometheus_client", argv), port)]

    def _query_exporter(self) -> list[Target]:
        port, database, config = free_port(), self._directory / "samples.db", self._directory / "queries.json"
        metrics, queries = {}, {}
        connection = sqlite3.connect(database)
        for family, column in self._columns:
            labels = LABELS + family.labels
            names = ", ".join(f'"{name}"' for name in (*labels, family.name))
            connection.execute(f"CREATE TABLE {family.name} ({names})")
            connection.executemany(
                f"INSERT INTO {family.name} VALUES ({', '.join('?' * (len(labels) + 1))})",  # noqa: S608 - our own names
                ((*values, value) for values, value in column),
            )
            metrics[family.name] = {"type": "gauge", "description": family.help, "labels": labels}
            queries[family.name] = {
                "databases": ["db"],
                "interval": 86400,
                "metrics": [family.name],
                "sql": f"SELECT {names} FROM {family.name}",  # noqa: S608 - our own names
            }
        connection.commit()
        connection.close()
        databases = {"db": {"dsn": f"sqlite:///{database}"}}
        config.write_text(json.dumps({"databases": databases, "metrics": metrics, "queries": queries}))
        query_exporter = environment().parent / "query-exporter"
        argv: list[str | Path] = [query_exporter, "--host", "127.0.0.1", "--port", str(port), "--config", config]
        process = self._run("query-exporter", argv)
        url = f"http://127.0.0.1:{port}/metrics"
        # Its queries run one after another, so it is ready when the last account is in every family.
        start = process.wait_for(url, until=lambda text: text.count(self._last) >= self._text.count(self._last))
        return [Target("query-exporter", url, process, start=start)]

    def _json_exporter(self) -> list[Target]:
        """Use one probe for all accounts, because a probe for each would be a scrape for each."""
        path = os.environ.get("JSON_EXPORTER")
        if not path:
            raise Missing("set JSON_EXPORTER to the path of one")
        [source] = self._nginx()
        (self._directory / "accounts").write_text(json.dumps({"accounts": self._accounts()}))
        port, config = free_port(), self._directory / "json_exporter.yml"
        values = {family.name.removeprefix("video_api_"): f"{{ .{family.name} }}" for family, _ in self._plain()}
        metric = {
            "name": "video_api",
            "type": "object",
            "help": "Usage.",
            "path": "{ .accounts[*] }",
            "labels": {name: f"{{ .{name} }}" for name in LABELS},
            "values": values,
        }
        config.write_text(json.dumps({"modules": {"all": {"metrics": [metric]}}}))
        argv: list[str | Path] = [
            path,
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        process = self._run("json_exporter", argv)
        process.wait_for(f"http://127.0.0.1:{port}/metrics")
        target = source.url.replace("/metrics", "/accounts")
        url = f"http://127.0.0.1:{port}/probe?module=all&target={target}"
        start = process.wait_for(url, until=lambda text: self._last in text)
        return [Target("json_exporter, one probe for all", url, process, start=start)]

    def _plain(self) -> list[tuple[Family, list[Row]]]:
        """Return the families without own labels, because json_exporter maps a JSON field to one."""
        return [(family, column) for family, column in self._columns if not family.labels]

    def _accounts(self) -> list[dict[str, object]]:
        """Return each account's figures as one JSON object, as an API for all accounts would."""
        accounts: list[dict[str, object]] = [
            dict(zip(LABELS, label_values(key), strict=True)) for key in account_keys(self._count)
        ]
        for family, column in self._plain():
            for account, (_, value) in zip(accounts, column, strict=True):
                account[family.name] = value
        return accounts

    def _run(self, name: str, argv: Sequence[str | Path]) -> Process:
        return self._stack.enter_context(Process(argv, self._directory / f"{name}.log"))

    def _target(self, name: str, process: Process, port: int) -> Target:
        url = f"http://127.0.0.1:{port}/metrics"
        return Target(name, url, process, start=process.wait_for(url, until=lambda text: self._last in text))
