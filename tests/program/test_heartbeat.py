"""``/-/healthy`` follows the heartbeat of the scheduler, and not the polls that were due."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.app import App
from exporter.config.load import load
from exporter.options import Options
from exporter.polling import scheduler as scheduler_module
from exporter.polling.scheduler import Scheduler
from exporter.providers import PROVIDERS
from exporter.runtime.clock import SystemClock
from exporter.runtime.logs import LogWriter
from exporter.runtime.redaction import Redactor
from exporter.web.messages import Request, Response
from tests.conftest import FakeClock
from tests.program.running import until, write_config


@pytest.fixture
def app(clock: FakeClock, tmp_path: Path) -> App:
    path = write_config(tmp_path / "c.yaml", [{"name": "a", "provider": "videodb", "api_key_env": "NO_KEY"}])
    config = load(path, PROVIDERS, {})
    return App(Options(config_file=path), {}, Redactor(), clock, config, None, LogWriter())


def health(app: App) -> int:
    response = app._routes()["/-/healthy"].handler(Request("GET", "/-/healthy", {}, {}))
    assert isinstance(response, Response)
    return response.status


def test_it_is_unhealthy_after_two_minutes_without_a_heartbeat(app: App, clock: FakeClock) -> None:
    assert scheduler_module.OVERDUE_SECONDS == 120
    clock.advance(119.9)
    assert health(app) == 200
    clock.advance(0.1)
    assert health(app) == 503
    app._polls.scheduler._last_beat = clock.monotonic()
    assert health(app) == 200


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_does_not_change_the_health(app: App, clock: FakeClock, jump: float) -> None:
    clock.jump(jump)
    assert health(app) == 200


class Beats:
    """A scheduler without accounts and with fast heartbeats."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(lambda _account: 0.0, SystemClock(), lambda _lag: None)
        self.scheduler.start()

    def further(self) -> bool:
        last = self.scheduler._last_beat
        pause = threading.Event()
        for _ in range(100):
            if self.scheduler._last_beat != last:
                return True
            pause.wait(0.01)
        return False


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beats]:
    monkeypatch.setattr(scheduler_module, "HEARTBEAT_SECONDS", 0.01)
    made = Beats()
    yield made
    made.scheduler.stop(5)


def test_the_scheduler_sends_heartbeats_while_no_poll_is_due(beats: Beats) -> None:
    for _ in range(3):
        until(beats.further, "a heartbeat")


def test_heartbeats_stop_with_the_thread_that_starts_polls(beats: Beats) -> None:
    until(beats.further, "a heartbeat")
    beats.scheduler._shut_down()
    until(lambda: not beats.further(), "the end of the beat under way, and no other")
