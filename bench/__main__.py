"""The command ``python -m bench [PART …]``, which measures, prints, and keeps results in ``bench/results/``.

Every ratio is from one run on one machine. Results are kept only if no other program used the machine when the
part began and when it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.processes import ROOT, workplace
from bench.quiet import disturbance

RESULTS = ROOT / "bench" / "results"
COUNTS = (1, 100, 1_000, 10_000)
FASTEST = ("nginx", "exporter", "pushgateway")


def scrape(options: argparse.Namespace) -> None:
    """Latency, CPU, bytes and memory of scrapes, compared with the peers."""
    from bench import report
    from bench.peers import Missing, Peers
    from bench.scrapes import measure

    for count in options.accounts or COUNTS:
        with workplace() as directory, ExitStack() as stack:
            peers = Peers(count, directory, stack)
            targets, missing = [], {}
            for name in options.peers or Peers.NAMES:
                print(f"{count} accounts: starting {name}", file=sys.stderr)
                try:
                    targets += peers.start(name)
                except Missing as reason:
                    missing[name] = str(reason)
            rounds = min(options.rounds, max(50, 60_000 // count))
            print(f"{count} accounts: scraping, gzip", file=sys.stderr)
            rows = [result.row() for result in measure(targets, "gzip", rounds, options.seconds)]
            if count == max(COUNTS):
                # Prometheus requests gzip. Without it the size of the page decides alone, so the fastest are enough.
                fastest = [target for target in targets if target.name.startswith(FASTEST)]
                print(f"{count} accounts: scraping, identity", file=sys.stderr)
                rows += [result.row() for result in measure(fastest, "identity", rounds, options.seconds)]
        options.tell(
            report.scrape_table(keep(options, f"scrape-{count}", {"accounts": count, "rows": rows, "missing": missing}))
        )


def running(options: argparse.Namespace) -> None:
    """Scrape latency while polls run, beside nginx with a ready file."""
    from bench import report
    from bench.running import running as measure

    result = keep(options, "running", measure((options.accounts or [10_000])[0]))
    options.tell(report.running_table(result))


def poll(options: argparse.Namespace) -> None:
    """Polls started in time, CPU, and scrapes at the same time. Then the highest rate held."""
    from bench import report
    from bench.polling import capacity

    runs = []
    for count in options.accounts or [10_000]:
        print(f"{count} accounts every 5 minutes", file=sys.stderr)
        runs.append(capacity(count, 300, 64, options.window))
    held = True
    for rate in options.rates:
        if held:
            print(f"{rate} polls a second", file=sys.stderr)
            runs.append(capacity(rate * 10, 10, max(64, rate), min(15.0, options.window)))
            held = runs[-1]["in_time"] >= report.HELD
    options.tell(report.poll_table(keep(options, "poll", {"runs": runs})["runs"]))


def cost(options: argparse.Namespace) -> None:
    """CPU of a poll, compared with the least that Python needs, plain and over TLS, and without history."""
    from bench import report
    from bench.cost import cost as measure

    options.tell(report.cost_table(keep(options, "cost", measure())))


def many(options: argparse.Namespace) -> None:
    """Start, memory and endpoints of an exporter with 100,000 accounts."""
    from bench import report
    from bench.many import many as measure

    options.tell(report.many_table(keep(options, "many", measure((options.accounts or [100_000])[0]))))


def postgresql(options: argparse.Namespace) -> None:
    """CPU of a poll with its state in a file and in PostgreSQL, and its load on the database, by replicas."""
    from bench import report
    from bench.postgresql import compare

    count = (options.accounts or [500])[0]
    rows = compare(count, tuple(options.replicas), min(20.0, options.window))
    options.tell(report.state_table(keep(options, "postgresql", {"rows": rows})["rows"]))


def pauses(options: argparse.Namespace) -> None:
    """Longest time for which making a page holds the interpreter and an event loop."""
    from bench import report
    from bench.pauses import pauses as measure

    options.tell(report.pause_table(keep(options, "pauses", measure((options.accounts or [10_000])[0]))))


def declared(options: argparse.Namespace) -> None:
    """CPU of a poll of a provider by configuration, compared with the same provider in code."""
    from bench import report
    from bench.declared import compare, doubt

    result = compare((options.accounts or [10_000])[0])
    options.disturbed = options.disturbed or doubt(result)
    options.tell(report.declared_table(keep(options, "declared", result)))


def start(options: argparse.Namespace) -> None:
    """Time for the command line, for check-config, and to the first whole page."""
    from bench import report
    from bench.starting import starting

    options.tell(report.start_table(keep(options, "start", starting(tuple(options.accounts or (10, 10_000))))))


def connections(options: argparse.Namespace) -> None:
    """Cost of a connection for each request, plain and over TLS."""
    from bench import report
    from bench.connections import connections as measure

    options.tell(report.connection_table(keep(options, "connections", measure(options.rounds))))


def growth(options: argparse.Namespace) -> None:
    """Memory, threads and open files during polls."""
    from bench import report
    from bench.polling import growth as measure

    options.tell(
        report.growth_table(keep(options, "growth", measure((options.accounts or [1_000])[0], options.minutes)))
    )


def profile(options: argparse.Namespace) -> None:
    """CPU time of a scrape and of a poll by function and module."""
    from bench import report
    from bench.profiling import profiles

    options.tell(report.profile_table(keep(options, "profile", profiles((options.accounts or [10_000])[0]))))


def page(options: argparse.Namespace) -> None:
    """Time to make the status page and to draw it in Chromium, and its effect on scrapes."""
    from bench import report
    from bench.status_page import page as measure

    runs = [measure(count) for count in options.accounts or (100, 1_000, 10_000)]
    options.tell(report.page_table(keep(options, "page", {"runs": runs})))


def history(options: argparse.Namespace) -> None:
    """Size of a state file with 13 months behind it, and CPU time of the pages that read it."""
    from bench import report
    from bench.past import history as measure

    runs = [measure(count) for count in options.accounts or (10, 10_000)]
    options.tell(report.history_table(keep(options, "history", {"runs": runs})))


def spending(options: argparse.Namespace) -> None:
    """Time and CPU of the command ``report`` for a month and for 13 months."""
    from bench import report
    from bench.spending import spending as measure

    count = (options.accounts or [10_000])[0]
    options.tell(report.spending_table(keep(options, "report", measure(count))))


def alerts(options: argparse.Namespace) -> None:
    """What the alert rules do for accounts whose end is known, beside rules as people write them."""
    from bench.alerts.table import measure, table

    # These figures do not depend on how busy the machine is, so they are not kept with it.
    print(table(measure()))


def write(options: argparse.Namespace) -> None:
    """Write the kept results into docs/performance.md, and draw the plot."""
    from bench import report

    report.write(ROOT / "docs" / "performance.md", read)
    report.draw(RESULTS, ROOT / "docs" / "images" / "scrape.svg")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "scrape": scrape,
    "running": running,
    "poll": poll,
    "start": start,
    "cost": cost,
    "connections": connections,
    "pauses": pauses,
    "growth": growth,
    "profile": profile,
    "declared": declared,
    "postgresql": postgresql,
    "many": many,
    "page": page,
    "history": history,
    "report": spending,
    "alerts": alerts,
    "write": write,
}


LONG = ("alerts", "declared", "history", "many", "page", "postgresql", "report", "write")
"""Parts that run only if they are named, so that the others take a quarter of an hour in all."""


def keep(options: argparse.Namespace, name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with the machine and the versions it was measured on. Write it unless the machine is busy.

    ``options.disturbed`` says whether it was busy before. ``options.measured`` gets the result in any case, and
    ``options.refused`` the names of those that were not written.
    """
    whole = options.measured[name] = {"machine": machine(), **result}
    disturbed = options.disturbed or disturbance()
    if disturbed:
        options.refused.append(name)
        print(f"{name}: not kept, because {disturbed}", file=sys.stderr)
    else:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    return whole


def read(name: str) -> dict[str, Any]:
    """Return a kept result."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def machine() -> dict[str, object]:
    """Return the machine and the versions that the figures depend on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": round(os.getloadavg()[0], 1),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {_distribution()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("prometheus-client", "isal", "APScheduler", "requests", "h11")},
        "programs": _programs(),
    }


def _distribution() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.split("=")[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "unknown")


def _programs() -> dict[str, str]:
    versions = {}
    for package in ("nginx-light", "prometheus-pushgateway"):
        asked = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True)
        if asked.returncode == 0:
            versions[package] = asked.stdout
    requirements = (ROOT / "bench" / "requirements.txt").read_text().splitlines()
    pinned = [line.split("==") for line in requirements if "==" in line]
    return {**versions, **dict(pinned)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0])
    help_ = "; ".join(f"{name}: {run.__doc__}" for name, run in PARTS.items())
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help=help_)
    parser.add_argument("--accounts", type=int, nargs="+", help=f"how many accounts; {COUNTS} by default")
    parser.add_argument("--rounds", type=int, default=300, help="scrapes of each target at most; requests of each kind")
    parser.add_argument("--seconds", type=float, default=2, help="time for the scrapes of one target")
    parser.add_argument("--peers", nargs="+", help="some of them only")
    parser.add_argument("--window", type=float, default=45, help="seconds for which polls are watched")
    parser.add_argument("--rates", type=int, nargs="*", default=[200, 300, 400], help="polls a second to try")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4], help="how many share a database")
    parser.add_argument("--minutes", type=float, default=0.5, help="how long memory is watched")
    parser.add_argument("--write", action="store_true", help="then write docs/performance.md, if all results were kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit normally, so that all started programs are stopped
    tables: list[str] = []
    options.tell, options.measured, options.refused = tables.append, {}, []
    for part in options.part or [name for name in PARTS if name not in LONG]:
        options.disturbed = None if part == "write" else disturbance()
        if options.disturbed:
            print(f"{part}: results will not be kept, because {options.disturbed}", file=sys.stderr)
        PARTS[part](options)
    if options.measured.keys() >= {"scrape-10000", "running", "poll", "cost", "pauses", "start"}:
        from bench.report import summary_table

        print(summary_table(options.measured.__getitem__) + "\n")
    print(*tables, sep="\n")
    if options.write and options.refused:
        sys.exit(f"docs/performance.md stays as it is, because these were not kept: {', '.join(options.refused)}")
    if options.write:
        write(options)


if __name__ == "__main__":
    main()
