"""Measures the cost of a connection for each request, compared with a kept connection, plain and over TLS."""

from __future__ import annotations

import http.client
import secrets
import ssl
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme

from bench.processes import Process, workplace

BATCH = 10


@dataclass
class Client:
    """Requests the usage of an account repeatedly, and keeps the time of each request."""

    name: str
    url: str
    key: str
    context: ssl.SSLContext | None = None
    keep: bool = False
    resume: bool = False
    walls: list[float] = field(default_factory=list)
    cpu: float = 0.0
    _kept: http.client.HTTPConnection | None = None
    _session: ssl.SSLSession | None = None

    def batch(self) -> None:
        cpu = time.process_time()
        for _ in range(BATCH):
            begin = time.perf_counter()
            self._get()
            self.walls.append(time.perf_counter() - begin)
        self.cpu += time.process_time() - cpu

    def _get(self) -> None:
        connection = self._kept or self._connect()
        connection.request("GET", urlsplit(self.url).path + "/usage", headers={"X-API-Key": self.key})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{self.name}: HTTP {response.status}")
        if self.keep:
            self._kept = connection
            return
        if self.resume:
            assert isinstance(connection.sock, ssl.SSLSocket)
            self._session = connection.sock.session
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = urlsplit(self.url).hostname or "", urlsplit(self.url).port or 0
        connection = http.client.HTTPConnection(host, port)
        connection.connect()
        if self.context is not None:
            tls = self.context.wrap_socket(connection.sock, server_hostname=host, session=self._session)
            if self._session is not None and not tls.session_reused:
                raise RuntimeError("the server did not resume the session")
            connection.sock = tls
        return connection

    def row(self) -> dict[str, Any]:
        count = len(self.walls)
        wall, cpu = 1e3 * statistics.median(self.walls), 1e3 * self.cpu / count
        return {"name": self.name, "wall_ms": wall, "cpu_ms": cpu, "requests": count}

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()


def connections(requests: int) -> dict[str, Any]:
    """Return the times of the requests of each kind. The kinds take turns, so that other load affects them alike."""
    with workplace() as directory:
        key = secrets.token_hex(16)
        (directory / "keys").write_text(key)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
        with _vendor(directory) as plain_vendor, _vendor(directory, directory / "server.pem") as tls_vendor:
            plain, tls = (_url(vendor) for vendor in (plain_vendor, tls_vendor))
            context = ssl.create_default_context(cafile=directory / "ca.pem")
            clients = [
                Client("plain, kept", plain, key, keep=True),
                Client("plain, a new one each", plain, key),
                Client("TLS, kept", tls, key, context, keep=True),
                Client("TLS, a new one each, session resumed", tls, key, context, resume=True),
                Client("TLS, a new one each, whole handshake", tls, key, context),
            ]
            for _ in range(max(1, requests // BATCH)):
                for client in clients:
                    client.batch()
            for client in clients:
                client.close()
            return {"rows": [client.row() for client in clients]}


def _vendor(directory: Path, *certificate: Path) -> Process:
    log = directory / ("tls.log" if certificate else "plain.log")
    return Process([sys.executable, "-m", "bench.vendor", directory / "keys", "0", *certificate], log)


def _url(vendor: Process) -> str:
    return vendor.wait_for_line("serving").split()[1]
