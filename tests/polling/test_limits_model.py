"""Any order of clock jumps, kills and restarts keeps the limit of a key and its cool-downs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from exporter.polling.limits import Limits
from exporter.readings import AccountState
from exporter.state.base import KeyTarget
from exporter.state.key_records import KeyRecords
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock

PER_MINUTE = 4
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # many files, none to be kept
KEYS = [KeyTarget("vidnavigator", "u", "k"), KeyTarget("videodb", "u", "k")]
keys = st.sampled_from(KEYS)


class Processes(RuleBasedStateMachine):
    """A daemon that crashes and restarts, a poll by hand that comes and goes, and one vendor that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.path = Path(self.folder.name, "state.db")
        self.sent: dict[KeyTarget, list[float]] = {key: [] for key in KEYS}
        self.latest: dict[KeyTarget, list[float]] = {key: [] for key in KEYS}
        """When each request may have ended, for a process that does not know it."""
        self.cooling: dict[KeyTarget, float] = dict.fromkeys(KEYS, 0.0)
        self.files: dict[bool, StateFile] = {}
        self.limits: dict[bool, Limits] = {}
        for by_hand in (False, True):
            self.restart(by_hand)

    def teardown(self) -> None:
        for file in self.files.values():
            file.close()
        self.folder.cleanup()

    @rule(by_hand=st.booleans())
    def restart(self, by_hand: bool) -> None:
        if by_hand in self.files:
            self.files[by_hand].close()
        self.files[by_hand] = StateFile.open(self.path, self.clock, exclusive=not by_hand)
        self.limits[by_hand] = Limits(self.clock, KeyRecords(self.files[by_hand], self.clock, "boot"))

    @rule(seconds=st.sampled_from([0.1, 7.3, 30, 59.9, 60, 300]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([3600.0, -3600.0, 60.0, -60.0]))
    def the_wall_clock_is_set(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(by_hand=st.booleans(), key=keys, attempts=st.integers(1, 5))
    def poll(self, by_hand: bool, key: KeyTarget, attempts: int) -> None:
        for _ in range(attempts):
            now = self.clock.monotonic()
            recent = [at for at in self.sent[key] if at > now - 60]
            wait = self.limits[by_hand].admit(key, PER_MINUTE)
            if wait is None:
                assert now >= self.cooling[key] - 1e-6
                assert len(recent) < PER_MINUTE
                self._note(key, now, now)
            elif wait.reason == "cooldown":
                # Another process may have extended it: that is seen when this wait is over.
                assert 0 < wait.seconds < self.cooling[key] - now + 0.01
            else:
                latest = sorted(min(at, now) for at in self.latest[key])
                assert wait.seconds < latest[-PER_MINUTE] + 60 - now + 0.01
                if len(recent) >= PER_MINUTE:
                    assert wait.seconds > recent[-PER_MINUTE] + 60 - now - 0.01

    def _note(self, key: KeyTarget, sent: float, latest: float) -> None:
        self.sent[key] = sorted([*self.sent[key], sent])
        self.latest[key].append(latest)

    @rule(
        by_hand=st.booleans(),
        key=keys,
        seconds=st.sampled_from([0.01, 3.0, 30.0, 80.0]),
        spare=st.sampled_from([0.0, 5.0, 70.0]),
        end=st.sampled_from(["saved", "not saved", "killed"]),
    )
    def poll_that_takes_a_while(
        self, by_hand: bool, key: KeyTarget, seconds: float, spare: float, end: Literal["saved", "not saved", "killed"]
    ) -> None:
        until = self.clock.monotonic() + seconds + spare
        if self.limits[by_hand].admit(key, PER_MINUTE, until) is None:
            self.clock.advance(seconds)  # the vendor counts the request at its latest
            now = self.clock.monotonic()
            self._note(key, now, now if end == "saved" else until)
            self.limits[by_hand].end_request(key, until)
            if end == "saved":
                self.files[by_hand].save(("videodb", "a"), AccountState())
            elif end == "killed":
                self.files[by_hand].later.clear()
                self.restart(by_hand)

    @rule(by_hand=st.booleans(), key=keys)
    def waiting_as_long_as_told_is_enough(self, by_hand: bool, key: KeyTarget) -> None:
        for _ in range(4):  # a cool-down, another process's longer one, a budget behind it
            wait = self.limits[by_hand].admit(key, PER_MINUTE)
            if wait is None:
                self._note(key, self.clock.monotonic(), self.clock.monotonic())
                return
            self.clock.advance(wait.seconds)
        raise AssertionError("still waiting")

    @rule(by_hand=st.booleans(), key=keys, seconds=st.sampled_from([1.0, 60.0, 500.0]))
    def told_to_cool_down(self, by_hand: bool, key: KeyTarget, seconds: float) -> None:
        self.limits[by_hand].cool_down(key, seconds)
        self.cooling[key] = max(self.cooling[key], self.clock.monotonic() + seconds)


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
