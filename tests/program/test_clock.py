"""The wall clock of the running program jumps by an hour, as with NTP or after a suspension.

libfaketime shifts what the program takes for the time of day by what stands in a file; the monotonic clock is left.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.demo import faults
from exporter.demo.vendors import Vendors
from tests.program.running import Program, environment, running, until
from tests.program.test_reliability import navigator, stateful

pytestmark = pytest.mark.needs("faketime")
HOUR = 3600.0
JUMPS = {"forth": HOUR, "back": -HOUR}


class Watch:
    """The program's clock: by so many seconds off ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0.0)
        found = subprocess.run(
            ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        self.variables = {
            "LD_PRELOAD": found.stdout.strip(),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its fix makes each change of threads in Python take 40 ms.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, seconds: float) -> None:
        # Replaced, not written: the program reads it at any moment.
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._path)


class Site:
    """A program with a clock of its own, an account that is well and one whose key is in cool-down."""

    def __init__(self, directory: Path, vendors: Vendors, stack: ExitStack, jump: float) -> None:
        directory.mkdir()
        self.jump = jump
        self.watch = Watch(directory / "clock")
        self.vendors = vendors
        well, limited = navigator(vendors, "well"), navigator(vendors, "limited")
        self.well, self.limited = well["api_key"], limited["api_key"]
        vendors.accounts[self.limited].fault = faults.status(429, retry_after=600)
        self.config = stateful(directory, [well, limited], poll={"interval": "10s", "timeout": "5s"})
        self.program = self.run(stack)

    def run(self, stack: ExitStack) -> Program:
        program = stack.enter_context(running(f"--config.file={self.config}", **self.watch.variables))
        program.ready()
        return program

    def shows_its_polls(self) -> bool:
        return self.program.value("polls_total", "well") == self.polls()

    def polls(self) -> int:
        return len(self.vendors.requests_of(self.well))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """Run two sites whose clocks jump, each until it has polled twice since; and two that are off meanwhile."""
    directory = tmp_path_factory.mktemp("clock")
    with Vendors() as vendors, ExitStack() as stack:
        found = {name: Site(directory / name, vendors, stack, jump) for name, jump in JUMPS.items()}
        for name, jump in JUMPS.items():
            with ExitStack() as first:
                off = found[f"off {name}"] = Site(directory / f"off {name}", vendors, first, jump)
            off.watch.set(jump)
            off.program = off.run(stack)
        polled = {name: found[name].polls() for name in JUMPS}
        for name, jump in JUMPS.items():
            found[name].watch.set(jump)
        for name in JUMPS:
            assert vendors.wait_for_requests(polled[name] + 2, found[name].well, timeout=60), "the jump lost a poll"
            until(found[name].shows_its_polls, "its end")
        yield found


@pytest.fixture(params=JUMPS)
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    return sites[request.param]


def test_the_program_sees_the_new_time_after_the_jump(site: Site) -> None:
    polled = site.program.value("last_poll_timestamp_seconds", "well")
    ours = site.vendors.requests_of(site.well)
    assert polled is not None
    assert site.program.value("reading_gap_seconds", "well") is not None
    offset = polled - site.program.metrics()["process_start_time_seconds"]
    assert abs(offset - site.jump) < HOUR / 2, f"polled {offset:.0f} s after the start, by its own clock"
    assert len(ours) >= 3


def test_no_poll_is_doubled_or_hurried(site: Site) -> None:
    times = [request.time for request in site.vendors.requests_of(site.well)]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) > 4, gaps


def test_no_value_is_stale_or_lost(site: Site) -> None:
    assert site.program.value("up", "well") == 1
    assert site.program.value("credits_balance", "well") == 112.5
    assert site.program.value("credits_spent_total", "well") == 0


def test_a_cooldown_continues_while_the_clock_is_set(site: Site) -> None:
    assert len(site.vendors.requests_of(site.limited)) == 1
    assert site.program.value("polls_total", "limited") == 1


def test_it_is_healthy(site: Site) -> None:
    assert site.program.get("/-/healthy")[0] == 200


@pytest.mark.parametrize("name", JUMPS)
def test_a_clock_that_was_set_while_the_program_was_stopped_delays_no_poll_and_ends_no_cooldown(
    sites: dict[str, Site], name: str
) -> None:
    off = sites[f"off {name}"]
    until(lambda: off.program.value("polls_total", "well") == off.polls() >= 2, "the next poll")
    assert len(off.vendors.requests_of(off.limited)) == 1
