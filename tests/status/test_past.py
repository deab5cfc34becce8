from __future__ import annotations

import threading
from contextlib import AbstractContextManager

import pytest

from exporter.errors import StateUnavailableError
from exporter.state.base import AccountHistory
from exporter.status import past
from exporter.status.past import NO_STATE, RETRY_SECONDS, UNREADABLE, Past
from tests.conftest import FakeClock


def test_without_a_state_the_reason_is_the_configuration() -> None:
    assert Past(None).read(lambda _: 1, 0) == (0, NO_STATE)


def test_after_a_failure_the_state_is_not_read_for_a_while(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def opened() -> AbstractContextManager[AccountHistory]:
        tries.append(clock.monotonic())
        raise StateUnavailableError("the disk is gone")

    history = Past(opened, clock.monotonic)
    for _ in range(3):
        assert history.read(lambda _: 1, 0) == (0, UNREADABLE)
    clock.advance(RETRY_SECONDS)
    assert history.read(lambda _: 1, 0) == (0, UNREADABLE)
    assert len(tries) == 2
    assert "the disk is gone" in caplog.text


def test_a_state_that_never_responds_does_not_hold_up_the_page(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()

    def opened() -> AbstractContextManager[AccountHistory]:
        released.wait()
        raise StateUnavailableError("the connection was cut")

    monkeypatch.setattr(past, "DEADLINE_SECONDS", 0.01)
    history = Past(opened, clock.monotonic)
    assert history.read(lambda _: 1, 0) == (0, UNREADABLE)
    assert history.read(lambda _: 1, 0) == (0, UNREADABLE)
    assert [thread.name for thread in threading.enumerate()].count("history") == 1
    released.set()
    assert "reading the history took more than" in caplog.text
