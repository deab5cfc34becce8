"""The program is killed repeatedly. No value is lost, and no vendor gets one request too many.

Each round starts it, loads changed configurations so that everything is polled at once, polls by hand beside it, and
kills it wherever it is then. The vendors ban a key for one request more than the configuration allows.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.demo import apis, faults
from exporter.demo.faults import Fault, ReceivedRequest
from exporter.demo.vendors import KeyLimit, SimulatedAccount, Vendors, videodb_account, vidnavigator_account
from tests.program.running import PATIENT, Program, command, environment, run, running, until

LIMIT, PLENTY = 12, 60
ROUNDS, MOST_ROUNDS = 4, 20
START = 1000
SAMPLE = re.compile(r'(video_api_\w+)\{account="(\w+)",(.*)\} (\S+)')


def spending() -> SimulatedAccount:
    """Make an account that has a credit less at each response."""
    left = iter(range(START, 0, -1))
    month = time.time() - apis.DAY, time.time() + apis.DAY
    responses = {"/usage": lambda: apis.vidnavigator_usage(monthly_remaining=next(left), purchased=0, period=month)}
    return SimulatedAccount(apis.VIDNAVIGATOR, responses)


def every_other(fault: Fault) -> Fault:
    """Commit a fault at every second request."""
    turns = iter(range(10_000))

    def act(request: ReceivedRequest) -> None:
        if next(turns) % 2:
            request.exchange.send_json(200, request.normal())
        else:
            fault.act(request)

    return Fault(act)


class Site:
    """Vendors, and a configuration that is never twice the same."""

    def __init__(self, vendors: Vendors, directory: Path) -> None:
        self.vendors = vendors
        self.config = directory / "config.yaml"
        self._state = directory / "state.db"
        self._version = 0
        self.accounts: list[dict[str, Any]] = []
        self.spender = self.key(spending(), limit=PLENTY)
        self.shared = self.key(spending())
        vendors.accounts[self.shared].fault = every_other(faults.status(500))
        self.billed = self.key(videodb_account())
        self.banned = self.key(vidnavigator_account())
        vendors.accounts[self.banned].fault = faults.status(429)
        self.add("spender", self.spender)
        for number in range(4):
            self.add(f"shared{number}", self.shared)
        self.add("billed", self.billed, collect=["usage", "invoices", "auto_recharge"])
        self.add("banned", self.banned)
        self.configure()

    def key(self, account: SimulatedAccount, limit: int = LIMIT) -> str:
        account.rate_limit = KeyLimit(limit)
        return self.vendors.add(account)

    def add(self, name: str, key: str, **more: Any) -> None:
        provider = self.vendors.accounts[key].api.provider
        url = self.vendors.videodb_url if provider == "videodb" else self.vendors.vidnavigator_url
        most = self.limit(key).per_minute
        self.accounts.append(
            {
                "name": name,
                "provider": provider,
                "api_key": key,
                "base_url": url,
                "max_requests_per_minute": most,
                **more,
            }
        )

    def limit(self, key: str) -> KeyLimit:
        found = self.vendors.accounts[key].rate_limit
        assert found is not None
        return found

    def configure(self) -> None:
        self._version += 1
        changed = [{**account, "labels": {"version": str(self._version)}} for account in self.accounts]
        document = {
            "poll": {"interval": "30s", "timeout": "5s", "stale_after": "1h"},
            "state": {"path": str(self._state)},
            "accounts": changed,
        }
        self.config.write_text(json.dumps(document))


class Witness:
    """Looks at every page of every process, and at what must hold from one to the next."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, str, str], float] = {}
        self.last: dict[str, dict[str, float]] = {}
        self.first: float | None = None
        """The spender's balance at the first reading that was committed."""

    def look(self, program: Program) -> None:
        accounts: dict[str, dict[str, float]] = {}
        for name, account, labels, value in SAMPLE.findall(program.get("/metrics")[1]):
            accounts.setdefault(account, {})[name] = float(value)
            if name.endswith("_total"):
                series = name, account, re.sub(r'version="\d+"', "", labels)
                assert float(value) >= self.counters.get(series, 0), f"{series} fell"
                self.counters[series] = float(value)
        for account, values in accounts.items():
            self._compare(account, values, self.last.get(account, {}))
        self.last = accounts

    def _compare(self, account: str, values: dict[str, float], before: dict[str, float]) -> None:
        if account == "spender" and "video_api_credits_balance" in values:
            left, spent = values["video_api_credits_balance"], values["video_api_credits_spent_total"]
            self.first = self.first or left + spent
            assert left + spent == self.first, "a credit was lost or booked twice"
        if values["video_api_polls_total"] == before.get("video_api_polls_total"):
            for name in ("credits_balance", "last_success_timestamp_seconds", "last_poll_timestamp_seconds"):
                assert values.get(f"video_api_{name}") == before.get(f"video_api_{name}"), f"{name} of {account}"


@pytest.fixture
def site(vendors: Vendors, tmp_path: Path) -> Site:
    return Site(vendors, tmp_path)


def rounds(site: Site) -> Iterator[int]:
    """Yield until there were enough, and the shared key's limit was put to the test: it held a poll back, or broke."""
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and (site.limit(site.shared).bans or held_back(site)):
            return
        yield number
    pytest.fail("the limit was not put to the test")


def held_back(site: Site) -> bool:
    """Poll the accounts of the shared key by hand, and return whether the limit held one of them back.

    The vendor's own count cannot tell, because a request that was killed after it was recorded never arrives.
    """
    names = [account["name"] for account in site.accounts if account["api_key"] == site.shared]
    polled = run("poll", f"--config.file={site.config}", "--output=json", *names)
    return any(row["waits"] for row in json.loads(polled.stdout))


@contextmanager
def polling_by_hand(config: Path) -> Iterator[None]:
    """Poll all accounts by hand beside the daemon, whatever becomes of either."""
    poll = subprocess.Popen(
        command("poll", f"--config.file={config}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        yield
    finally:
        poll.wait(PATIENT)


def test_a_crash_loop_loses_no_value_and_keeps_the_limit_of_the_key(site: Site) -> None:
    witness = Witness()
    site.vendors.latency_seconds = 0.02
    with ExitStack() as by_hand:
        for number in rounds(site):
            site.configure()
            with running(f"--config.file={site.config}", "--web.enable-lifecycle") as program:
                if number == 0:
                    program.ready()
                witness.look(program)
                if number in (1, ROUNDS - 1):
                    by_hand.enter_context(polling_by_hand(site.config))
                for _ in range(random.randint(1, 4)):
                    site.configure()
                    assert program.get("/-/reload", "POST")[0] == 200
                    witness.look(program)
                site.vendors.wait_for_requests(len(site.vendors.requests) + random.randint(0, 3), timeout=0.3)
                witness.look(program)
                program.signal(signal.SIGKILL)
    with running(f"--config.file={site.config}", "--web.enable-lifecycle") as program:
        witness.look(program)
        polls = program.value("polls_total", "spender")
        site.configure()
        assert program.get("/-/reload", "POST")[0] == 200
        until(lambda: program.value("polls_total", "spender") != polls, "another poll")
        witness.look(program)
        assert program.value("credits_spent_total", "spender") not in (None, 0)
    for name in ("spender", "shared", "billed", "banned"):
        key = getattr(site, name)
        times = [request.time for request in site.vendors.requests_of(key)]
        most = site.limit(key).per_minute
        assert all(later - earlier >= 60 for earlier, later in zip(times, times[most:], strict=False)), name
        assert site.limit(key).bans == 0, name
    assert len(site.vendors.requests_of(site.banned)) == 1, "one request met the 429, and none came after it"


def test_a_key_has_one_limit_wherever_it_is_written(vendors: Vendors, tmp_path: Path) -> None:
    key = secrets.token_hex(16)
    account = vendors.add(vidnavigator_account(), key)
    vendors.accounts[account].rate_limit = KeyLimit(2)
    (tmp_path / "key").write_text(key)
    (tmp_path / "key").chmod(0o600)
    common = {"provider": "vidnavigator", "base_url": vendors.vidnavigator_url, "max_requests_per_minute": 2}
    accounts = [
        {"name": "literal", "api_key": key, **common},
        {"name": "file", "api_key_file": str(tmp_path / "key"), **common},
        {"name": "variable", "api_key_env": "A_KEY", **common},
    ]
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"accounts": accounts}))
    with running(f"--config.file={config}", A_KEY=key) as program:
        assert vendors.wait_for_requests(2)
        done = [program.value("polls_total", str(account["name"])) for account in accounts]
        assert len(vendors.requests) == 2, done
    assert vendors.accounts[key].rate_limit.bans == 0  # type: ignore[union-attr]  # set above
