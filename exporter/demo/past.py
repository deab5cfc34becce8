"""Fills a state with the demo's past, so that its history is there at once.

The exporter's own poller, ledger and state work as usual. Only the clock jumps from poll to poll, and the responses
come straight from the lives of the accounts, because thousands of requests over loopback would take too long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from exporter import __version__
from exporter.config.accounts import Account
from exporter.config.credentials import KeySource
from exporter.config.load import load
from exporter.demo.apis import DAY
from exporter.demo.life import BIRTH, HOUR, Calendar, DataAt
from exporter.demo.world import DemoAccount, World
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits
from exporter.polling.poller import Poller
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.runtime.redaction import Redactor
from exporter.state.sqlite import StateFile
from exporter.transport.client import RawResponse

_HOURLY_SECONDS = 8 * DAY
_ROUNDS = 300
_LAST_POLL_SECONDS = 60.0  # before the start, so that every account is due then
_RESPONSE_SECONDS = 0.2


class SetClock:
    """A clock that stands at ``at`` (Unix seconds) until it is set."""

    def __init__(self, at: float) -> None:
        self.at = at

    def wall(self) -> float:
        """Return the time that was set."""
        return self.at

    def monotonic(self) -> float:
        """Return the time that was set, which is never set back."""
        return self.at


class _Vendor:
    """The responses to one account without its faults, which begin with the demo."""

    def __init__(self, account: DemoAccount, world: World, clock: SetClock) -> None:
        self._api = account.life.api
        self._responses: Mapping[str, DataAt] = account.life.responses(world.calendar)
        self._calendar = world.calendar
        self._clock = clock

    def get(
        self, path: str, _params: Mapping[str, str], _headers: Mapping[str, str], _timeout: float, _body: object = None
    ) -> RawResponse:
        self._clock.at += _RESPONSE_SECONDS
        data = self._responses[path](self._calendar.simulated(self._clock.at))
        return RawResponse(200, {}, self._api.success(data))


def live(world: World, config_file: Path, state_path: Path, is_stopping: Callable[[], bool]) -> None:
    """Poll every account that is not new through two periods before the demo's start, and keep that in the state."""
    config, clock = load(config_file, PROVIDERS, {}), SetClock(world.calendar.real(BIRTH))
    vendors = {account.name: _Vendor(account, world, clock) for account in world.accounts if not account.is_new}
    accounts = [
        account._replace(collect=("usage",), key=KeySource("literal", secret=world.keys[account.name]))
        for account in config.accounts
        if account.name in vendors
    ]
    metrics = SelfMetrics(__version__, "", 0, 1)
    store = Store(Exposition((), metrics.registry, clock), clock)
    store.replace(accounts, config.label_names, {})
    state = StateFile.open(state_path, clock, exclusive=True)

    def client(account: Account) -> _Vendor:
        return vendors[account.name]

    try:
        state.kept = config.history
        sender = Sender(client, Limits(clock, None), Redactor(), clock, lambda _: None)
        poller = Poller(providers=config.providers, sender=sender, store=store, save=state.save, metrics=metrics)
        for moment in takewhile(lambda _: not is_stopping(), _moments(world.calendar)):
            for account in accounts:
                clock.at = max(moment, clock.at)
                poller.poll(account)
    finally:
        state.close()


def _moments(calendar: Calendar) -> Sequence[float]:
    """Return the time of each round of polls (Unix seconds), an hour apart, or closer where the past is short.

    The state keeps the hours of the last days alone. Before them one poll at noon and one at the end of the day (UTC)
    are enough, so that all days are equally long.
    """
    last, first = calendar.start - _LAST_POLL_SECONDS, calendar.real(BIRTH)
    step = min(HOUR, max(_LAST_POLL_SECONDS, (last - first) / _ROUNDS))
    moments = (last - number * step for number in range(int((last - first) / step), -1, -1))
    return [at for at in moments if last - at <= _HOURLY_SECONDS or at // HOUR % 12 == 11]
