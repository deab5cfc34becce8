"""Runs the whole exporter under faults for some minutes. Memory, threads and descriptors must stay flat.

``python -m bench.soak`` runs for ten minutes, ``--minutes=2`` for two. Vendors hang, drip, reset, refuse and send
bombs. 300 clients send their requests byte by byte, and 200 keep idle connections open. Others send garbage or read
nothing. Correct and wrong configurations are reloaded all the time, and accounts are polled by hand. A scraper checks
every response. The report ends with a verdict, and the exit status is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import ROOT, Process, workplace
from exporter.demo import apis, faults
from exporter.demo.faults import Fault, ReceivedRequest
from exporter.demo.vendors import KeyLimit, SimulatedAccount, Vendors, videodb_account

SLOW, IDLE = 300, 200
STEADY, HOSTILE, SHARING = 4, 16, 4
LIMIT = 24
"""Requests a minute that the configuration allows. One more makes the vendor ban the key."""
START = 10_000.0
SAMPLE_SECONDS = 2.0
CLEARED_SECONDS = 60.0
GROWTH, SOME_MB = 1.05, 2.0
"""How much the second half may exceed the first."""

CHAOS: tuple[Fault, ...] = (
    *(faults.status(code) for code in (401, 402, 403, 404, 500, 502)),
    faults.status(429),
    faults.status(503, retry_after_seconds=20),
    faults.hang(),
    faults.drip_headers(),
    faults.drip_body(),
    faults.reset(),
    faults.reset(after_bytes=200),
    faults.garbage(),
    faults.truncated_json(),
    faults.deep_json(),
    faults.bad_numbers("NaN"),
    faults.big_body(),
    faults.big_body(framing="chunked"),
    faults.gzip_bomb(),
    faults.repeat_key(500),
    faults.redirect("/v1/elsewhere"),
)


class Fleet:
    """The simulated accounts, and the configuration that names them."""

    def __init__(self, vendors: Vendors, directory: Path) -> None:
        self.config = directory / "config.yaml"
        self._directory = directory
        self._vendors = vendors
        self._shared = secrets.token_hex(16)
        self._chance = random.Random(3)
        self._round = 0
        self.accounts: list[dict[str, Any]] = []
        for number in range(STEADY):
            self._add(f"steady{number}", self._spending())
        for number in range(HOSTILE // 2):
            self._add(f"hostile{number}", self._spending(), self._chaos())
            self._add(f"broken{number}", videodb_account(), self._chaos(), collect=["usage", "invoices"])
        for number in range(SHARING):
            self._add(f"shared{number}", self._spending(), faults.status(500), key=self._shared)

    def _add(self, name: str, account: SimulatedAccount, fault: Fault | None = None, **more: Any) -> None:
        account.fault, account.rate_limit = fault, KeyLimit(LIMIT)
        key = more.pop("key", None)
        key = self._vendors.add(account, key) if key not in self._vendors.accounts else key
        url = self._vendors.videodb_url if account.api is apis.VIDEODB else self._vendors.vidnavigator_url
        self.accounts.append({"name": name, "provider": account.api.provider, "api_key": key, "base_url": url, **more})

    def _spending(self) -> SimulatedAccount:
        """Make an account that has spent one more credit at each response, to check that none is lost."""
        left = iter(range(int(START), 0, -1))
        month = time.time() - 10 * apis.DAY, time.time() + 20 * apis.DAY
        responses = {"/usage": lambda: apis.vidnavigator_usage(monthly_remaining=next(left), purchased=0, period=month)}
        return SimulatedAccount(apis.VIDNAVIGATOR, responses)

    def _chaos(self) -> Fault:
        def act(request: ReceivedRequest) -> None:
            if self._chance.random() < 0.4:
                request.exchange.send_json(200, request.api.success(request.normal()["data"]))  # type: ignore[index]  # an object, as sent
            else:
                self._chance.choice(CHAOS).act(request)

        return Fault(act)

    def write(self, good: bool = True) -> None:
        """Write a configuration with one changed account, or one that is refused."""
        self._round += 1
        accounts = [
            {**account, "labels": {"round": str(self._round) if number == self._round % len(self.accounts) else ""}}
            for number, account in enumerate(self.accounts)
        ]
        document = {
            "poll": {"interval": "10s", "timeout": "5s", "concurrency": 8} if good else {"interval": "never"},
            "state": {"path": str(self._directory / "state.db")},
            "accounts": [{**account, "max_requests_per_minute": LIMIT} for account in accounts],
        }
        self.config.write_text(json.dumps(document))

    def bans(self) -> int:
        """Return how often a key was banned for too many requests."""
        return sum(account.rate_limit.bans for account in self._vendors.accounts.values() if account.rate_limit)


@dataclass(frozen=True)
class Sample:
    """The seconds since the start, resident MB, threads and descriptors of the process at a time."""

    at: float
    memory: float
    threads: int
    descriptors: int


def look(process: Process, began: float) -> Sample:
    """Return the present memory, threads and descriptors of the process."""
    proc = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    memory = int(status["VmRSS"].split()[0]) * 1024 / 1e6
    return Sample(time.monotonic() - began, memory, int(status["Threads"]), len(os.listdir(proc / "fd")))


class Soak:
    """Tasks that run at the same time in their own threads until ``stop``. ``problems`` has what went wrong."""

    def __init__(self, process: Process, url: str, fleet: Fleet) -> None:
        self.stop = threading.Event()
        self.problems: list[str] = []
        self.scrapes: list[tuple[float, float]] = []
        self.reloads = 0
        self.polls_by_hand = 0
        self._process, self._url, self._fleet = process, url, fleet
        self._address = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._counters: dict[str, float] = {}
        self._threads: list[threading.Thread] = []

    def run(self, *tasks: Callable[[], None]) -> None:
        """Begin the tasks."""
        for task in tasks:
            thread = threading.Thread(target=self._guarded, args=(task,))
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Stop the tasks and wait for them."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001  a task that ends is a finding too
            self.problems.append(f"{task.__name__}: {type(error).__name__}: {error}")

    def _get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self._url + path, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    # The tasks

    def scrape(self) -> None:
        """Scrape once a second, plain and with gzip in turn, and check the responses."""
        packed = False
        while not self.stop.wait(1.0):
            packed = not packed
            began = time.perf_counter()
            status, page = self._get("/metrics", Accept_Encoding="gzip" if packed else "identity")
            self.scrapes.append((time.monotonic(), time.perf_counter() - began))
            if status != 200:
                self.problems.append(f"a scrape got {status}")
            if not packed:
                self._check(page.decode())
            if self._get("/-/healthy")[0] != 200:
                self.problems.append("it was not healthy")

    def _check(self, page: str) -> None:
        """Check that no counter fell and no credit was lost."""
        found: dict[str, dict[str, float]] = {}
        for line in page.splitlines():
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            if 'account="' not in labels:
                continue
            account = labels.partition('account="')[2].partition('"')[0]
            if name.endswith("_total"):
                reason = labels.partition('reason="')[2].partition('"')[0]
                series = f"{name} {account} {labels.partition('provider=')[2][:6]} {reason}"
                if float(value) < self._counters.get(series, 0.0):
                    self.problems.append(f"a counter fell to {value} from {self._counters[series]}: {series}")
                self._counters[series] = float(value)
            found.setdefault(account, {})[name] = float(value)
        for account, values in found.items():
            balance, spent = (
                values.get("video_api_credits_balance"),
                values.get("video_api_credits_spent_total"),
            )
            if account.startswith("steady") and balance is not None and balance + (spent or 0.0) != START:
                self.problems.append(f"{account}: {balance:g} left and {spent} spent of {START:g}")

    def be_slow(self) -> None:
        """Keep connections open that send a byte a second of a request that never ends."""
        self._crowd(SLOW, b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"a")

    def be_idle(self) -> None:
        """Keep connections open that got a response and send nothing more."""
        self._crowd(IDLE, b"HEAD /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n", b"")

    def _crowd(self, size: int, first: bytes, then: bytes) -> None:
        clients: list[socket.socket] = []
        with ExitStack() as stack:
            stack.callback(_close, clients)
            while not self.stop.wait(1.0):
                for client in list(clients):
                    if not _is_open(client, then):
                        client.close()
                        clients.remove(client)
                while len(clients) < size:
                    with contextlib.suppress(OSError):
                        client = socket.create_connection(self._address, 10)
                        clients.append(client)
                        client.sendall(first)
                        client.setblocking(False)

    def send_garbage(self) -> None:
        """Send garbage, too much HTTP, or nothing, and reset the connection."""
        linger = b"\x01\x00\x00\x00" + bytes(4)
        flood = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 500
        while not self.stop.wait(1.0):
            for said in (os.urandom(500), b"GET / HTTP/1.1\r\nX: " + b"y" * 60_000, flood, b""):
                with contextlib.suppress(OSError), socket.create_connection(self._address, 10) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    client.sendall(said)

    def reload(self) -> None:
        """Reload the configuration in both ways, and every third time a wrong one."""
        while not self.stop.wait(5.0):
            good = self.reloads % 3 != 2
            self._fleet.write(good)
            if good and self.reloads % 2:
                os.kill(self._process.pid, signal.SIGHUP)
            elif (status := self._get("/-/reload", "POST")[0]) != (200 if good else 500):
                self.problems.append(f"a {'right' if good else 'wrong'} configuration got {status}")
            self.reloads += 1

    def poll_by_hand(self) -> None:
        """Poll the accounts that share a key while the daemon polls them."""
        names = [account["name"] for account in self._fleet.accounts if account["name"].startswith("shared")]
        argv = [sys.executable, "-m", "exporter", "poll", *names, f"--config.file={self._fleet.config}"]
        while not self.stop.wait(20.0):
            subprocess.run(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
            self.polls_by_hand += 1


def _close(clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


def _is_open(client: socket.socket, send: bytes) -> bool:
    try:
        if send:
            client.send(send)
        while True:
            if not client.recv(4096):
                return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def halves(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return the two halves after the first tenth of the time, in which pools and caches fill."""
    begin, end = samples[-1].at * 0.1, samples[-1].at
    middle = (begin + end) / 2
    return [s for s in samples if begin <= s.at < middle], [s for s in samples if s.at >= middle]


def compare(samples: list[Sample], alone: Sample, last: Sample) -> Iterator[str]:
    """Yield a message for everything that grew from the first half to the second or was left open at the end."""
    first, second = halves(samples)
    before, after = (statistics.fmean(s.memory for s in half) for half in (first, second))
    if after > before * GROWTH + SOME_MB:
        yield f"memory grew from {before:.1f} to {after:.1f} MB"
    for name in ("threads", "descriptors"):
        before, after = (statistics.fmean(getattr(s, name) for s in half) for half in (first, second))
        if after > before * GROWTH + 2:
            yield f"{name} grew from {before:.0f} to {after:.0f}"
    if last.descriptors > alone.descriptors + 10:
        yield f"descriptors went from {alone.descriptors} only to {last.descriptors}"


def report(samples: list[Sample], soak: Soak, began: float) -> None:
    """Print a line for each minute."""
    print("minute  memory MB  threads  descriptors  scrapes  median ms  slowest ms")
    for minute in range(int(samples[-1].at // 60) + 1):
        of = [s for s in samples if s.at // 60 == minute]
        times = sorted(taken * 1000 for at, taken in soak.scrapes if (at - began) // 60 == minute)
        if of and times:
            print(
                f"{minute:6}  {statistics.fmean(s.memory for s in of):9.1f}  {max(s.threads for s in of):7}"
                f"  {max(s.descriptors for s in of):11}  {len(times):7}  {statistics.median(times):9.1f}"
                f"  {times[-1]:10.1f}"
            )
    first, second = halves(samples)
    for name in ("memory", "threads", "descriptors"):
        means = [statistics.fmean(getattr(s, name) for s in half) for half in (first, second)]
        print(f"{name}: {means[0]:.1f} in the first half, {means[1]:.1f} in the second")


def watch(process: Process, began: float, seconds: float, stop: threading.Event) -> Iterator[Sample]:
    """Yield memory, threads and descriptors of the process, again and again."""
    while time.monotonic() - began < seconds:
        stop.wait(SAMPLE_SECONDS)
        process.check()
        yield look(process, began)


def look_once_cleared(process: Process, began: float, alone: Sample) -> Sample:
    """Wait until the earlier connections are closed, or until it takes too long."""
    end = time.monotonic() + CLEARED_SECONDS
    while (last := look(process, began)).descriptors > alone.descriptors + 10 and time.monotonic() < end:
        time.sleep(0.5)
    return last


def exporter(fleet: Fleet, log: Path) -> Process:
    argv = [
        *(sys.executable, "-m", "exporter", f"--config.file={fleet.config}"),
        *("--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle"),
    ]
    return Process(argv, log)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    minutes = parser.parse_args().minutes
    with ExitStack() as stack:
        directory = stack.enter_context(workplace())
        vendors = stack.enter_context(Vendors(log_limit=0))
        fleet = Fleet(vendors, directory)
        fleet.write()
        process = stack.enter_context(exporter(fleet, directory / "exporter.log"))
        url = process.wait_for_line("listening on ").rpartition("listening on ")[2].strip(' "\n')
        process.wait_for(url + "/-/ready")
        began = time.monotonic()
        alone = look(process, began)
        print(f"{len(fleet.accounts)} accounts, {minutes:g} minutes; alone: {alone}", flush=True)
        soak = Soak(process, url, fleet)
        stack.callback(soak.stop.set)
        soak.run(soak.scrape, soak.be_slow, soak.be_idle, soak.send_garbage, soak.reload, soak.poll_by_hand)
        samples = list(watch(process, began, minutes * 60, soak.stop))
        soak.end()
        last = look_once_cleared(process, began, alone)
        cpu = process.cpu()
        process.stop()
        log = (directory / "exporter.log").read_text()
    report(samples, soak, began)
    print(
        f"afterwards: {last}\n"
        f"{vendors.request_count} requests to vendors, {soak.reloads} reloads, {soak.polls_by_hand} polls by hand, "
        f"{cpu:.0f} s of CPU, {fleet.bans()} bans"
    )
    problems = [*soak.problems, *compare(samples, alone, last)]
    if fleet.bans():
        problems.append(f"a key was banned {fleet.bans()} times")
    if "Traceback" in log:
        problems.append("a traceback in the log: " + log[log.index("Traceback") :][:2000])
    return verdict(problems)


def verdict(problems: list[str]) -> int:
    """Print each problem once and return the exit status."""
    for problem in dict.fromkeys(problems):
        print("FAILED:", problem)
    print("not flat" if problems else "flat: no resource grew, no credit was lost, no key was banned")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
