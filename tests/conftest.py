"""Fixtures of most tests, which are a clock that tests set, accounts and the simulated vendors."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import settings

from exporter.config.accounts import Account
from exporter.config.credentials import KeySource
from exporter.config.thresholds import DEFAULTS
from exporter.demo.vendors import Vendors
from exporter.providers import PROVIDERS
from tests.state.postgresql import Server, server

settings.register_profile("any machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any machine")

START = 1_800_000_000.0
# Where scripts/tools unpacks what it does not install.
os.environ["PATH"] += f"{os.pathsep}{Path(__file__).parent.parent / '.venv/unstable/bin'}"


@pytest.hookimpl(tryfirst=True)  # the fixtures start programs
def pytest_runtest_setup(item: pytest.Item) -> None:
    leave_out = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if shutil.which(program) is None:
                leave_out(f"{program} is missing: get it with `scripts/tools {program}`")


@contextmanager
def unmeasured() -> Iterator[None]:
    """Measure no coverage meanwhile. It slows what runs the same lines thousands of times to a half."""
    measuring = Coverage.current()
    if measuring is not None:
        measuring.stop()
    try:
        yield
    finally:
        if measuring is not None:
            measuring.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Leave random examples out of the coverage, which would differ from run to run."""
    with unmeasured() if item.get_closest_marker("hypothesis") else nullcontext():
        return (yield)


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Undo what a test that runs a command sets for the whole process."""
    callbacks, thresholds = gc.callbacks[:], gc.get_threshold()
    loggers = [logging.getLogger(name) for name in (None, "apscheduler", "urllib3", "asyncio")]
    handlers, levels = loggers[0].handlers[:], [one.level for one in loggers]
    yield
    loggers[0].handlers[:] = handlers
    for one, level in zip(loggers, levels, strict=True):
        one.setLevel(level)
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()  # Hypothesis and the tests of memory look for references among all objects


class FakeClock:
    """Both clocks, moved by hand; ``jump`` sets the wall clock as NTP would."""

    def __init__(self) -> None:
        self.wall_time = START
        self.monotonic_time = 1000.0

    def wall(self) -> float:
        return self.wall_time

    def monotonic(self) -> float:
        return self.monotonic_time

    def advance(self, seconds: float) -> None:
        self.wall_time += seconds
        self.monotonic_time += seconds

    def jump(self, seconds: float) -> None:
        self.wall_time += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    with Vendors() as running:
        yield running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with server() as running:
        yield running


MakeAccount = Callable[..., Account]


@pytest.fixture
def make_account() -> MakeAccount:
    def make(provider: str = "vidnavigator", name: str = "acct", key: str = "", **changes: object) -> Account:
        values: dict[str, object] = {
            "provider": provider,
            "name": name,
            "key": KeySource("literal", secret=key or secrets.token_hex(16)),
            "base_url": PROVIDERS[provider].base_url,
            "ca_file": None,
            "common_ca_file": None,
            "max_requests_per_minute": 50,
            "collect": ("usage",),
            "credit_rates": {},
            "max_operations": 100,
            "interval": 60.0,
            "timeout": 5.0,
            "stale_after": 180.0,
            "thresholds": DEFAULTS.of(PROVIDERS[provider].quotas),
            "labels": {},
        }
        return Account(**{**values, **changes})  # type: ignore[arg-type]  # a test names what it changes

    return make


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(secrets.token_hex(16) + "\n")
    path.chmod(0o600)
    return path
