"""A thread makes a page of many accounts, because the other clients of the event loop must not wait for it."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from exporter.app import App
from exporter.config.load import load
from exporter.metrics.grid import SEGMENT
from exporter.options import Options
from exporter.providers import PROVIDERS
from exporter.readings import AccountState
from exporter.runtime.logs import LogWriter
from exporter.runtime.redaction import Redactor
from exporter.web.messages import Request, Response
from tests.conftest import FakeClock
from tests.program.running import write_config

GZIP = Request("GET", "/metrics", {}, {"accept-encoding": "gzip"})
PLAIN = Request("GET", "/metrics", {}, {})


def start(count: int, clock: FakeClock, directory: Path) -> App:
    shared = {"provider": "videodb", "api_key_env": "NO_KEY", "max_requests_per_minute": 1000}
    accounts = [{"name": str(number), **shared} for number in range(count)]
    path = write_config(directory / "c.yaml", accounts)
    app = App(Options(config_file=path), {}, Redactor(), clock, load(path, PROVIDERS, {}), None, LogWriter())
    app._apply(app._config)
    return app


def scrape(app: App, request: Request) -> Response | Future[Response]:
    return app._routes()["/metrics"].handler(request)


def accounts_in(response: Response) -> int:
    text = b"".join(response.more)
    return (gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text).count(b"video_api_poll_interval_seconds{")


def poll(app: App, number: int) -> None:
    account = app._config.accounts[number]
    assert app._store.publish(account, AccountState(polls=1, last_poll=1000.0 + number))


@pytest.mark.parametrize("request_", [PLAIN, GZIP])
def test_a_page_of_one_segment_is_made_on_the_event_loop(clock: FakeClock, tmp_path: Path, request_: Request) -> None:
    response = scrape(start(SEGMENT, clock, tmp_path), request_)
    assert isinstance(response, Response)
    assert accounts_in(response) == SEGMENT


@pytest.mark.parametrize("request_", [PLAIN, GZIP])
def test_a_larger_page_is_made_in_another_thread(clock: FakeClock, tmp_path: Path, request_: Request) -> None:
    response = scrape(start(SEGMENT + 1, clock, tmp_path), request_)
    assert isinstance(response, Future)
    assert accounts_in(response.result(60)) == SEGMENT + 1
    assert any(thread.name.startswith("large-page") for thread in threading.enumerate())


def test_a_large_page_of_which_little_changed_is_made_on_the_event_loop(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.metrics.page._QUICK", 5)
    app = start(4 * SEGMENT, clock, tmp_path)
    first = scrape(app, GZIP)
    assert isinstance(first, Future)
    first.result(60)
    poll(app, 0)
    assert isinstance(scrape(app, GZIP), Response)
    for number in range(4 * SEGMENT):
        poll(app, number)
    much = scrape(app, GZIP)
    assert isinstance(much, Future)
    assert accounts_in(much.result(60)) == 4 * SEGMENT


def test_a_scrape_during_a_reload_waits_in_the_thread(clock: FakeClock, tmp_path: Path) -> None:
    app = start(1, clock, tmp_path)
    with app._scrapes.waiting():
        response = scrape(app, GZIP)
    assert isinstance(response, Future)
    assert accounts_in(response.result(60)) == 1
