"""A thread makes a page of many accounts, because the other clients of the event loop must not wait for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from exporter.app import App
from exporter.config.load import load
from exporter.metrics.grid import SEGMENT
from exporter.options import Options
from exporter.providers import PROVIDERS
from exporter.runtime.logs import LogWriter
from exporter.runtime.redaction import Redactor
from exporter.web.messages import Request, Response
from tests.conftest import FakeClock
from tests.program.running import write_config


def scrape(count: int, clock: FakeClock, directory: Path) -> Response | Future[Response]:
    shared = {"provider": "videodb", "api_key_env": "NO_KEY", "max_requests_per_minute": 1000}
    accounts = [{"name": str(number), **shared} for number in range(count)]
    path = write_config(directory / "c.yaml", accounts)
    app = App(Options(config_file=path), {}, Redactor(), clock, load(path, PROVIDERS, {}), None, LogWriter())
    app._apply(app._config)
    return app._routes()["/metrics"].handler(Request("GET", "/metrics", {}, {}))


def test_a_page_of_one_segment_is_made_on_the_event_loop(clock: FakeClock, tmp_path: Path) -> None:
    response = scrape(SEGMENT, clock, tmp_path)
    assert isinstance(response, Response)
    assert b"".join(response.more).count(b"video_api_poll_interval_seconds{") == SEGMENT


def test_a_larger_page_is_made_in_another_thread(clock: FakeClock, tmp_path: Path) -> None:
    response = scrape(SEGMENT + 1, clock, tmp_path)
    assert isinstance(response, Future)
    assert b"".join(response.result(60).more).count(b"video_api_poll_interval_seconds{") == SEGMENT + 1
    assert any(thread.name.startswith("large-page") for thread in threading.enumerate())
