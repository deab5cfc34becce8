"""A status page on loopback over a store that the test fills."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect, sync_playwright

from exporter.config.accounts import Account
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.options import Options
from exporter.polling.ledger import advance
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Failure, Kept, Pool, Usage
from exporter.state.history import open_file
from exporter.state.sqlite import StateFile
from exporter.status.past import OpenHistory
from exporter.status.routes import routes
from exporter.web.server import Server
from tests.conftest import FakeClock, MakeAccount
from tests.providers.responses import voyager

# No proxy, no updates, no telemetry: the browser talks to the page's server alone.
SWITCHES = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}
LIMIT = 80.0

expect.set_options(timeout=20_000)


def usage(balance: float | None = 60.0, **changes: Any) -> Usage:
    """Return the documented response with this balance: warning below 16, critical below 4."""
    return replace(parse_usage(voyager(generated_at=None), ParseOptions()), balance=balance, **changes)


@dataclass
class Response:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def accounts(self) -> list[str]:
        return [row["account"] for row in json.loads(self.body)["accounts"]]


class Site:
    """The page as it is served, its accounts and its clock."""

    def __init__(
        self, clock: FakeClock, make_account: MakeAccount, history: OpenHistory | None = None, **options: Any
    ) -> None:
        self.clock = clock
        self._make_account = make_account
        self.store = Store(Exposition(FAMILIES, SelfMetrics("0", "", 0, 1).registry, clock), clock)
        self.kept = Kept()
        pages = routes(self.store, history, clock, Options(Path("config.yaml"), **options), "1.2.3", lambda: self.kept)
        self.server = Server(pages, ["127.0.0.1:0"])
        self.server.bind()
        self.server.start()
        self.url = self.server.addresses[0]

    def accounts(self, *names: str, **changes: Any) -> list[Account]:
        """Serve these accounts alone, none of them polled."""
        return self.serve([self._make_account(name=name, **changes) for name in names])

    def serve(self, accounts: Sequence[Account]) -> list[Account]:
        labels = sorted({name for account in accounts for name in account.labels})
        self.store.replace(accounts, labels, {})
        return list(accounts)

    def make(self, name: str, provider: str = "vidnavigator", **changes: Any) -> Account:
        return self._make_account(provider, name, **changes)

    def polled(self, account: Account, reading: Usage | None, failure: Failure | None = None, **changes: Any) -> None:
        """Show what a poll that ended now brought; without a reading none ever came."""
        now = self.clock.wall()
        state = AccountState(
            parts={} if reading is None else {"usage": reading},
            part_times={} if reading is None else {"usage": now},
            last_poll=now,
            last_success=None if reading is None else now,
            next_poll=now + account.interval,
            polls=1,
            failure=failure,
        )
        assert self.store.publish(account, replace(state, **changes))

    def failed(self, account: Account, reason: str, message: str) -> None:
        """Show a failed poll; the figures from before stay."""
        before = self.store.state(account.id)
        now = self.clock.wall()
        failure = Failure(reason, message)
        state = replace(before, last_poll=now, next_poll=now + account.interval, polls=before.polls + 1)
        assert self.store.publish(account, replace(state, failure=failure))

    def get(self, path: str, **headers: str) -> Response:
        request = urllib.request.Request(self.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Response(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return Response(error.code, error.headers, error.read())


@pytest.fixture
def site(clock: FakeClock, make_account: MakeAccount) -> Iterator[Site]:
    site = Site(clock, make_account)
    yield site
    site.server.stop(0.0)


@pytest.fixture
def past(tmp_path: Path, clock: FakeClock) -> Iterator[StateFile]:
    with closing(StateFile.open(tmp_path / "state.db", clock, exclusive=True)) as file:
        yield file


@pytest.fixture
def remembering(clock: FakeClock, make_account: MakeAccount, past: StateFile) -> Iterator[Site]:
    """Serve pages over a state file, which ``lived`` fills."""
    site = Site(clock, make_account, partial(open_file, past.path))
    yield site
    site.server.stop(0.0)


def lived(site: Site, past: StateFile, account: Account, hours: int = 30, **changes: Any) -> AccountState:
    """Let an account live for some hours: it spends one credit an hour, has a new period and a top-up on the way."""
    state = AccountState()
    for hour in range(hours):
        period, bought = site.clock.wall_time - hour * 3600 + (hour >= 10) * 36_000, 40.0 + 25.0 * (hour >= 20)
        left = 60.0 - hour % 10
        split = {"search": (60.0 - left) * 0.75, "scene <b>": (60.0 - left) * 0.25}
        pools = {"monthly": Pool(left, 60.0, period), "purchased": Pool(bought)}
        figures = {"monthly_used": 60.0 - left, "used_by_operation": split, "pools": pools, **changes}
        reading = usage(left + bought, **figures)
        failed = Failure("server_error", "HTTP 502: Bad <gateway>.") if hour % 7 == 3 else None
        now = site.clock.wall()
        state = AccountState(
            parts={"usage": reading},
            part_times={"usage": now},
            ledger=advance(state.ledger, reading, now, 0.0),
            last_poll=now,
            last_success=now,
            next_poll=now + account.interval,
            last_duration=0.25,
            last_status=502 if failed else 200,
            polls=hour + 1,
            failure=failed,
        )
        past.save(account.id, state)
        if hour < hours - 1:
            site.clock.advance(3600)
    assert site.store.publish(account, state)
    return state


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one Chromium, with an empty profile, for the tests of a file."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(SWITCHES))
        yield running
        running.close()


class Tab:
    """An open page, with its requests and its errors."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def open(self, path: str = "/") -> Tab:
        self.page.goto(self.url + path)
        return self

    @property
    def names(self) -> Locator:
        return self.page.locator("tbody bdi")

    def shows(self, *names: str) -> None:
        expect(self.names).to_have_text(list(names))

    def mark(self) -> None:
        """Leave something behind that only a new document would lack."""
        self.page.evaluate("window.unchanged = true")

    def is_the_same_document(self) -> bool:
        return bool(self.page.evaluate("window.unchanged === true"))


OpenTab = Callable[..., Tab]


@pytest.fixture
def tab(browser: Browser, site: Site) -> Iterator[OpenTab]:
    """Make tabs; each must have talked to the page's own server alone, and without a complaint unless it says so."""
    tabs: list[Tab] = []

    def make(**options: Any) -> Tab:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        tabs.append(Tab(context.new_page(), site.url))
        return tabs[-1]

    yield make
    for each in tabs:
        each.page.context.close()
        assert [url for url in each.requests if not url.startswith(site.url + "/")] == []
        assert each.complaints == []
