"""Measures for how long making a page keeps everything else of the process waiting.

A thread and an event loop wake up every millisecond. What they oversleep is time for which one call held the
interpreter, because other threads get it back after 5 ms between two calls.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.fleet import local_fleet
from bench.page import Page
from bench.processes import workplace
from bench.workload import account_keys
from exporter.runtime import garbage

EVERY = 0.001
"""Seconds between two wake-ups."""


class Watch:
    """The longest pauses of a thread and of an event loop, in seconds."""

    def __init__(self) -> None:
        self.thread = self.loop = 0.0
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._sleep), threading.Thread(target=asyncio.run, args=(self._beat(),))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _sleep(self) -> None:
        before = time.perf_counter()
        while not self._stop.is_set():
            time.sleep(EVERY)
            now = time.perf_counter()
            self.thread, before = max(self.thread, now - before - EVERY), now

    async def _beat(self) -> None:
        before = time.perf_counter()
        while not self._stop.is_set():
            await asyncio.sleep(EVERY)
            now = time.perf_counter()
            self.loop, before = max(self.loop, now - before - EVERY), now


def pauses(count: int) -> dict[str, Any]:
    """Return the seconds of each step at this many accounts, and the longest pauses within it."""
    with workplace() as directory:
        page = Page(count, directory)
    keys = account_keys(count)
    steps: dict[str, Callable[[], object]] = {
        "nothing": lambda: time.sleep(1.0),
        "5 % of the accounts change": lambda: page.change(0.05),
        "page with gzip": lambda: page.exposition.body("text/plain", "gzip"),
        "page with gzip for OpenMetrics, all new": lambda: page.exposition.body(
            "application/openmetrics-text;version=1.0.0", "gzip"
        ),
        "page without compression": lambda: page.exposition.body("text/plain", "identity"),
        "accounts after a reload": lambda: page.exposition.reset(keys[1:]),
    }
    rows = [_row(name, step) for name, step in steps.items()]
    with workplace() as directory, local_fleet(count, directory) as fleet:
        fleet.poll()
        around_search = garbage.collect()
        searches = _Searches()
        rows.append(_row("all accounts are polled", fleet.poll))
        gc.callbacks.remove(searches)
        gc.callbacks.remove(around_search)
    longest = max(searches.seconds, default=0.0)
    name = "the longest search for garbage meanwhile"
    rows.append({"name": name, "seconds": longest, "thread_ms": 1e3 * longest, "loop_ms": 1e3 * longest})
    return {"accounts": count, "rows": rows}


def _row(name: str, step: Callable[[], object]) -> dict[str, Any]:
    watch, begin = Watch(), time.perf_counter()
    with watch.watching():
        step()
        seconds = time.perf_counter() - begin
    return {"name": name, "seconds": seconds, "thread_ms": 1e3 * watch.thread, "loop_ms": 1e3 * watch.loop}


class _Searches:
    """The seconds of every search for garbage."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begin = 0.0
        gc.callbacks.append(self)

    def __call__(self, phase: str, search: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._begin = now
        else:
            self.seconds.append(now - self._begin)
