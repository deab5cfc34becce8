"""Measures the time to make the status page and to draw it, and its effect on scrapes at the same time."""

from __future__ import annotations

import gzip
import shutil
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from bench.processes import Process, workplace
from bench.workload import configuration
from exporter.config.load import load
from exporter.demo import apis
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.options import Options
from exporter.providers import PROVIDERS
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Failure
from exporter.runtime.clock import SystemClock
from exporter.status.routes import routes as pages
from exporter.web.messages import Request, Response, Route
from exporter.web.server import Server

# From the click to the frame after the one in which everything is shown.
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"

# Asks for the page again as soon as it has got it, like many people at once.
READER = """
import sys, urllib.request
while True:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": "gzip"})).read()
"""


def page(count: int, rounds: int = 15) -> dict[str, Any]:
    """Return times in milliseconds and sizes in bytes for this many accounts, every tenth of which fails."""
    with workplace() as directory, _serving(count, directory) as (url, make):
        made = [_timed(make) for _ in range(rounds)]
        body = make().body
        drawn, work = _drawn(url, rounds)
        quiet = _scrapes(url, rounds * 20)
        with Process([sys.executable, "-c", READER, url], directory / "reader.log"):
            busy = _scrapes(url, rounds * 20)
    return {
        "accounts": count,
        "made": statistics.median(made),
        "drawn": statistics.median(drawn),
        "drawn_at_worst": max(drawn),
        "browser_cpu": statistics.median(work),
        "bytes": len(body),
        "gzip_bytes": len(gzip.compress(body, 1)),
        "scrape": quiet,
        "scrape_meanwhile": busy,
    }


@contextmanager
def _serving(count: int, directory: Path) -> Iterator[tuple[str, Callable[[], Response]]]:
    path = directory / "config.yaml"
    keys = [f"key{number}" for number in range(count)]
    path.write_text("\n".join(configuration(count, "http://127.0.0.1:9", keys, "interval: 5m")))
    clock = SystemClock()
    exposition = Exposition(FAMILIES, SelfMetrics("0", "", 0, 1).registry, clock)
    store = Store(exposition, clock)
    config = load(path, PROVIDERS, {})
    store.replace(config.accounts, config.label_names, {})
    now = clock.wall()
    usage = parse_usage({"status": "success", "data": apis.vidnavigator_usage(generated_at=now)}, ParseOptions())
    state = AccountState({"usage": usage}, {"usage": now}, last_poll=now, last_success=now, next_poll=now + 9, polls=9)
    failed = replace(state, failure=Failure("timeout", "no whole response within 10 s"))
    for number, account in enumerate(config.accounts):
        store.publish(account, failed if number % 10 == 0 else state)
    routes = pages(store, None, clock, Options(path), "0")

    def metrics(request: Request) -> Response:
        body = exposition.body(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))
        return Response(200, body.data, body.content_type)

    server = Server({**routes, "/metrics": Route(metrics)}, ["127.0.0.1:0"])
    server.bind()
    server.start()
    try:
        yield server.addresses[0], lambda: _response(routes["/"])
    finally:
        server.stop(1.0)


def _response(route: Route) -> Response:
    response = route.handler(Request("GET", "/", {}, {}))
    assert isinstance(response, Response)
    return response


def _drawn(url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return for each round the time until the page is drawn, and the CPU time of the browser's main thread."""
    times, work = [], []
    switches = ["--disable-gpu", "--disable-quic", "--no-proxy-server", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=switches)
        for _ in range(rounds):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            devtools = tab.context.new_cdp_session(tab)
            devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(url, wait_until="load")
            times.append(tab.evaluate(DRAWN))
            metrics = devtools.send("Performance.getMetrics")["metrics"]
            work.append(next(each["value"] for each in metrics if each["name"] == "TaskDuration") * 1000)
            tab.close()
        browser.close()
    return times, work


def _scrapes(url: str, times: int) -> dict[str, float]:
    took = sorted(_timed(lambda: _get(url + "/metrics")) for _ in range(times))
    return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}


def _get(url: str) -> None:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000
