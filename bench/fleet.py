"""The exporter's polls in this process, one after another, and states as polls leave them."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bench.processes import workplace
from bench.workload import SERVICES, account_keys, configuration
from exporter.config.accounts import Account
from exporter.config.load import load
from exporter.demo import apis
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender, VendorClient
from exporter.polling.slots import Slots, poll_order
from exporter.providers import PROVIDERS
from exporter.runtime.clock import SystemClock
from exporter.runtime.redaction import Redactor
from exporter.state.key_records import KeyRecords
from exporter.state.sqlite import StateFile
from exporter.transport.client import RawResponse


class Vendor:
    """Responds to every request without a network, with a little less credit than the last time."""

    def __init__(self) -> None:
        self._used = 0.0

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float, body: object = None
    ) -> RawResponse:
        self._used += 0.1
        usage = apis.vidnavigator_usage(
            services=SERVICES, monthly_remaining=max(0.0, 70 - self._used % 70), generated_at=time.time()
        )
        return RawResponse(200, {}, json.loads(json.dumps({"status": "success", "data": usage})))


class Fleet:
    """The accounts of a configuration with a state file of their own. ``client_of`` sends the requests."""

    def __init__(self, config: Path, client_of: Callable[[Account], VendorClient]) -> None:
        clock, metrics = SystemClock(), SelfMetrics("bench", "", 0, 1)
        self.config = load(config, PROVIDERS, {})
        self._state = StateFile.open(config.with_suffix(".db"), clock, exclusive=True)
        self.store = Store(Exposition(FAMILIES, metrics.registry, clock), clock, poll_order)
        self.store.replace(self.config.accounts, self.config.label_names, {})
        limits = Limits(clock, KeyRecords(self._state, clock))
        sender = Sender(client_of, limits, Redactor(), clock, threading.Event().wait)
        self._poller = Poller(
            providers=self.config.providers, sender=sender, store=self.store, save=self._state.save, metrics=metrics
        )
        self._accounts = sorted(self.config.accounts, key=poll_order)

    def poll(self, part: slice = slice(None)) -> None:
        """Poll every account or a part of them once, in the order of the page."""
        for account in self._accounts[part]:
            self._poller.poll(account)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._state.close()


def local_fleet(count: int, directory: Path) -> Fleet:
    """Return so many accounts of a vendor without a network."""
    vendor, config = Vendor(), directory / "local.yaml"
    keys = [secrets.token_hex(16) for _ in range(count)]
    config.write_text("".join(configuration(count, "http://127.0.0.1:1", keys, "concurrency: 1")))
    return Fleet(config, lambda _account: vendor)


def fill_state(path: Path, count: int, interval: float) -> None:
    """Give every account a state as after a poll, so that an exporter polls each at its next place in the interval."""
    clock = SystemClock()
    slots = Slots(clock)
    with workplace() as directory, local_fleet(1, directory) as fleet:
        fleet.poll()
        polled = fleet.store.state(fleet.config.accounts[0].id)
    state = StateFile.open(path, clock, exclusive=True)
    for account in account_keys(count):
        seconds = slots.after(account, interval, clock.monotonic()) - clock.monotonic()
        state.save(account, replace(polled, next_poll=clock.wall() + seconds))
    state.close()
