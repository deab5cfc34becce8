"""Bad responses of a declared provider over the real transport. No value is guessed, and none becomes 0."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config.load import load
from exporter.demo.loopback import Exchange, LoopbackServer
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
from exporter.transport.transports import Transports
from tests.conftest import FakeClock

MIB = 1 << 20
KEY = secrets.token_hex(16)
CONFIG = """
providers:
  acme:
    base_url: %s
    auth: {query: api_key}
    usage:
      path: /v1
      credits: {balance: {value: "pots[?unit == 'usd'].amount", list: sum}, purchased: extra}
      quotas: [{name: voices, used: voices}, {each: packs, name: id, remaining: left}]
accounts: [{name: a, provider: acme, api_key: %s}]
"""
SAMPLE = re.compile(r"^video_api_(credits_balance|credits_purchased|quota_\w+?)\{.*\} (\S+)$", re.MULTILINE)


class Vendor:
    """An account at a vendor that sends these bytes."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.body = b"{}"
        self.server = LoopbackServer(self._respond)
        self.server.start()
        path = folder / "config.yaml"
        path.write_text(CONFIG % (self.server.origin, KEY))
        config = load(path, PROVIDERS, {})
        metrics = SelfMetrics("0", "", 0, 1)
        self.exposition, [self.account] = Exposition(FAMILIES, metrics.registry, clock), config.accounts
        self.store = Store(self.exposition, clock)
        self.store.replace([self.account], (), {})
        sender = Sender(Transports().of, Limits(clock, None), Redactor(), clock, clock.advance)
        self.poller = Poller(
            providers=config.providers, sender=sender, store=self.store, save=lambda _, state: state, metrics=metrics
        )

    def _respond(self, exchange: Exchange) -> None:
        exchange.send(200, self.body)

    def poll(self, body: bytes) -> AccountState:
        """Poll once and return the state."""
        self.body = body
        self.poller.poll(self.account)
        return self.store.state(self.account.id)

    @property
    def page(self) -> str:
        """The exposition."""
        return self.exposition.body("", "").data.decode()

    def samples(self) -> dict[str, float]:
        """The samples of credits and quotas."""
        return {name: float(value) for name, value in SAMPLE.findall(self.page)}


@pytest.fixture
def vendor(tmp_path: Path, clock: FakeClock) -> Iterator[Vendor]:
    one = Vendor(tmp_path, clock)
    yield one
    one.server.stop()


def pots(amount: str, unit: str = "usd") -> str:
    return f'{{"extra": 7, "pots": [{{"unit": "{unit}", "amount": {amount}}}]}}'


@pytest.mark.parametrize(
    ("body", "rejected"),
    [
        (pots("true"), ["credits.balance"]),
        (pots('"many"'), ["credits.balance"]),
        (pots("[5]"), ["credits.balance"]),
        (pots("{}"), ["credits.balance"]),
        (pots("NaN"), ["credits.balance"]),
        (pots("1e400"), ["credits.balance"]),
        (pots('" 5"'), ["credits.balance"]),
        (pots("null"), []),  # JMESPath leaves null out of a list
        (pots("5", "USD"), []),
        ('{"extra": 7, "pots": []}', []),
        ('{"extra": 7, "pots": null}', []),
        ('{"extra": 7, "pots": "none"}', []),  # a filter over a text selects nothing
        ('{"extra": 7, "voices": [3]}', ["voices"]),
        ('{"extra": 7, "voices": true}', ["voices"]),
        ('{"extra": 7, "voices": "three"}', ["voices"]),
        ('{"extra": 7, "voices": null}', []),
        ('{"extra": 7, "packs": {"id": "a", "left": 3}}', ["packs"]),
        ('{"extra": 7, "packs": [5]}', ["quotas[1][0].(response)"]),
    ],
)
def test_a_bad_field_has_no_sample_and_the_rest_is_used(body: str, rejected: list[str], vendor: Vendor) -> None:
    state = vendor.poll(body.encode())
    assert state.failure is None
    assert list(state.parts["usage"].rejected) == rejected
    assert vendor.samples() == {"credits_purchased": 7}


@pytest.mark.parametrize(
    "body",
    [b"", b"no words", b'{"extra": 7', b"5", b'"text"', b"null", b"[" * 10**5, b"\xff\xfe{}", b'{"a":' * 10**5 + b"1"],
)
def test_a_response_that_is_not_a_json_object_fails_the_poll_and_keeps_the_last_values(
    body: bytes, vendor: Vendor
) -> None:
    vendor.poll(pots("5").encode())
    state = vendor.poll(body)
    assert state.failure is not None
    assert state.failure.reason == "invalid_response"
    assert vendor.samples() == {"credits_balance": 5, "credits_purchased": 7}
    assert KEY not in vendor.page + state.failure.message


def test_a_response_of_a_mebibyte_is_read_and_one_byte_more_is_refused(vendor: Vendor) -> None:
    whole = pots("5").encode()
    state = vendor.poll(whole + b" " * (MIB - len(whole)))
    assert state.failure is None
    assert vendor.samples()["credits_balance"] == 5
    state = vendor.poll(whole + b" " * (MIB - len(whole) + 1))
    assert state.failure is not None
    assert (state.failure.reason, state.parts["usage"].rejected) == ("invalid_response", ())
    assert vendor.samples()["credits_balance"] == 5


def test_a_mebibyte_of_packs_is_folded_and_one_of_bad_packs_notes_a_thousand(vendor: Vendor) -> None:
    packs = [{"id": f"p{number}", "left": 1} for number in range(30_000)]
    state = vendor.poll(json.dumps({"packs": packs}).encode())
    assert state.failure is None
    assert vendor.page.count("video_api_quota_remaining{") == 101
    assert 'quota="(other)",unit="credits"} 29900' in vendor.page
    state = vendor.poll(json.dumps({"packs": [{"id": 1}] * 80_000}).encode())
    assert len(state.parts["usage"].rejected) == 1000
    assert "video_api_quota_remaining{" not in vendor.page
