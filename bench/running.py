"""Scrapes a fleet that is polled, in turns with nginx that sends the same page as a ready file.

10,000 accounts every 5 minutes and a scrape every 15 s are 500 polls from one scrape to the next. Here all goes five
times as fast, so that the run takes minutes, and each scrape meets five times as many polls.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from bench.daemon import Daemon
from bench.fleet import fill_state
from bench.peers import Peers
from bench.processes import workplace
from bench.scrapes import Client, Result, Target

INTERVAL, EVERY = 60, 3.0
"""Seconds from one poll of an account to the next, and from one scrape to the next."""


def running(count: int, scrapes: int = 60) -> dict[str, Any]:
    """Return the scrapes of the exporter and of nginx, in ms, and the polls a second meanwhile."""
    with workplace() as directory, ExitStack() as stack:
        daemon = Daemon(count, f"interval: {INTERVAL}s, timeout: 5s, concurrency: 64", 0.3, directory, stack)
        fill_state(directory / "state.db", count, INTERVAL)
        daemon.start()
        daemon.until("/-/ready")
        ours = Target("exporter, polls running", daemon.url + "/metrics", daemon.process)
        targets = [*Peers(count, directory, stack).start("nginx"), ours]
        results = {target.name: Result(target.name, "gzip") for target in targets}
        clients = {target.name: Client(target.url, "gzip") for target in targets}
        for client in clients.values():
            client.scrape()
        before, begin = daemon.own(), time.perf_counter()
        for number in range(scrapes):
            time.sleep(max(0.0, begin + (number + 1) * EVERY - time.perf_counter()))
            for name, client in clients.items():
                results[name].times.append(client.scrape())
        seconds, after = time.perf_counter() - begin, daemon.own()
        for result in results.values():
            result.finish()
        for client in clients.values():
            client.close()
        lag = "video_api_exporter_poll_lag_seconds_count"
        return {
            "accounts": count,
            "polls_per_second": (after[lag] - before[lag]) / seconds,
            "rows": [result.row() for result in results.values()],
        }
