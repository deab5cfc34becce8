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

from bench.page import Page
from bench.processes import workplace
from bench.workload import account_keys

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
        "accounts after a reload": lambda: page.exposition.reset(keys),
        "search for garbage": gc.collect,
    }
    rows = []
    for name, step in steps.items():
        watch, begin = Watch(), time.perf_counter()
        with watch.watching():
            step()
            seconds = time.perf_counter() - begin
        rows.append({"name": name, "seconds": seconds, "thread_ms": 1e3 * watch.thread, "loop_ms": 1e3 * watch.loop})
    return {"accounts": count, "rows": rows}
