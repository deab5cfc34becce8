"""Three replicas share 1,000 accounts on one PostgreSQL, for ten minutes of faults.

``python -m bench.replicas`` runs for ten minutes, ``--minutes=3 --accounts=300`` for a while. Replicas are killed,
suspended, stopped and added, and one has a clock that is minutes wrong. The connections to the database are cut, and
the database is stopped. Each account must be polled once in each of its intervals, as its vendor counts. All replicas
must tell the same ledger within two seconds. The report ends with a verdict. The exit status is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from bench.processes import Process, free_port, workplace
from exporter.demo import apis
from exporter.demo.vendors import KeyLimit, SimulatedAccount, Vendors
from exporter.polling.slots import fraction
from tests.state.postgresql import Server, server

INTERVAL = 60
START = 100_000
REPLICAS = 3
TOGETHER_SECONDS = 2.0
"""How long after one replica tells a ledger all others tell it."""
TAKEN_OVER_SECONDS = 20.0
CONNECTED_SECONDS = 5.0
"""How long after the return of the database ledgers may still differ."""
SLACK_SECONDS = 2.0
"""How much earlier than its time a poll may come, because replicas measure the database's clock each by itself."""
LIMIT = 3
"""Requests a minute of a key. One more makes the vendor ban it."""
SAMPLE = re.compile(
    rb'^video_api_(credits_spent_total|credits_balance|polls_total)\{.*?account="(\w+)".*\} (\S+)$', re.M
)


def spending() -> SimulatedAccount:
    """Make an account that has a credit less at each response."""
    left = iter(range(START, 0, -1))
    month = time.time() - apis.DAY, time.time() + apis.DAY
    responses = {"/usage": lambda: apis.vidnavigator_usage(monthly_remaining=next(left), purchased=0, period=month)}
    return SimulatedAccount(apis.VIDNAVIGATOR, responses, rate_limit=KeyLimit(LIMIT))


@dataclass
class Replica:
    """A running replica, and whether its pages may be compared with those of others."""

    process: Process
    url: str
    compared: bool = False
    spent: dict[bytes, float] = field(default_factory=dict)


@dataclass
class Trial:
    """The replicas, what happened to them, and what was wrong."""

    directory: Path
    database: Server
    url: str
    config: Path
    replicas: list[Replica] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    events: list[tuple[float, str]] = field(default_factory=list)
    pages: int = 0
    number: int = 0
    most_lag: float = 0.0
    connected_at: float = 0.0
    """The monotonic second from which on the database is there for all."""

    def start(self, wrong_clock: str | None = None) -> Replica:
        self.number += 1
        port = free_port()
        argv = [
            sys.executable,
            "-m",
            "exporter",
            f"--config.file={self.config}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        env = faketime(wrong_clock) if wrong_clock else {}
        process = Process(argv, self.directory / f"replica{self.number}.log", env)
        replica = Replica(process, f"http://127.0.0.1:{port}")
        self.replicas.append(replica)
        process.wait_for(replica.url + "/-/ready")
        replica.compared = True
        return replica

    def end(self, replica: Replica, how: signal.Signals) -> None:
        replica.compared = False
        self.replicas.remove(replica)
        replica.process.signal(how)

    def happens(self, what: str) -> None:
        self.events.append((time.time(), what))
        print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr)

    def wrong(self, what: str) -> None:
        if not self.problems[what]:
            print(f"{time.strftime('%H:%M:%S')} WRONG: {what}", file=sys.stderr)
        self.problems[what] += 1


def faketime(shift: str) -> dict[str, str]:
    """Return the environment of a program whose wall clock is wrong."""
    found = subprocess.run(
        ["faketime", "-m", "-f", shift, "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    return {"LD_PRELOAD": found.stdout.strip(), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def watch(trial: Trial, stop: threading.Event) -> None:
    """Compare the pages of all replicas, about once a second."""
    told: deque[tuple[float, dict[bytes, float]]] = deque()
    with ThreadPoolExecutor(8) as pool:
        while not stop.wait(0.7):
            replicas = [replica for replica in trial.replicas if replica.compared]
            began = time.monotonic()
            while len(told) > 1 and told[1][0] < began - TOGETHER_SECONDS:
                told.popleft()
            due = told[0][1] if told and told[0][0] < began - TOGETHER_SECONDS else {}
            for replica, spent in zip(replicas, pool.map(lambda one: look(trial, one), replicas), strict=True):
                if spent is None or not replica.compared:
                    continue
                trial.pages += 1
                late = sum(value > spent.get(account, 0) for account, value in due.items())
                if late and began - trial.connected_at > CONNECTED_SECONDS + TOGETHER_SECONDS:
                    trial.wrong("a ledger is told by one replica and not by another 2 s later")
            ended = time.monotonic()
            newest: dict[bytes, float] = dict(told[-1][1]) if told else {}
            for replica in replicas:
                for account, value in replica.spent.items():
                    newest[account] = max(value, newest.get(account, 0))
            if ended > trial.connected_at:
                told.append((ended, newest))
            else:
                told.clear()


def look(trial: Trial, replica: Replica) -> dict[bytes, float] | None:
    """Read a replica's page, check it, and return what each account has spent."""
    try:
        request = urllib.request.Request(replica.url + "/metrics", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=10) as response:
            page = gzip.decompress(response.read())
    except (OSError, EOFError, http.client.HTTPException):
        if replica.compared:
            trial.wrong("a replica did not serve a page")
        return None
    values: dict[bytes, dict[bytes, float]] = defaultdict(dict)
    for name, account, value in SAMPLE.findall(page):
        values[name][account] = float(value)
    spent, balances = values[b"credits_spent_total"], values[b"credits_balance"]
    for account, value in spent.items():
        if value < replica.spent.get(account, 0):
            trial.wrong("a counter fell")
        if account in balances and value + balances[account] != START:
            trial.wrong("a credit was lost or booked twice")
    replica.spent = spent
    return spent


def kill(trial: Trial) -> None:
    trial.end(trial.replicas[0], signal.SIGKILL)
    pause(TAKEN_OVER_SECONDS)
    trial.start()


def suspend(trial: Trial, seconds: float = 25.0) -> None:
    replica = trial.replicas[0]
    replica.compared = False
    replica.process.signal(signal.SIGSTOP)
    pause(seconds)
    replica.process.signal(signal.SIGCONT)
    pause(CONNECTED_SECONDS)
    replica.compared = True


def suspend_shortly(trial: Trial) -> None:
    suspend(trial, 5.0)


def roll(trial: Trial, wrong_clock: str | None = None) -> None:
    trial.start(wrong_clock)
    trial.end(trial.replicas[0], signal.SIGTERM)


def set_a_clock(trial: Trial) -> None:
    roll(trial, "+170s")


def cut(trial: Trial) -> None:
    trial.database.cut_connections(trial.url)
    trial.connected_at = time.monotonic() + CONNECTED_SECONDS


def stop_the_database(trial: Trial) -> None:
    trial.connected_at = float("inf")
    trial.database.stop()
    pause(20)
    trial.database.start()
    trial.connected_at = time.monotonic() + CONNECTED_SECONDS


FAULTS: Sequence[tuple[str, Callable[[Trial], None]]] = (
    ("a replica was killed, and started again after 20 s", kill),
    ("a replica was suspended for 25 s", suspend),
    ("a replica was added, and another one stopped", roll),
    ("all connections to the database were cut", cut),
    ("a replica was suspended for 5 s", suspend_shortly),
    ("the database was stopped for 20 s", stop_the_database),
    ("a replica was replaced by one whose clock is three minutes ahead", set_a_clock),
)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def polls_in_each_interval(vendors: Vendors, names: dict[str, str], began: float, ended: float) -> Counter[int]:
    """Return how many intervals had how many polls of an account, from the second interval of each account on."""
    shift = time.time() - time.monotonic()
    found: dict[str, Counter[int]] = {name: Counter() for name in names.values()}
    for request in vendors.requests:
        name = names[request.key]
        phase = fraction(("vidnavigator", name)) * INTERVAL - SLACK_SECONDS
        found[name][int((request.time + shift - phase) // INTERVAL)] += 1
    result: Counter[int] = Counter()
    for name, counts in found.items():
        phase = fraction(("vidnavigator", name)) * INTERVAL
        first, last = int((began - phase) // INTERVAL) + 2, int((ended - TAKEN_OVER_SECONDS - phase) // INTERVAL)
        result.update(counts[number] for number in range(first, last))
    return result


@contextmanager
def running(count: int, minutes: float) -> Iterator[tuple[Trial, Vendors, dict[str, str]]]:
    with workplace() as directory, server() as database, Vendors() as vendors:
        names = {vendors.add(spending()): f"account{number}" for number in range(count)}
        accounts = [
            {"name": name, "provider": "vidnavigator", "api_key": key, "base_url": vendors.vidnavigator_url}
            for key, name in names.items()
        ]
        url = database.new_database()
        document = {
            "poll": {"interval": f"{INTERVAL}s", "timeout": "5s", "stale_after": "1h"},
            "state": {"url": url},
            "accounts": [{**account, "max_requests_per_minute": LIMIT} for account in accounts],
        }
        config = directory / "config.yaml"
        config.write_text(json.dumps(document))
        config.chmod(0o600)
        trial = Trial(directory, database, url, config)
        try:
            yield trial, vendors, names
        finally:
            for replica in trial.replicas:
                replica.process.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.replicas", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit normally, so that all started programs are stopped
    with running(options.accounts, options.minutes) as (trial, vendors, names):
        for _ in range(REPLICAS):
            trial.start()
        began, stop = time.time(), threading.Event()
        watcher = threading.Thread(target=watch, args=(trial, stop))
        watcher.start()
        pause(INTERVAL)
        for what, commit in cycle(FAULTS):
            if time.time() > began + options.minutes * 60:
                break
            trial.happens(what)
            commit(trial)
            pause(15)
        pause(TAKEN_OVER_SECONDS)
        ended = time.time()
        stop.set()
        watcher.join()
        return report(trial, vendors, polls_in_each_interval(vendors, names, began, ended))


def report(trial: Trial, vendors: Vendors, intervals: Counter[int]) -> int:
    """Print what happened, and return the exit status."""
    print("| what | how often |\n| --- | ---: |")
    for what, count in Counter(what for _, what in trial.events).items():
        print(f"| {what} | {count} |")
    print(f"| pages that were compared | {trial.pages} |")
    for polls, count in sorted(intervals.items()):
        print(f"| intervals of an account with {polls} polls | {count} |")
    bans = sum(account.rate_limit.bans for account in vendors.accounts.values() if account.rate_limit)
    print(f"| keys that were banned for a request too many | {bans} |")
    tracebacks = sum(log.read_text(errors="replace").count("Traceback") for log in trial.directory.glob("*.log"))
    print(f"| tracebacks in the logs | {tracebacks} |")
    for problem, count in trial.problems.items():
        print(f"| {problem} | {count} |")
    failed = bans or tracebacks or trial.problems or set(intervals) - {1}
    print("\nFAILED" if failed else "\nAll held.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
