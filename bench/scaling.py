"""Measures how shards divide accounts, and what a Prometheus needs to scrape a shard. Run ``python -m bench.scaling``.

The division is a simulation with the exporter's own hash. For the rest a real Prometheus scrapes a page of accounts
whose figures all change between two scrapes.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.__main__ import keep
from bench.processes import Process, free_port, workplace
from bench.quiet import disturbance
from bench.workload import Workload
from exporter.config.accounts import Account
from exporter.config.credentials import KeySource
from exporter.config.thresholds import DEFAULTS
from exporter.polling.shards import shard_of

ACCOUNTS = 100_000
SHARED = 0.2
"""Share of the accounts that share a key, in groups of up to twenty, as a customer with several names has."""
SCRAPES = 8
INTERVAL = 15


def accounts(count: int) -> list[Account]:
    """Return accounts of which a fifth share keys."""
    draw = random.Random(count)
    made: list[Account] = []
    while len(made) < count:
        together = draw.randint(2, 20) if draw.random() < SHARED / 11 else 1
        source = KeySource("file", f"/run/secrets/{len(made)}")
        for _ in range(min(together, count - len(made))):
            made.append(
                Account(
                    provider="vidnavigator",
                    name=f"customer-{len(made):06}",
                    key=source,
                    base_url="https://api.example/v1",
                    ca_file=None,
                    common_ca_file=None,
                    max_requests_per_minute=50,
                    collect=("usage",),
                    credit_rates={},
                    max_operations=100,
                    interval=300.0,
                    timeout=10.0,
                    stale_after=900.0,
                    thresholds=DEFAULTS,
                    labels={},
                )
            )
    return made


def division(count: int, shards: Sequence[int]) -> list[dict[str, float]]:
    """Return how even the shards are for each number of shards, and what one more shard moves."""
    everybody = accounts(count)
    rows = []
    for number in shards:
        before = [shard_of(account, number) for account in everybody]
        after = [shard_of(account, number + 1) for account in everybody]
        sizes = Counter(before).values()
        rows.append(
            {
                "shards": number,
                "mean": count / number,
                "largest": max(sizes),
                "moved": sum(a != b for a, b in zip(before, after, strict=True)) / count,
                "ideal": 1 / (number + 1),
            }
        )
    return rows


def prometheus(count: int) -> dict[str, Any]:
    """Scrape the page of this many accounts with a real Prometheus. Return the cost for both."""
    binary = shutil.which("prometheus")
    if not binary:
        sys.exit("prometheus is not installed: apt-get install prometheus")
    with workplace() as directory:
        series = Workload(directory).series
        with Process([sys.executable, "-m", "bench.page", str(count)], directory / "page.log") as page:
            address = page.wait_for_line("serving").split()[1]
            config = directory / "prometheus.yml"
            job = {"job_name": "x", "static_configs": [{"targets": [address.removeprefix("http://")]}]}
            scrape = {"scrape_interval": f"{INTERVAL}s", "scrape_timeout": f"{INTERVAL}s"}
            config.write_text(json.dumps({"global": scrape, "scrape_configs": [job]}))
            port = free_port()
            argv = [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ]
            url = f"http://127.0.0.1:{port}"
            with Process(argv, directory / "prometheus.log") as server:
                server.wait_for(url + "/-/ready")
                empty = server.memory()
                cpu = server.cpu()
                began = time.monotonic()
                while time.monotonic() - began < SCRAPES * INTERVAL:
                    request = urllib.request.Request(address + "/change?share=1.0", method="POST")
                    with urllib.request.urlopen(request, timeout=60):
                        pass
                    time.sleep(INTERVAL / 2)
                gzip = urllib.request.Request(address + "/metrics", headers={"Accept-Encoding": "gzip"})
                with urllib.request.urlopen(gzip, timeout=60) as response:
                    wire = len(response.read())
                return {
                    "accounts": count,
                    "series_each": series,
                    "series": _query(url, "max_over_time(scrape_samples_scraped[10m])"),
                    "wire": wire,
                    "memory": server.memory("VmHWM"),
                    "empty": empty,
                    "cpu_per_scrape": (server.cpu() - cpu) / SCRAPES,
                }


def _query(url: str, expression: str) -> float:
    with urllib.request.urlopen(f"{url}/api/v1/query?query={expression}", timeout=60) as response:
        return float(json.load(response)["data"]["result"][0]["value"][1])


def main() -> None:
    options = argparse.Namespace(disturbed=disturbance(), measured={}, refused=[])
    result = {
        "division": division(ACCOUNTS, (1, 2, 4, 9, 10, 19, 99)),
        "prometheus": [prometheus(count) for count in (1_000, 10_000)],
    }
    print(tables(keep(options, "scaling", result)))


def tables(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = ["| shards | accounts each | largest shard | moved by one more | at the best |"]
    lines.append("|---:|---:|---:|---:|---:|")
    for row in result["division"]:
        over = row["largest"] / row["mean"] - 1
        lines.append(
            f"| {row['shards']} | {row['mean']:,.0f} | {row['largest']:,.0f} (+{over:.1%}) "
            f"| {row['moved']:.2%} | {row['ideal']:.2%} |"
        )
    lines.append("")
    lines.append("| accounts | series | gzip | CPU a scrape | memory of Prometheus | a series |")
    lines.append("|---:|---:|---:|---:|---:|---:|")
    for row in result["prometheus"]:
        each = (row["memory"] - row["empty"]) * 1e3 / row["series"]
        lines.append(
            f"| {row['accounts']:,} | {row['series']:,.0f} | {row['wire'] / 1e6:.2f} MB "
            f"| {row['cpu_per_scrape']:.2f} s | {row['memory']:,.0f} MB | {each:.1f} kB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
