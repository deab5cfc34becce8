"""Makes state files with thirteen months behind them, and measures their size and the pages that read them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.processes import workplace
from bench.workload import account_keys, configuration
from exporter.config.load import load
from exporter.demo.past import SetClock
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.options import Options
from exporter.polling.ledger import advance
from exporter.providers import PROVIDERS
from exporter.readings import AccountState, Failure, Period, Pool, Quota, Subscription, Usage
from exporter.state.base import DAY, HOUR
from exporter.state.codec import name_of
from exporter.state.history import open_file
from exporter.state.sqlite import StateFile
from exporter.status.routes import routes
from exporter.web.messages import Request, Response, Route

MONTHS_DAYS, HOURS_DAYS = 400, 8
PERIOD_DAYS = 30
LIMIT = 10_000.0
OPERATIONS = {
    "standard_request": 0.42,
    "transcription_hour": 0.24,
    "video_analysis": 0.17,
    "video_search": 0.1,
    "scene_analysis": 0.05,
    "youtube_transcript": 0.02,
}
_SAMPLES = 5
"""Accounts that are really saved. The others are copies of their rows, because millions of saves take hours."""


@dataclass
class Life:
    """An account that spends every hour, is topped up when it is low, and begins a period every thirty days."""

    seed: int
    now: float

    def states(self) -> Iterator[tuple[float, AccountState]]:
        """Yield the time of each poll and the state after it, daily and then hourly."""
        draw = random.Random(self.seed)
        state, monthly, purchased = AccountState(), LIMIT, 500.0
        used = dict.fromkeys(OPERATIONS, 0.0)
        period, before = 0.0, self.now - MONTHS_DAYS * DAY
        rate = LIMIT / PERIOD_DAYS / 24 * draw.uniform(0.6, 1.2)
        for at in self._times():
            spent = rate * (at - before) / HOUR * draw.uniform(0.4, 1.6) * (0.3 if at // DAY % 7 in (2, 3) else 1.2)
            before, begins = (
                at,
                (at - self.now - 9 * DAY) // (PERIOD_DAYS * DAY) * PERIOD_DAYS * DAY + self.now + 9 * DAY,
            )
            if begins != period:
                period, monthly, used = begins, LIMIT, dict.fromkeys(OPERATIONS, 0.0)
            monthly, purchased = (
                round(monthly - min(monthly, spent), 2),
                round(purchased - max(0.0, spent - monthly), 2),
            )
            if purchased < 100:
                purchased += 2_000
            used = {name: round(value + spent * OPERATIONS[name], 2) for name, value in used.items()}
            state = self._state(state, at, Pool(monthly, LIMIT, period), Pool(purchased), used)
            yield at, state

    def _times(self) -> Iterator[float]:
        first = self.now - MONTHS_DAYS * DAY
        yield from (first + day * DAY for day in range(MONTHS_DAYS - HOURS_DAYS))
        yield from (self.now - hour * HOUR for hour in range(HOURS_DAYS * 24, -1, -1))

    def _state(self, state: AccountState, at: float, month: Pool, bought: Pool, used: dict[str, float]) -> AccountState:
        balance = (month.balance or 0.0) + (bought.balance or 0.0)
        filled = 0.5 + (at - self.now) / (MONTHS_DAYS * DAY) * 0.4
        usage = Usage(
            balance=balance,
            monthly_limit=LIMIT,
            monthly_remaining=month.balance,
            monthly_used=sum(used.values()),
            purchased=bought.balance,
            used_by_operation=used,
            storage=Quota(used=filled * 5e11, limit=5e11, ratio=round(filled, 4)),
            channels=Quota(used=6, limit=10, ratio=0.6),
            subscription=Subscription("voyager", "Voyager", "month", "active", True),
            billing_period=Period(month.period_start, (month.period_start or 0.0) + PERIOD_DAYS * DAY),
            pools={"monthly": month, "purchased": bought},
        )
        failed = state.polls % 17 == 16
        return AccountState(
            parts={"usage": usage},
            part_times={"usage": at},
            ledger=advance(state.ledger, usage, at, 0.0),
            last_poll=at,
            last_success=at,
            next_poll=at + 300,
            last_duration=0.2,
            last_status=502 if failed else 200,
            polls=state.polls + 1,
            failure=Failure("server_error", "HTTP 502: Bad gateway.") if failed else None,
        )


def history(count: int, rounds: int = 30) -> dict[str, Any]:
    """Return bytes on disk, and milliseconds of CPU for the pages of this many accounts."""
    with workplace() as directory:
        now, path = time.time(), directory / "state.db"
        states = fill(path, count, now)
        config = directory / "config.yaml"
        keys = [f"key{number}" for number in range(count)]
        config.write_text("\n".join(configuration(count, "http://127.0.0.1:9", keys, "interval: 5m")))
        loaded, clock = load(config, PROVIDERS, {}), SetClock(now)
        store = Store(Exposition(FAMILIES, SelfMetrics("0", "", 0, 1).registry, clock), clock)
        store.replace(loaded.accounts, loaded.label_names, {})
        for number, account in enumerate(loaded.accounts):
            store.publish(account, states[number % len(states)])
        shown = routes(store, partial(open_file, path), clock, Options(config), "0")
        without = routes(store, None, clock, Options(config), "0")
        account_page = "/accounts/vidnavigator/customer-000001"
        _get(shown["/accounts/"], account_page)
        memory = _resident()
        return {
            "accounts": count,
            "state_bytes": path.stat().st_size,
            "account_page_ms": _cpu(lambda: _get(shown["/accounts/"], account_page), rounds),
            "account_page_bytes": len(_get(shown["/accounts/"], account_page).body),
            "overview_ms": _cpu(lambda: _get(shown["/"], "/"), rounds // 5),
            "overview_without_history_ms": _cpu(lambda: _get(without["/"], "/"), rounds // 5),
            "memory_bytes": _resident() - memory,
        }


def _get(route: Route, path: str) -> Response:
    response = route.handler(Request("GET", path, {}, {}))
    assert isinstance(response, Response)
    assert response.status == 200
    return response


def _cpu(call: Callable[[], object], rounds: int) -> float:
    """Return the least time, because other programs make it longer and never shorter."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        times.append((time.process_time() - begin) * 1000)
    return min(times)


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def fill(path: Path, count: int, now: float) -> list[AccountState]:
    """Write thirteen months of this many accounts, and return the states of the first ones as they are now."""
    clock, last = SetClock(now), []
    keys = account_keys(count)
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        for number, key in enumerate(keys[:_SAMPLES]):
            for at, state in Life(number, now).states():
                clock.at = at
                file.save(key, state)
            last.append(state)
        rows = [(name_of(key), number % _SAMPLES + 1) for number, key in enumerate(keys)]
        copies = rows[_SAMPLES:]
        file.write(
            lambda db: (
                db.executemany(
                    "INSERT INTO accounts(account, state, checksum, saved_at, read_at, reading)"
                    " SELECT ?, state, checksum, saved_at, read_at, reading FROM accounts WHERE id = ?",
                    copies,
                ),
                db.execute(
                    "INSERT INTO history SELECT accounts.id, span, chunk, readings FROM accounts JOIN history"
                    " ON history.account = (accounts.id - 1) % ? + 1 WHERE accounts.id > ?",
                    (_SAMPLES, _SAMPLES),
                ),
                db.execute(
                    "INSERT INTO polls SELECT accounts.id, slot, at, seconds, status, reason, message FROM accounts"
                    " JOIN polls ON polls.account = (accounts.id - 1) % ? + 1 WHERE accounts.id > ?",
                    (_SAMPLES, _SAMPLES),
                ),
            )
        )
    return last
