"""Three replicas share 1,000 accounts on one PostgreSQL, for ten minutes of faults.

``python -m bench.replicas`` runs for ten minutes, ``--minutes=3 --accounts=300`` for a while. Replicas are killed,
suspended, stopped and added, and one has a clock that is minutes wrong. The connections to the database are cut, and
the database is stopped. Each account must be polled once in each of its intervals, as its vendor counts. All replicas
must tell the same ledger within two seconds. The report ends with a verdict. The exit status is 1 if a check failed.

The vendors count requests, and none of them fails, so no poll has a reason for a second request. A poll that timed out
on a busy machine before it sent anything counts as missing. ``--faults suspend kill`` commits these alone.

It can fail. With the check of the lease taken out of ``PostgresKeys.admit``, four suspensions of 25 s with 200 accounts
gave 29 intervals with two polls, each with its second one in the moment at which the replica went on.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from bench.intervals import INTERVAL, Interval, fault_before, intervals, told
from bench.processes import Process, free_port, workplace
from exporter.demo import apis
from exporter.demo.vendors import KeyLimit, SimulatedAccount, Vendors
from tests.state.postgresql import Server, server

START = 100_000
REPLICAS = 3
TOGETHER_SECONDS = 2.0
"""Seconds within which all replicas show a ledger that one of them shows."""
TAKEN_OVER_SECONDS = 20.0
CONNECTED_SECONDS = 5.0
"""How long after the return of the database ledgers may still differ."""
TOLD = 20
"""How many intervals that were wrong are told one by one."""
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
    ahead: dict[str, float] = field(default_factory=dict)
    """The seconds by which the clock of a replica is wrong, by the name of its log."""
    pages: int = 0
    number: int = 0
    most_lag: float = 0.0
    connected_at: float = 0.0
    """The monotonic second from which on the database is there for all."""

    def start(self, ahead: int = 0) -> Replica:
        self.number += 1
        port = free_port()
        argv = [
            sys.executable,
            "-m",
            "exporter",
            f"--config.file={self.config}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=debug",
        ]
        name = f"replica{self.number}"
        self.ahead[name] = ahead
        process = Process(argv, self.directory / f"{name}.log", faketime(f"{ahead:+}s") if ahead else {})
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
    return {
        "LD_PRELOAD": found.stdout.strip(),
        "FAKETIME": shift,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Its fix makes each change of threads in Python take 40 ms, so that a busy replica seems dead.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


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
                    trial.wrong("one replica shows a ledger that another does not show 2 s later")
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


def roll(trial: Trial, ahead: int = 0) -> None:
    trial.start(ahead)
    trial.end(trial.replicas[0], signal.SIGTERM)


def set_a_clock(trial: Trial) -> None:
    roll(trial, 170)


def cut(trial: Trial) -> None:
    trial.database.cut_connections(trial.url)
    trial.connected_at = time.monotonic() + CONNECTED_SECONDS


def stop_the_database(trial: Trial) -> None:
    trial.connected_at = float("inf")
    trial.database.stop()
    pause(20)
    trial.database.start()
    trial.connected_at = time.monotonic() + CONNECTED_SECONDS


FAULTS: Mapping[str, tuple[str, Callable[[Trial], None]]] = {
    "kill": ("a replica was killed, and started again after 20 s", kill),
    "suspend": ("a replica was suspended for 25 s", suspend),
    "roll": ("a replica was added, and another one stopped", roll),
    "cut": ("all connections to the database were cut", cut),
    "suspend-shortly": ("a replica was suspended for 5 s", suspend_shortly),
    "database": ("the database was stopped for 20 s", stop_the_database),
    "clock": ("a replica was replaced by one whose clock is three minutes ahead", set_a_clock),
}


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


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
    parser.add_argument("--faults", nargs="*", choices=sorted(FAULTS), default=list(FAULTS), help="all by default")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit normally, so that all started programs are stopped
    with running(options.accounts, options.minutes) as (trial, vendors, names):
        for _ in range(REPLICAS):
            trial.start()
        began, stop = time.time(), threading.Event()
        watcher = threading.Thread(target=watch, args=(trial, stop))
        watcher.start()
        pause(INTERVAL)
        for name in cycle(options.faults):
            if time.time() > began + options.minutes * 60:
                break
            what, commit = FAULTS[name]
            trial.happens(what)
            commit(trial)
            pause(15)
        pause(TAKEN_OVER_SECONDS)
        ended = time.time()
        stop.set()
        watcher.join()
        found = list(intervals(vendors.requests, names, began, ended - TAKEN_OVER_SECONDS))
        return report(trial, vendors, found)


def report(trial: Trial, vendors: Vendors, found: Sequence[Interval]) -> int:
    """Print what happened, and return the exit status."""
    print("| what | how often |\n| --- | ---: |")
    for what, count in Counter(what for _, what in trial.events).items():
        print(f"| {what} | {count} |")
    print(f"| pages that were compared | {trial.pages} |")
    once = sum(len(interval.requests) == 1 for interval in found)
    print(f"| intervals of an account with 1 poll | {once} |")
    wrong = sorted((each for each in found if len(each.requests) != 1), key=lambda each: each.last)
    faults = [(len(each.requests), fault_before(each, trial.events)[1]) for each in wrong]
    for (polls, fault), count in sorted(Counter(faults).items()):
        print(f"| intervals of an account with {polls} polls, after this: {fault} | {count} |")
    for interval in wrong[:TOLD]:
        print(told(interval, trial.events, trial.directory, trial.ahead), file=sys.stderr)
    bans = sum(account.rate_limit.bans for account in vendors.accounts.values() if account.rate_limit)
    print(f"| keys that were banned for a request too many | {bans} |")
    tracebacks = sum(log.read_text(errors="replace").count("Traceback") for log in trial.directory.glob("*.log"))
    print(f"| tracebacks in the logs | {tracebacks} |")
    for problem, count in trial.problems.items():
        print(f"| {problem} | {count} |")
    failed = bans or tracebacks or trial.problems or wrong
    print("\nFAILED" if failed else "\nAll held.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
