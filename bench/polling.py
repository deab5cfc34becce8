"""Measures how many polls a process can do, what they cost, and whether its memory stays flat."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Any

from bench.daemon import Daemon
from bench.fleet import fill_state
from bench.processes import workplace
from bench.scrapes import Client, post

IN_TIME = "2.0"
"""Seconds of lag up to which a poll started in time. It must be a bucket of the lag's histogram."""
SETTLE = 5.0
"""Seconds for the polls that became due during the start."""
LATENCY = 0.3
"""Seconds that the simulated vendor takes for each response."""


def capacity(count: int, interval: int, concurrency: int, window: float) -> dict[str, Any]:
    """Poll this many accounts every ``interval`` seconds, and watch for ``window`` seconds.

    The exporter starts with the states of an earlier run, so its polls are spread evenly from the start.
    """
    with workplace() as directory, ExitStack() as stack:
        poll = f"interval: {interval}s, timeout: 5s, concurrency: {concurrency}"
        daemon = Daemon(count, poll, LATENCY, directory, stack)
        fill_state(directory / "state.db", count, interval)
        daemon.start()
        ready = daemon.until("/-/ready")
        time.sleep(SETTLE)
        before, cpu, vendor = daemon.own(), daemon.process.cpu(), daemon.vendor.cpu()
        begin, every = time.perf_counter(), min(15.0, window / 4)
        client = Client(daemon.url + "/metrics", "gzip")
        while (passed := time.perf_counter() - begin) < window:
            time.sleep(min(every, window - passed))
            client.scrape()
        seconds = time.perf_counter() - begin
        cpu, vendor = daemon.process.cpu() - cpu, daemon.vendor.cpu() - vendor
        after = daemon.own()
        polls = _difference(before, after, "poll_lag_seconds_count")
        late = polls - _difference(before, after, f"poll_lag_seconds_bucket {IN_TIME}")
        memory = daemon.process.memory()
        times = []
        for _ in range(100):
            time.sleep(0.1)
            times.append(client.scrape())
        times.sort()
        client.close()
        return {
            "accounts": count,
            "interval": interval,
            "concurrency": concurrency,
            "ready_s": ready,
            "polls": int(polls),
            "polls_per_second": polls / seconds,
            "in_time": 1 - late / polls,
            "mean_lag_ms": 1e3 * _difference(before, after, "poll_lag_seconds_sum") / polls,
            "cpu_share": cpu / seconds,
            "cpu_per_poll_ms": 1e3 * cpu / polls,
            "vendor_cpu_share": vendor / seconds,
            "scrape_p50_ms": 1e3 * times[50],
            "scrape_p99_ms": 1e3 * times[-1],
            "memory_mb": memory,
            "memory_peak_mb": daemon.process.memory("VmHWM"),
            "reload_s": reload(daemon),
        }


def reload(daemon: Daemon) -> float:
    """Return the seconds for a reload that removes an account."""
    daemon.configure(daemon.count - 1)
    begin = time.perf_counter()
    post(daemon.url + "/-/reload")
    return time.perf_counter() - begin


def _difference(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after["video_api_exporter_" + name] - before["video_api_exporter_" + name]


def growth(count: int, minutes: float) -> dict[str, Any]:
    """Poll at the shortest interval, scrape every five seconds, and watch memory, threads and files."""
    with workplace() as directory, ExitStack() as stack:
        daemon = Daemon(count, "interval: 10s, timeout: 5s, concurrency: 64", 0.0, directory, stack)
        daemon.start()
        daemon.until("/-/ready")
        client = Client(daemon.url + "/metrics", "gzip")
        begin, samples = time.perf_counter(), []
        while (passed := time.perf_counter() - begin) < 60 * minutes:
            client.scrape()
            folder = f"/proc/{daemon.process.pid}/"
            samples.append(
                {
                    "s": round(passed, 1),
                    "memory_mb": daemon.process.memory(),
                    "threads": len(os.listdir(folder + "task")),
                    "files": len(os.listdir(folder + "fd")),
                }
            )
            time.sleep(5)
        client.close()
        polls = daemon.own()["video_api_exporter_poll_lag_seconds_count"]
        return {"accounts": count, "polls_per_account": polls / count, "samples": samples}
