"""Measures an exporter with more accounts than one should have, which has their states and polls hardly any."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.daemon import Daemon
from bench.fleet import fill_state
from bench.polling import reload
from bench.processes import workplace
from bench.scrapes import Client
from bench.workload import account_keys

PATHS = ("/metrics", "/-/healthy", "/-/ready", "/", "/?q=customer-0000+media", "/?sort=-balance", "/api/v1/accounts")


def many(count: int) -> dict[str, Any]:
    """Return the seconds of the start, of each path, of a reload, and of a health check beside each of them.

    ``first`` has the seconds until the first byte of a body.
    """
    with workplace() as directory, ExitStack() as stack:
        daemon = Daemon(count, "interval: 24h, timeout: 5s", 0.0, directory, stack)
        fill_state(directory / "state.db", count, 86400.0)
        daemon.start()
        result: dict[str, Any] = {"accounts": count, "ready_s": daemon.until("/-/ready")}
        result["memory_at_start_mb"] = daemon.process.memory()
        health: dict[str, float] = {}
        result |= {"first": {}, "endpoints": {}, "health": health}
        for path in (*PATHS, "/accounts/" + "/".join(account_keys(1)[0])):
            took, health[path] = _beside_health(daemon.url, partial(_twice, daemon.url + path))
            result["first"][path], result["endpoints"][path] = took
        result["memory_mb"] = daemon.process.memory()
        result["reload_s"], health["reload"] = _beside_health(daemon.url, partial(reload, daemon))
        result["page_after_reload_s"] = _scrape(daemon.url)
        result["memory_after_reload_mb"] = daemon.process.memory()
        result["memory_peak_mb"] = daemon.process.memory("VmHWM")
        return result


def _beside_health(url: str, work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of some work, and the seconds of the slowest health check meanwhile."""
    checks: list[float] = []
    done = threading.Event()

    def check() -> None:
        checks.append(_seconds(url + "/-/healthy")[1])
        while not done.wait(0.02):  # thousands of checks a second would slow down what is measured
            checks.append(_seconds(url + "/-/healthy")[1])

    thread = threading.Thread(target=check)
    thread.start()
    try:
        result = work()
    finally:
        done.set()
        thread.join()
    return result, max(checks)


def _scrape(url: str) -> float:
    client = Client(url + "/metrics", "gzip")
    try:
        return client.scrape()
    finally:
        client.close()


def _twice(url: str) -> tuple[float, ...]:
    return tuple(map(min, zip(_seconds(url), _seconds(url), strict=True)))


def _seconds(url: str) -> tuple[float, float]:
    """Return the seconds until the first byte of the body and until the last."""
    begin = time.perf_counter()
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=120) as response:
        response.read(1)
        first = time.perf_counter() - begin
        while response.read(1 << 16):
            pass
    return first, time.perf_counter() - begin
