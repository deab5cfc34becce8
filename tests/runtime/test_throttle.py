"""Messages that repeat very often are logged once a minute."""

from __future__ import annotations

import logging

import pytest

from exporter.runtime.throttle import ThrottledLog
from tests.conftest import FakeClock

logger = logging.getLogger("throttled")


def test_a_repeated_message_is_logged_once_a_minute_with_the_number_that_was_left_out(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = ThrottledLog(logger, clock.monotonic)
    for second in range(121):
        log.warning("no place for %s", second)
        clock.advance(1)
    assert [record.getMessage() for record in caplog.records] == [
        "no place for 0",
        "no place for 60 (59 more were not logged)",
        "no place for 120 (59 more were not logged)",
    ]


def test_one_message_does_not_hide_another(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(logger, clock.monotonic)
    for _ in range(3):
        log.warning("one")
        log.error("another")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "one"),
        ("ERROR", "another"),
    ]


def test_a_rare_message_is_logged_as_it_is(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(logger, clock.monotonic)
    for _ in range(2):
        log.warning("rare")
        clock.advance(60)
    assert [record.getMessage() for record in caplog.records] == ["rare"] * 2


def test_an_error_has_its_traceback(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        ThrottledLog(logger, clock.monotonic).exception("failed")
    assert "the reason" in caplog.text
