"""Measures what a poll costs with its state in a file and in PostgreSQL, by the number of replicas.

The exporters reach the database through a relay, which counts what passes. Its own CPU is in no figure.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.daemon import Daemon
from bench.processes import Process, cpu_seconds, workplace
from tests.state.postgresql import server

INTERVAL_SECONDS = 10


class Relay:
    """Passes connections from 127.0.0.1 on to a server's socket, and counts its messages and bytes."""

    def __init__(self) -> None:
        self.port = 0
        self.statements = self.round_trips = self.bytes = 0

    async def serve(self, socket: Path, is_ready: threading.Event) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_unix_connection(str(socket))
            await asyncio.gather(self._pass(reader, forth, is_client=True), self._pass(back, writer, is_client=False))

        listening = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        is_ready.set()
        await listening.serve_forever()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool) -> None:
        head = b"" if is_client else b"?"  # a client's first message has a length alone
        try:
            while True:
                start = await reader.readexactly(4 + len(head))
                body = await reader.readexactly(int.from_bytes(start[-4:], "big") - 4)
                # Q is a whole statement, E runs a prepared one, and S or Q is what the client waits for.
                kind = start[:1] if head and is_client else b""
                self.statements += kind in (b"Q", b"E")
                self.round_trips += kind in (b"Q", b"S")
                self.bytes += len(start) + len(body)
                writer.write(start + body)
                await writer.drain()
                head = b"?"
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@contextmanager
def relay(socket: Path) -> Iterator[Relay]:
    passing, is_ready = Relay(), threading.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        task = loop.create_task(passing.serve(socket, is_ready))
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            for each in asyncio.all_tasks(loop):
                each.cancel()
            loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=run)
    thread.start()
    assert is_ready.wait(10)
    try:
        yield passing
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join()
        loop.close()


def compare(count: int, replicas: tuple[int, ...], window: float) -> list[dict[str, Any]]:
    """Poll this many accounts every ten seconds with a file, and with each number of replicas on a database."""
    rows = [{"state": "file", **_watched(count, 1, window)}]
    with server() as running, relay(running.folder / ".s.PGSQL.5432") as passing:
        assert running.process is not None
        for number in replicas:
            name = running.new_database().partition("///")[2].partition("?")[0]
            url = f"postgresql://exporter@127.0.0.1:{passing.port}/{name}?sslmode=disable&gssencmode=disable"
            rows.append({"state": "database", **_watched(count, number, window, url, passing, running.process.pid)})
    return rows


def _watched(
    count: int, replicas: int, window: float, url: str = "", passing: Relay | None = None, pid: int = 0
) -> dict[str, Any]:
    passing = passing or Relay()
    with workplace() as directory, ExitStack() as stack:
        daemon = Daemon(count, f"interval: {INTERVAL_SECONDS}s, timeout: 5s, concurrency: 64", 0.0, directory, stack)
        if url:
            daemon.state = f"url: '{url}'"
            daemon.configure(count)
        exporters: list[tuple[str, Process]] = []
        for _ in range(replicas):
            daemon.start()
            daemon.until("/-/ready")
            exporters.append((daemon.url, daemon.process))
        time.sleep(INTERVAL_SECONDS * 1.5)  # until the polls are spread evenly, and among all replicas

        def counted() -> list[float]:
            polls = 0.0
            for daemon.url, _ in exporters:
                polls += daemon.own()["video_api_exporter_poll_lag_seconds_count"]
            used = sum(process.cpu() for _, process in exporters), cpu_seconds(pid) if pid else 0.0
            return [polls, *used, passing.statements, passing.round_trips, passing.bytes]

        before, begin = counted(), time.perf_counter()
        time.sleep(window)
        polls, cpu, server_cpu, statements, round_trips, sent = (
            now - then for now, then in zip(counted(), before, strict=True)
        )
        return {
            "replicas": replicas,
            "accounts": count,
            "polls_per_second": polls / (time.perf_counter() - begin),
            "cpu_per_poll_ms": 1e3 * cpu / polls,
            "server_cpu_per_poll_ms": 1e3 * server_cpu / polls,
            "statements_per_poll": statements / polls,
            "round_trips_per_poll": round_trips / polls,
            "bytes_per_poll": sent / polls,
        }
