"""Polls of a declared provider. Limits, cool-downs, ledger and redaction are those of all providers."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from exporter import commands
from exporter.config.load import load
from exporter.demo.loopback import LoopbackServer
from exporter.errors import UnreachableError
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.readings import AccountState
from exporter.runtime.redaction import Redactor
from exporter.status.cells import COLUMNS, row
from exporter.status.summary import summary
from exporter.transport.client import RawResponse
from tests.conftest import FakeClock

KEY = secrets.token_hex(16)


class Declared:
    """One account of a declared provider, and the requests that it sent."""

    def __init__(self, folder: Path, clock: FakeClock, block: str, variables: str = "{}") -> None:
        path = folder / "config.yaml"
        path.write_text(
            f"providers:\n  acme:\n    base_url: https://api.acme.com\n{block}\n"
            f"accounts:\n  - {{name: a, provider: acme, api_key: {KEY}, interval: 60s, variables: {variables}}}\n"
        )
        config = load(path, PROVIDERS, {}, strict=True)
        self.sent: list[tuple[str, Mapping[str, str], Mapping[str, str], object]] = []
        self.response: RawResponse | Exception = RawResponse(200, {}, {})
        self.account = config.accounts[0]
        self.exposition = Exposition(FAMILIES, SelfMetrics("0", "", 0, 1).registry, clock)
        self.store = Store(self.exposition, clock)
        self.store.replace([self.account], (), {})
        sender = Sender(lambda account: self, Limits(clock, None), Redactor(), clock, clock.advance)
        self.poller = Poller(
            providers=config.providers,
            sender=sender,
            store=self.store,
            save=lambda key, state: state,
            metrics=SelfMetrics("0", "", 0, 1),
        )

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float, body: object = None
    ) -> RawResponse:
        self.sent.append((path, params, headers, body))
        if isinstance(self.response, Exception):
            raise self.response
        return self.response

    def poll(self, response: RawResponse | Exception) -> AccountState:
        self.response = response
        self.poller.poll(self.account)
        return self.store.state(self.account.id)


Start = Callable[..., Declared]
BALANCE = "    usage: {path: /v1, credits: {balance: amount}}"


@pytest.fixture
def start(tmp_path: Path, clock: FakeClock) -> Start:
    return lambda block, variables="{}": Declared(tmp_path, clock, block, variables)


def test_a_header_carries_the_key_after_its_prefix(start: Start) -> None:
    one = start('    auth: {header: Authorization, prefix: "Token "}\n' + BALANCE)
    assert one.poll(RawResponse(200, {}, {"amount": 5})).failure is None
    assert one.sent == [("/v1", {}, {"Authorization": f"Token {KEY}"}, None)]


def test_basic_has_the_variable_as_user_and_the_key_as_password(start: Start) -> None:
    one = start('    auth: {basic: "{sid}"}\n    variables: [sid]\n' + BALANCE, "{sid: AC1}")
    one.poll(RawResponse(200, {}, {"amount": 5}))
    assert b64decode(one.sent[0][2]["Authorization"].removeprefix("Basic ")).decode() == f"AC1:{KEY}"


def test_variables_and_dates_are_filled_and_percent_encoded(start: Start, clock: FakeClock) -> None:
    block = """    auth: {header: k}
    variables: [project]
    headers: {X-Project: "{project}", X-Version: 2024-11-06}
    usage:
      path: /v1/{project}/use
      query: {since: "{month_start}", project: "{project}"}
      method: POST
      json: {from: "{now-30d:unix}", days: ["{now:iso}"], n: 5}"""
    one = start(block, '{project: "a/b c"}')
    clock.wall_time = 1774692000.0
    one.poll(RawResponse(200, {}, {}))
    path, query, headers, body = one.sent[0]
    assert path == "/v1/a%2Fb%20c/use"
    assert query == {"since": "2026-03-01", "project": "a/b c"}
    assert headers == {"k": KEY, "X-Project": "a%2Fb%20c", "X-Version": "2024-11-06"}
    assert body == {"from": 1774692000 - 30 * 86400, "days": ["2026-03-28T10:00:00Z"], "n": 5}


def test_a_key_in_the_query_shows_nowhere(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    one = start("    auth: {query: api_key}\n    errors: {message: error}\n" + BALANCE)
    responses = (
        RawResponse(200, {}, {"api_key": KEY, "amount": 5, "error": KEY}),
        RawResponse(400, {}, {"error": f"no such key {KEY} in https://api.acme.com/v1?api_key={KEY}"}),
        UnreachableError(f"https://api.acme.com/v1?api_key={KEY} cannot be reached"),
    )
    for response in responses:
        state = one.poll(response)
        told = repr(state) + caplog.text + one.exposition.body("", "").data.decode()
        assert KEY not in told
        assert one.sent[-1][1] == {"api_key": KEY}
    assert state.failure is not None


def test_a_key_that_the_vendor_sends_as_a_name_a_unit_or_a_code_shows_nowhere(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    one = start("""    auth: {header: k}
    errors: {code: code, message: words}
    usage:
      path: /v1
      credits: {balance: amount}
      plan: {name: plan}
      operations: {each: packs, name: name, used: used, unit: unit}
      quotas: [{each: packs, name: name, unit: {value: unit}, used: used}]""")
    packs = [{"name": KEY, "unit": f"per {KEY}", "used": 5}, {"name": f"my {KEY}", "unit": KEY, "used": KEY}]
    for response in (
        RawResponse(200, {}, {"amount": KEY, "plan": KEY, "packs": packs}),
        RawResponse(200, {}, {"amount": {KEY: 5}, "plan": "free", "packs": {KEY: packs}}),
        RawResponse(400, {}, {"code": KEY}),
    ):
        state = one.poll(response)
        told = repr(state) + caplog.text + one.exposition.body("", "").data.decode()
        assert KEY not in told
        assert KEY[2:20] not in told
    assert state.failure is not None
    assert state.failure.message == "HTTP 400: <redacted>"


@pytest.mark.parametrize(
    "response",
    [
        RawResponse(420, {"x-reset": "90"}, {}),
        RawResponse(200, {"x-reset": "90"}, {"code": 430}),
        RawResponse(429, {"x-reset": "90"}, {}),
    ],
)
def test_a_cooldown_follows_the_vendors_own_field_or_header(
    start: Start, response: RawResponse, clock: FakeClock
) -> None:
    block = """    auth: {header: k}
    errors: {code: code, reasons: {"430": rate_limited}, statuses: {420: rate_limited}, wait: {header: X-Reset}}
    usage: {path: /v1, success: "code == `200`", credits: {balance: amount}}"""
    one = start(block)
    state = one.poll(response)
    assert state.failure is not None
    assert state.failure.reason == "rate_limited"
    assert state.cooldown_until == clock.wall() + 90
    one.poll(response)
    assert len(one.sent) == 1


def test_only_the_headline_unit_enters_the_ledger(start: Start, clock: FakeClock) -> None:
    quota = "quotas: [{name: cny, unit: CNY, remaining: cny}]"
    one = start(f"    auth: {{header: k}}\n    unit: USD\n    usage: {{path: /v1, credits: {{balance: usd}}, {quota}}}")
    for usd, cny in ((100, 900), (90.5, 100)):
        state = one.poll(RawResponse(200, {}, {"usd": usd, "cny": cny}))
        clock.advance(60)
    assert state.ledger is not None
    assert float(state.ledger.spent) == 9.5


def test_every_request_of_a_poll_counts_against_the_limit_of_the_key(start: Start) -> None:
    more = "more: {b: {path: /b}, c: {path: /c}}"
    one = start(f"    auth: {{header: k}}\n    max_requests_per_minute: 4\n    usage: {{path: /a, {more}}}")
    one.poll(RawResponse(200, {}, {}))
    state = one.poll(RawResponse(200, {}, {}))
    assert [path for path, *_ in one.sent] == ["/a", "/b", "/c", "/a"]
    assert state.failure is not None
    assert state.failure.reason == "rate_limited"


SAMPLE = re.compile(r"^(video_api_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
QUOTAS = """    auth: {header: k}
    unit: USD
    usage:
      path: /v1
      credits: {balance: usd}
      quotas:
        - {name: voices, unit: slots, used: v, limit: m}
        - {each: packs, name: id, remaining: left, expires_at: {value: ends, time: unix}}
        - {name: calls, unit: calls, remaining: c, resets_at: {value: r, time: unix}}"""
RESPONSE = {
    "usd": 3.5, "v": 9, "m": 10, "c": 7, "r": 1774692000,
    "packs": [{"id": "a", "left": 3, "ends": 1774692001}, {"id": "b", "left": "x"}],
}  # fmt: skip


def test_units_and_quotas_stand_in_the_exposition(start: Start) -> None:
    one, lines = start(QUOTAS), list[str]()
    one.poll(RawResponse(200, {}, RESPONSE))
    page = one.exposition.body("", "").data.decode()
    for name, labels, value in SAMPLE.findall(page):
        own = [label for label in labels.split(",") if not label.startswith(("provider=", "account="))]
        lines.append(f"{name}{{{','.join(sorted(own))}}} {float(value):.12g}")
    for line in (
        'video_api_credits_unit_info{unit="USD"} 1',
        "video_api_credits_balance{} 3.5",
        'video_api_quota_used{quota="voices",unit="slots"} 9',
        'video_api_quota_limit{quota="voices",unit="slots"} 10',
        'video_api_quota_remaining{quota="voices",unit="slots"} 1',
        'video_api_quota_used_ratio{quota="voices",unit="slots"} 0.9',
        'video_api_quota_remaining{quota="a",unit="USD"} 3',
        'video_api_quota_expiry_timestamp_seconds{quota="a"} 1774692001',
        'video_api_quota_reset_timestamp_seconds{quota="calls"} 1774692000',
        'video_api_quota_threshold_ratio{quota="voices",severity="warning"} 0.8',
        "video_api_rejected_fields{} 1",
    ):
        assert line in lines


def test_units_and_quotas_stand_on_the_status_page(start: Start, clock: FakeClock) -> None:
    one = start(QUOTAS)
    one.poll(RawResponse(200, {}, RESPONSE))
    account = summary(one.store.views()[0], clock.wall())
    assert account.credits.unit == "USD"
    assert ("warning", "Quota voices: 90 % of the limit used.") in [each[:2] for each in account.attention]
    assert ("critical", "The balance is below the critical level of 5 USD.") in [each[:2] for each in account.attention]
    balance = dict(zip(COLUMNS, (cell for _, cell in row(account, clock.wall()).columns), strict=True))["balance"]
    assert balance.text == "3.5 USD"
    assert balance.note.endswith("voices: 9 of 10 slots, a: 3 USD left, calls: 7 calls left")


def test_a_limit_alone_and_a_monthly_balance_are_shown_with_their_unit(start: Start, clock: FakeClock) -> None:
    one = start(
        "    auth: {header: k}\n    unit: characters\n    usage:\n      path: /v1\n"
        "      credits: {balance: b, limit: l}\n      quotas: [{name: billing, limit: x}]"
    )
    one.poll(RawResponse(200, {}, {"b": 41200, "l": 110000, "x": 0}))
    account = summary(one.store.views()[0], clock.wall())
    balance = dict(zip(COLUMNS, (cell for _, cell in row(account, clock.wall()).columns), strict=True))["balance"]
    assert balance.text == "41,200 of 110,000 characters a month"
    assert balance.note.endswith("billing: limit 0 characters")


def test_a_vendor_that_sends_only_the_use_is_not_reported_for_a_missing_balance(start: Start, clock: FakeClock) -> None:
    one = start("    auth: {header: k}\n    usage: {path: /v1, quotas: [{name: hours, used: h}]}")
    one.poll(RawResponse(200, {}, {"h": 5}))
    assert summary(one.store.views()[0], clock.wall()).severity == "ok"


def test_a_state_with_quotas_is_restored(start: Start) -> None:
    state = start(QUOTAS).poll(RawResponse(200, {}, RESPONSE))
    content = TypeAdapter(AccountState).dump_json(state)
    assert TypeAdapter(AccountState).validate_json(content) == state


def test_poll_by_hand_prints_quotas_and_reports_no_missing_balance_of_a_vendor_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = LoopbackServer(lambda exchange: exchange.send_json(200, {"used": 900, "limit": 1000}))
    server.start()
    path = tmp_path / "config.yaml"
    path.write_text(
        f"providers:\n  acme:\n    base_url: {server.origin}\n    auth: {{header: k}}\n"
        "    usage: {path: /v1, quotas: [{name: storage, unit: minutes, used: used, limit: limit}]}\n"
        f"accounts: [{{name: a, provider: acme, api_key: {KEY}}}]\n"
    )
    try:
        assert commands.run(["poll", f"--config.file={path}"]) == 0
    finally:
        server.stop()
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "acme/a: storage: 900 of 1,000 minutes"
    assert "no balance" not in out
