"""Replicas as processes on a real PostgreSQL, with a vendor that counts the requests of each key."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.vendors import KeyLimit, Vendors
from tests.program.running import Program, running, until, write_config
from tests.program.test_clock import Watch
from tests.program.test_crash_loop import START, spending
from tests.state.postgresql import Server

pytestmark = pytest.mark.needs("pg_ctlcluster")

INTERVAL = 10.0
TAKEN_OVER_SECONDS = 20.0
LIMIT = 8
"""Requests a minute of a key, which is polled six times. One more makes the vendor ban it."""
COUNT = 14
"""So many accounts that hardly ever one of two replicas has none."""


class Site:
    """Accounts with a key each, a database, and the replicas that share them."""

    def __init__(self, vendors: Vendors, database: Server, directory: Path, stack: ExitStack) -> None:
        self.vendors = vendors
        self.database = database
        self.url = database.new_database()
        self.directory = directory
        self._stack = stack
        self.accounts: list[dict[str, Any]] = []
        self.keys: dict[str, str] = {}
        for number in range(COUNT):
            account = spending()
            account.rate_limit = KeyLimit(LIMIT)
            name = f"account{number}"
            self.keys[name] = vendors.add(account)
            base = {"provider": "vidnavigator", "base_url": vendors.vidnavigator_url, "max_requests_per_minute": LIMIT}
            self.accounts.append({"name": name, "api_key": self.keys[name], **base})

    def start(self, *accounts: dict[str, Any], **variables: str) -> Program:
        poll = {"interval": f"{INTERVAL:.0f}s", "timeout": "5s"}
        path = self.directory / f"{accounts[0]['name'] if accounts else 'all'}.yaml"
        config = write_config(path, accounts or self.accounts, poll=poll, state={"url": self.url})
        program: AbstractContextManager[Program] = running(f"--config.file={config}", **variables)
        started = self._stack.enter_context(program)
        started.ready()
        return started

    def check(self, *replicas: Program) -> None:
        """Check that no credit was lost or booked twice, and that no vendor had a request too many."""
        for replica in replicas:
            page = replica.metrics()
            for name in self.keys:
                values = [value for series, value in page.items() if f'account="{name}"' in series]
                assert values
                spent = total(page, "credits_spent_total", name)
                assert spent + total(page, "credits_balance", name) == START
            assert "Traceback" not in replica.log
        for key in self.keys.values():
            limit = self.vendors.accounts[key].rate_limit
            assert limit is not None and limit.bans == 0

    def times(self) -> list[list[float]]:
        return [[request.time for request in self.vendors.requests_of(key)] for key in self.keys.values()]


def total(page: dict[str, float], family: str, account: str) -> float:
    return sum(
        value
        for series, value in page.items()
        if series.startswith(f"video_api_{family}{{") and f'account="{account}"' in series
    )


def spent(program: Program) -> float:
    page = program.metrics()
    return sum(value for series, value in page.items() if series.startswith("video_api_credits_spent_total{"))


def own(program: Program, name: str) -> float | None:
    return program.metrics().get(f"video_api_exporter_{name}")


def held(*programs: Program) -> list[float | None]:
    return [own(program, "accounts_held") for program in programs]


def shares(*programs: Program) -> Callable[[], bool]:
    """Return a check that each replica polls some accounts, and that all together poll each account once."""

    def do() -> bool:
        found = [count or 0 for count in held(*programs)]
        return all(found) and sum(found) == COUNT

    return do


@pytest.fixture
def site(vendors: Vendors, postgresql: Server, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(vendors, postgresql, tmp_path, stack)


def start_three(site: Site) -> list[Program]:
    replicas = [site.start() for _ in range(3)]
    until(lambda: sum(count or 0 for count in held(*replicas)) == COUNT, "shared")
    return replicas


def test_the_accounts_of_a_killed_replica_are_polled_by_the_others_and_no_counter_falls(site: Site) -> None:
    replicas = start_three(site)
    first = max(replicas, key=lambda replica: own(replica, "accounts_held") or 0)
    others = [replica for replica in replicas if replica is not first]
    before = spent(first)
    first.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    until(lambda: sum(count or 0 for count in held(*others)) == COUNT, "taken over", TAKEN_OVER_SECONDS)
    assert all(spent(other) >= before for other in others)
    until(lambda: all(any(at > killed_at for at in times) for times in site.times()), "each polled again")
    site.check(*others)
    for times in site.times():
        assert all(later - earlier > INTERVAL / 4 for earlier, later in pairwise(times[1:])), times
    until(lambda: spent(others[0]) == spent(others[1]), "all tell the same")


def test_a_suspended_replica_does_not_poll_accounts_that_another_took_over(site: Site) -> None:
    first, second = site.start(), site.start()
    until(shares(first, second), "shared")
    first.signal(signal.SIGSTOP)
    until(lambda: held(second) == [COUNT], "taken over", TAKEN_OVER_SECONDS)
    site.database.cut_connections(site.url)
    first.signal(signal.SIGCONT)
    until(shares(first, second), "shared again")
    until(lambda: own(first, "state_up") == 1, "connected")
    began = time.monotonic()
    until(lambda: all(times[-1] > began for times in site.times()), "each polled again")
    site.check(first, second)
    for times in site.times():
        assert all(later - earlier > INTERVAL / 4 for earlier, later in pairwise(times[1:])), times


@pytest.mark.needs("faketime")
def test_replicas_whose_clocks_differ_by_minutes_export_the_same_times_and_poll_once(
    site: Site, tmp_path: Path
) -> None:
    ahead, behind = Watch(tmp_path / "ahead"), Watch(tmp_path / "behind")
    ahead.set(600)
    behind.set(-600)
    first, second = site.start(**ahead.variables), site.start(**behind.variables)
    until(shares(first, second), "shared")
    until(lambda: all(len(times) > 2 for times in site.times()), "polled")
    for replica in (first, second):
        for name in site.keys:
            at = replica.value("last_poll_timestamp_seconds", name)
            assert at is not None and abs(time.time() - at) < 2 * INTERVAL
    for times in site.times():
        assert all(later - earlier > INTERVAL / 4 for earlier, later in pairwise(times[1:])), times
    site.check(first, second)


def test_replicas_with_different_configurations_each_serve_their_own_and_warn(site: Site) -> None:
    first, second = site.start(*site.accounts[:9]), site.start(*site.accounts[5:])
    until(lambda: own(first, "replicas_config_differs") == own(second, "replicas_config_differs") == 1, "told")
    until(lambda: sum(count or 0 for count in held(first, second)) == COUNT, "shared")
    assert first.value("polls_total", "account0") and second.value("polls_total", "account13")
    assert first.value("polls_total", "account13") is None
    assert second.value("polls_total", "account0") is None
    assert "replicas have different configurations" in first.log + second.log
