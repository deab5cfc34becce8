"""The whole page in both formats equals a file, which `make golden` rewrites after an intended change."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.providers.base import Price
from exporter.providers.declared import provider_of
from exporter.readings import AccountState, Ledger, Pool
from exporter.runtime.redaction import Redactor
from exporter.transport.client import RawResponse
from tests.conftest import FakeClock, MakeAccount
from tests.providers.declaring import declaration
from tests.providers.responses import NO_SUBSCRIPTION, VIDEODB, voyager

GOLDEN = Path(__file__).parent / "golden"
ACCEPT = {"text": "text/plain;version=0.0.4", "openmetrics": "application/openmetrics-text;version=1.0.0"}

UNLIMITED = voyager(
    credits={"monthly_total": "unlimited", "monthly_remaining": "unlimited", "purchased": 0},
    storage={"used_bytes": 5, "limit_bytes": "unlimited", "remaining_bytes": "unlimited"},
    channels_indexed={"used": 3, "limit": "unlimited", "remaining": "unlimited"},
    subscription={"plan_id": "ent", "plan_name": "Odyssey", "interval": "year", "status": "active"},
)
EMPTIED = voyager(credits={"monthly_total": 100, "monthly_remaining": 0, "purchased": 0})
INVOICES = {
    "success": True,
    "data": [
        {"amount": 100, "currency": "usd", "status": "failed", "created_at": "2026-03-02T05:31:56Z"},
        {"amount": 90, "currency": "usd", "status": "paid", "created_at": "2026-02-02T05:31:56Z"},
    ],
}
RECHARGE = {"success": True, "data": {"enabled": True, "threshold": 10, "amount": 50}}

RESPONSES: dict[str, dict[str, RawResponse]] = {
    "videodb-all": {
        "/billing/usage": RawResponse(200, {}, json.loads(VIDEODB)),
        "/billing/invoices": RawResponse(200, {}, INVOICES),
        "/billing/auto_recharge": RawResponse(200, {}, RECHARGE),
    },
    "voyager": {"/usage": RawResponse(200, {}, voyager())},
    "unlimited": {"/usage": RawResponse(200, {}, UNLIMITED)},
    "emptied": {"/usage": RawResponse(200, {}, EMPTIED)},
    "no subscription": {"/usage": RawResponse(404, {}, json.loads(NO_SUBSCRIPTION))},
    "refused": {"/usage": RawResponse(401, {}, {"message": "bad key"})},
    "limited": {"/usage": RawResponse(429, {}, {"retry_after_seconds": 90})},
    "declared": {
        "/balance": RawResponse(
            200,
            {},
            {
                "usd": "12.50",
                "cap": None,
                "used": 9,
                "max": 10,
                "renews": 1774692000,
                "packs": [{"id": "gift", "unit": "credits", "left": 3.5, "ends": 1775001600}],
            },
        )
    },
    'odd "name" \\ with\u2028marks': {"/usage": RawResponse(200, {}, voyager(storage={"used_bytes": "?"}))},
}


class Responding:
    def __init__(self, responses: dict[str, RawResponse], clock: FakeClock) -> None:
        self._responses = responses
        self._clock = clock

    def get(self, path: str, params: object, headers: object, timeout: float, body: object = None) -> RawResponse:
        self._clock.advance(0.25)
        return self._responses[path]


DECLARED = """
base_url: https://api.acme.example
auth: {header: x-api-key}
unit: USD
usage:
  path: /balance
  credits: {balance: usd, limit: {value: cap, unlimited: [null]}}
  quotas:
    - {name: voices, unit: slots, used: used, limit: max, resets_at: {value: renews, time: unix}}
    - {each: packs, name: id, unit: {value: unit}, remaining: left, expires_at: {value: ends, time: unix}}
"""


def page(clock: FakeClock, make_account: MakeAccount, tmp_path: Path) -> dict[str, str]:
    metrics = SelfMetrics("0.0.0", "golden", 0, 1)
    exposition = Exposition(FAMILIES, metrics.registry, clock)
    store = Store(exposition, clock)
    accounts = [
        make_account(
            "videodb" if "/billing/usage" in responses else "vidnavigator",
            name,
            collect=("usage", "invoices", "auto_recharge") if "/billing/usage" in responses else ("usage",),
            labels={"team": "media"} if name == "voyager" else {},
            price=Price(0.1, "USD") if name == "voyager" else None,
        )
        for name, responses in RESPONSES.items()
    ]
    accounts = [account._replace(provider="acme") if account.name == "declared" else account for account in accounts]
    metrics.set_accounts(account.provider for account in accounts)
    metrics.reload_successful.set(1)
    metrics.reload_success_time.set(clock.wall())
    full = AccountState(ledger=Ledger(pools={"monthly": Pool(100.0)}))
    store.replace(accounts, ("team",), {("vidnavigator", "emptied"): full})
    poller = Poller(
        providers={**PROVIDERS, "acme": provider_of(declaration(DECLARED, tmp_path))},
        sender=Sender(
            lambda account: Responding(RESPONSES[account.name], clock),
            Limits(clock, None),
            Redactor(),
            clock,
            clock.advance,
        ),
        store=store,
        save=lambda key, state: state,
        metrics=metrics,
    )
    for account in [*accounts, accounts[0]]:
        poller.poll(account)
    pages = {}
    for name, accept in ACCEPT.items():
        text = exposition.body(accept, "").data.decode()
        kept = [line for line in text.split("\n") if "video_api_" in line or line in ("# EOF", "")]
        pages[name] = "\n".join(kept).replace(f'"{platform.python_version()}"', '"X.Y.Z"')
    return pages


@pytest.mark.parametrize("name", ACCEPT)
def test_the_page_equals_the_golden_file(
    name: str, clock: FakeClock, make_account: MakeAccount, tmp_path: Path
) -> None:
    text = page(clock, make_account, tmp_path)[name]
    golden = GOLDEN / f"metrics.{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_family_stands_in_it(clock: FakeClock, make_account: MakeAccount, tmp_path: Path) -> None:
    text = page(clock, make_account, tmp_path)["text"]
    missing = [family.name for family in FAMILIES if f"# TYPE {family.name} {family.type}\n" not in text]
    assert missing == []


def test_the_official_parsers_read_it(clock: FakeClock, make_account: MakeAccount, tmp_path: Path) -> None:
    pages = page(clock, make_account, tmp_path)
    plain = {s.name: s.value for family in parse_text(pages["text"]) for s in family.samples}
    assert plain["video_api_credits_balance"] == 112.5
    assert {s.name for family in parse_openmetrics(pages["openmetrics"]) for s in family.samples} == set(plain)


@pytest.mark.needs("promtool")
def test_promtool_finds_no_fault(clock: FakeClock, make_account: MakeAccount, tmp_path: Path) -> None:
    text = page(clock, make_account, tmp_path)["text"]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0
