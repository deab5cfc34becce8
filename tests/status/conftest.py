"""A status page on loopback over a store that the test fills."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from exporter.config.accounts import Account
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.options import Options
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Failure, Usage
from exporter.status.page import StatusPage
from exporter.web.server import Server
from tests.conftest import FakeClock, MakeAccount
from tests.providers.responses import voyager

LIMIT = 80.0


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

    def __init__(self, clock: FakeClock, make_account: MakeAccount, **options: Any) -> None:
        self.clock = clock
        self._make_account = make_account
        self.store = Store(Exposition(FAMILIES, SelfMetrics("0", "", 0, 1).registry, clock), clock)
        page = StatusPage(self.store.views, clock, Options(Path("config.yaml"), **options), "1.2.3")
        self.server = Server(page.routes(), ["127.0.0.1:0"])
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
