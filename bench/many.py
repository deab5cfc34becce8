"""Measures an exporter with more accounts than one should have, which has their states and polls hardly any."""

from __future__ import annotations

import threading
import time
import urllib.request
from contextlib import ExitStack
from typing import Any

from bench.daemon import Daemon
from bench.fleet import fill_state
from bench.polling import reload
from bench.processes import workplace
from bench.scrapes import Client

ENDPOINTS = ("/metrics", "/-/healthy", "/-/ready", "/", "/api/v1/accounts")


def many(count: int) -> dict[str, Any]:
    """Return the seconds of the start, of each endpoint, of a reload, and of a health check beside each page."""
    with workplace() as directory, ExitStack() as stack:
        daemon = Daemon(count, "interval: 24h, timeout: 5s", 0.0, directory, stack)
        fill_state(directory / "state.db", count, 86400.0)
        daemon.start()
        result: dict[str, Any] = {"accounts": count, "ready_s": daemon.until("/-/ready")}
        result["memory_at_start_mb"] = daemon.process.memory()
        result["endpoints"] = {path: min(_seconds(daemon.url + path) for _ in range(2)) for path in ENDPOINTS}
        result["memory_mb"] = daemon.process.memory()
        result["page_s"], result["health_meanwhile_s"] = _page_and_health(daemon.url)
        result["reload_s"] = reload(daemon)
        result["page_after_reload_s"], result["health_after_reload_s"] = _page_and_health(daemon.url)
        result["memory_peak_mb"] = daemon.process.memory("VmHWM")
        return result


def _page_and_health(url: str) -> tuple[float, float]:
    """Return the seconds for a page with gzip, and of the slowest health check meanwhile."""
    checks: list[float] = []
    done = threading.Event()

    def check() -> None:
        while not done.is_set():
            checks.append(_seconds(url + "/-/healthy"))

    thread = threading.Thread(target=check)
    thread.start()
    client = Client(url + "/metrics", "gzip")
    try:
        page = client.scrape()
    finally:
        done.set()
        thread.join()
        client.close()
    return page, max(checks)


def _seconds(url: str) -> float:
    begin = time.perf_counter()
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=120) as response:
        response.read()
    return time.perf_counter() - begin
