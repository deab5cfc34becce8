"""Scrapes over one kept connection, as Prometheus does, and measures the cost for the server."""

from __future__ import annotations

import gzip
import http.client
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from bench.processes import Process

ACCEPT = "text/plain;version=0.0.4"
"""The format that all peers can write."""


@dataclass
class Target:
    """An address to scrape. ``prepare`` is called with the encoding before each scrape and is not timed."""

    name: str
    url: str
    process: Process
    prepare: Callable[[str], object] = lambda encoding: None
    start: float | None = None
    """Seconds from the process's start to its first whole page."""
    at_most: int = 1_000_000
    """The number of scrapes, if ``prepare`` is slow."""


@dataclass
class Result:
    """All scrapes of a target with one encoding. Times are in ms."""

    name: str
    encoding: str
    p10: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    wire: int = 0
    """Bytes of the body as sent."""
    packed: int = 0
    """Bytes of the same text with ``gzip -9``."""
    series: int = 0
    memory: float = 0.0
    scrapes: int = 0
    start: float | None = None
    times: list[float] = field(default_factory=list)

    def finish(self) -> None:
        ordered = sorted(self.times)
        self.scrapes = len(ordered)
        self.p10, self.p50, self.p90, self.p99 = (
            1e3 * ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in (0.1, 0.5, 0.9, 0.99)
        )
        self.cpu = 1e3 * self.cpu / len(ordered)

    def row(self) -> dict[str, object]:
        row = asdict(self)
        del row["times"]
        return row


class Client:
    """A minimal HTTP client, so that mostly the server is timed. It reads bodies and does not unpack them."""

    def __init__(self, url: str, encoding: str, accept: str = ACCEPT) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        path = parts.path + ("?" + parts.query if parts.query else "")
        host = f"{self._address[0]}:{self._address[1]}"
        headers = f"Host: {host}\r\nAccept: {accept}\r\nAccept-Encoding: {encoding}\r\n"
        self._request = f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode()
        self._socket: socket.socket | None = None
        self._buffer = bytearray(1 << 20)
        self._size = 0
        self._body = 0, 0, False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def scrape(self) -> float:
        """Return the seconds from before the request (or before the connection, if it makes one) to the last byte."""
        begin = time.perf_counter()
        if self._socket is None:
            self._socket = socket.create_connection(self._address, 600)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(self._request)
        self._size = 0
        while (end := self._buffer.find(b"\r\n\r\n", 0, self._size)) < 0:
            self._receive()
        head = bytes(self._buffer[:end]).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
            raise RuntimeError(f"responded {bytes(self._buffer[: self._size])[:300]!r}")
        self._receive_body(end + 4, head)
        return time.perf_counter() - begin

    def _receive_body(self, start: int, head: bytes) -> None:
        chunked = b"transfer-encoding: chunked" in head
        length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        if length:
            while self._size < start + int(length):
                self._receive()
        elif chunked:
            while not self._buffer.endswith(b"\r\n0\r\n\r\n", 0, self._size):
                self._receive()
        else:
            while self._receive(closing=True):
                pass
        if b"connection: close" in head or head.startswith(b"http/1.0") or not (length or chunked):
            self.close()
        self._body = start, self._size, chunked

    def _receive(self, *, closing: bool = False) -> int:
        assert self._socket is not None
        if self._size == len(self._buffer):
            self._buffer.extend(bytes(len(self._buffer)))
        with memoryview(self._buffer) as view:
            got = self._socket.recv_into(view[self._size :])
        if not got and not closing:
            raise RuntimeError("the server closed the connection before its response's end")
        self._size += got
        return got

    def body(self) -> tuple[int, bytes]:
        """Return the size of the last body as it was sent, and its text."""
        start, end, chunked = self._body
        data = bytes(self._buffer[start:end])
        if chunked:
            chunks, at = [], 0
            while size := int(data[at : (line := data.index(b"\r\n", at))].split(b";")[0], 16):
                chunks.append(data[line + 2 : line + 2 + size])
                at = line + 4 + size
            data = b"".join(chunks)
        return len(data), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def post(url: str) -> None:
    """Send an empty POST and wait for its response."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
    try:
        connection.request("POST", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{url} responded {response.status}: {response.read()[:300]!r}")
        response.read()
    finally:
        connection.close()


def measure(targets: Sequence[Target], encoding: str, rounds: int, seconds: float) -> list[Result]:
    """Scrape all targets in turn, so that other load affects them alike.

    It ends after ``rounds``. A target that was scraped for ``seconds`` takes no further part, but each gets at
    least three scrapes.
    """
    results = [Result(target.name, encoding, start=target.start) for target in targets]
    clients = [Client(target.url, encoding) for target in targets]
    try:
        for target, client, result in zip(targets, clients, results, strict=True):
            target.prepare(encoding)
            client.scrape()
            result.wire, text = client.body()
            result.packed = len(gzip.compress(text, 9)) if encoding == "gzip" else 0
            result.series = sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))
            client.scrape()
        for _ in range(rounds):
            for target, client, result in zip(targets, clients, results, strict=True):
                enough = sum(result.times) > seconds and len(result.times) >= 3
                if enough or len(result.times) >= target.at_most:
                    continue
                target.prepare(encoding)
                before = target.process.cpu()
                result.times.append(client.scrape())
                result.cpu += target.process.cpu() - before
    finally:
        for client in clients:
            client.close()
    for target, result in zip(targets, results, strict=True):
        result.memory = target.process.memory()
        result.finish()
    return results
