"""One poll of one account, from the key to the committed state."""

from __future__ import annotations

import json
import secrets
import threading
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import TypeAdapter

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.config.credentials import KeySource
from exporter.errors import InvalidResponseError, PollError, PollTimeoutError, UnreachableError
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling.limits import Limits, Wait
from exporter.polling.poller import Poller, Result
from exporter.polling.requests import Sender
from exporter.providers import PROVIDERS
from exporter.providers.base import Endpoint, Get, ParseOptions
from exporter.readings import AccountState, Part
from exporter.runtime.redaction import Redactor
from exporter.transport.client import RawResponse
from tests.conftest import FakeClock, MakeAccount
from tests.providers.responses import NO_SUBSCRIPTION, VIDEODB, videodb, voyager

Step = RawResponse | PollError | Exception


def response(document: object, status: int = 200, **headers: str) -> RawResponse:
    return RawResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, document)


def good(**blocks: object) -> RawResponse:
    return response(voyager(**blocks))


class Vendor:
    """Responds to each path with the steps of a test. The last response of a path repeats."""

    def __init__(self, clock: FakeClock) -> None:
        self.steps: dict[str, list[Step]] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.latency = 0.0
        self._clock = clock

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float, body: object = None
    ) -> RawResponse:
        self.asked.append((path, headers))
        self._clock.advance(self.latency)
        steps = self.steps[path]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Exception):
            raise step
        return step


class Bench:
    """A poller with its collaborators."""

    def __init__(self, clock: FakeClock, account: Account) -> None:
        self.clock = clock
        self.account = account
        self.vendor = Vendor(clock)
        self.saved: list[tuple[AccountId, AccountState]] = []
        self.pauses: list[float] = []
        self.redactor = Redactor()
        self.metrics = SelfMetrics("0", "", 0, 1)
        self.exposition = Exposition(FAMILIES, self.metrics.registry, clock)
        self.start({})

    def start(self, restored: Mapping[AccountId, AccountState]) -> None:
        """Start the poller, anew where one ran before."""
        self.store = Store(self.exposition, self.clock)
        self.store.replace([self.account], sorted(self.account.labels), restored)
        self.poller = Poller(
            providers=PROVIDERS,
            sender=Sender(
                lambda account: self.vendor, Limits(self.clock, None), self.redactor, self.clock, self._pause
            ),
            store=self.store,
            save=self._save,
            metrics=self.metrics,
        )

    def _save(self, key: AccountId, state: AccountState) -> AccountState:
        self.saved.append((key, state))
        return state

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def poll(self, *usage: Step) -> Result:
        if usage:
            path = "/usage" if self.account.provider == "vidnavigator" else "/billing/usage"
            self.vendor.steps[path] = list(usage)
        return self.poller.poll(self.account)

    @property
    def state(self) -> AccountState:
        return self.store.state(self.account.id)

    def value(self, family: str, **labels: str) -> float | None:
        """Return one sample of the page, None where it is not there."""
        wanted = {f'{name}="{value}"' for name, value in labels.items()}
        self.store.withdraw_stale()
        self.clock.monotonic_time += 1e-9
        for line in self.exposition.body("", "").data.decode().splitlines():
            name, _, rest = line.partition("{")
            found, _, value = rest.rpartition("} ")
            if name == f"video_api_{family}" and wanted <= set(found.split(",")):
                return float(value)
        return None


@pytest.fixture
def bench(clock: FakeClock, make_account: MakeAccount) -> Bench:
    return Bench(clock, make_account())


def test_a_good_response_is_committed_and_shown(bench: Bench) -> None:
    bench.poll(good())
    assert bench.saved[-1] == (("vidnavigator", "acct"), bench.state)
    assert bench.value("credits_balance") == 112.5
    assert bench.value("up") == 1
    assert bench.value("polls_total") == 1
    assert bench.value("last_success_timestamp_seconds") == bench.clock.wall()
    assert bench.value("credits_spent_total") == 0


def test_the_key_is_sent_in_the_vendors_header(bench: Bench) -> None:
    bench.poll(good())
    assert bench.vendor.asked == [("/usage", {"X-API-Key": bench.account.key.secret})]


def test_nothing_can_be_scraped_before_it_is_committed(bench: Bench) -> None:
    seen: list[float | None] = []

    def save(_key: AccountId, state: AccountState) -> AccountState:
        seen.append(bench.value("credits_balance"))
        return state

    bench.poller.commits._save = save
    bench.poll(good())
    assert seen == [None]


REFUSALS = [
    (401, "auth"),
    (402, "payment_required"),
    (403, "forbidden"),
    (404, "client_error"),
    (418, "client_error"),
    (302, "client_error"),
    (429, "rate_limited"),
    (500, "server_error"),
    (503, "server_error"),
]


@pytest.mark.parametrize(("status", "reason"), REFUSALS)
def test_each_refusal_has_the_right_reason_and_keeps_the_last_figures(bench: Bench, status: int, reason: str) -> None:
    bench.poll(good())
    bench.poll(response({"message": "no"}, status))
    assert bench.value("up") == 0
    assert bench.value("last_poll_failure", reason=reason) == 1
    assert bench.value("poll_failures_total", reason=reason) == 1
    assert bench.value("credits_balance") == 112.5
    assert bench.state.failure is not None and bench.state.failure.message.startswith(f"HTTP {status}")


@pytest.mark.parametrize("error", [PollTimeoutError, UnreachableError, InvalidResponseError])
def test_each_failure_of_the_request_has_the_right_reason(bench: Bench, error: type[PollError]) -> None:
    bench.poll(error("so"))
    assert bench.value("poll_failures_total", reason=error.reason) == 1
    assert bench.value("up") == 0


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (good(), 200),
        (response({}, 402), 402),
        (response([]), 200),
        (UnreachableError("reset"), None),
        (ValueError(), None),
    ],
)
def test_the_status_of_the_last_response_is_kept_with_the_poll(bench: Bench, step: Step, status: int | None) -> None:
    bench.poll(good())
    bench.poll(step)
    assert bench.saved[-1][1].last_status == status
    bench.poll(good())
    assert bench.saved[-1][1].last_status == 200


def test_every_reason_is_exported_with_0_from_the_start(bench: Bench) -> None:
    assert bench.value("poll_failures_total", reason="internal") == 0
    assert bench.value("last_poll_failure", reason="internal") is None


def test_an_unexpected_exception_is_internal_and_the_next_poll_is_scheduled(bench: Bench) -> None:
    result = bench.poll(RuntimeError("bug"))
    assert bench.value("poll_failures_total", reason="internal") == 1
    assert result.next_due > bench.clock.monotonic()


def test_a_value_that_cannot_be_exported_fails_only_that_poll(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.poll(good())
    monkeypatch.setattr("exporter.providers.vidnavigator.exact_sum", lambda *amounts: float("nan"))
    bench.poll(good())
    assert bench.value("poll_failures_total", reason="internal") == 1
    assert bench.value("credits_balance") == 112.5


def test_no_subscription_is_up_and_inactive(bench: Bench) -> None:
    bench.poll(response(json.loads(NO_SUBSCRIPTION), 404))
    assert bench.value("up") == 1
    assert bench.value("subscription_active") == 0
    assert bench.value("credits_balance") is None


@pytest.mark.parametrize("first", [UnreachableError("reset"), response({}, 500), response(None, 502)])
def test_a_temporary_failure_is_retried_within_the_poll(bench: Bench, first: Step) -> None:
    bench.poll(first, first, good())
    assert bench.value("up") == 1
    assert len(bench.vendor.asked) == 3
    assert 0.25 <= bench.pauses[0] <= 0.75 and 0.5 <= bench.pauses[1] <= 1.5
    assert bench.value("poll_failures_total", reason="connection") == 0


def test_a_poll_makes_three_attempts_at_most(bench: Bench) -> None:
    bench.poll(response({}, 500))
    assert len(bench.vendor.asked) == 3
    assert bench.value("polls_total") == 1


@pytest.mark.parametrize(
    "step", [response({}, 401), response({}, 429), response({}, 404), PollTimeoutError("late"), response([], 200)]
)
def test_a_failure_that_a_retry_cannot_change_is_not_retried(bench: Bench, step: Step) -> None:
    bench.poll(step)
    assert len(bench.vendor.asked) == 1


def test_no_attempt_is_made_that_could_not_end_in_time(bench: Bench) -> None:
    bench.vendor.latency = 4.9  # of a timeout of 5 s
    bench.poll(response({}, 500))
    assert len(bench.vendor.asked) == 1


def test_after_a_429_the_cooldown_is_the_longest_time_named(bench: Bench) -> None:
    bench.poll(response({"retry_after_seconds": 90}, 429, retry_after="75"))
    asked = len(bench.vendor.asked)
    bench.clock.advance(89)
    result = bench.poll()
    assert result.wait is not None and result.wait.reason == "cooldown"
    assert len(bench.vendor.asked) == asked
    bench.clock.advance(2)
    bench.poll(good())
    assert bench.value("up") == 1


def test_a_503_that_names_a_wait_is_not_tried_again_before(bench: Bench) -> None:
    bench.poll(response({"retry_after_seconds": 30}, 503))
    assert len(bench.vendor.asked) == 1
    assert bench.poll().wait is not None


def test_a_poll_that_a_cooldown_skips_counts_nowhere_and_shows_when_it_ends(bench: Bench) -> None:
    bench.poll(good())
    bench.poll(response({}, 429))
    before = bench.state
    bench.poll()
    assert (bench.state.polls, bench.state.failures, bench.state.failure) == (
        2,
        before.failures,
        before.failure,
    )
    assert bench.value("cooldown_until_timestamp_seconds") == bench.clock.wall() + 60


def test_a_refused_key_is_sent_less_often_each_time_down_to_once_an_hour(bench: Bench) -> None:
    asked_at = []
    bench.vendor.steps["/usage"] = [response({}, 401)]
    for _ in range(8 * 60):
        before = len(bench.vendor.asked)
        result = bench.poll()
        if len(bench.vendor.asked) > before:
            asked_at.append(bench.clock.monotonic())
        bench.clock.advance(result.next_due - bench.clock.monotonic())
    gaps = [later - earlier for earlier, later in pairwise(asked_at)]
    assert [round(gap / 60) for gap in gaps[1:7]] == [4, 8, 16, 32, 60, 60]
    assert bench.state.polls == len(asked_at)


def test_a_refused_key_that_was_replaced_is_tried_at_the_next_slot(
    clock: FakeClock, make_account: MakeAccount, key_file: Path
) -> None:
    bench = Bench(clock, make_account()._replace(key=KeySource("file", str(key_file))))
    bench.poll(response({}, 401))
    clock.advance(60)
    assert bench.poll().wait is not None
    key_file.write_text("another" + key_file.read_text())
    bench.poll(good())
    assert bench.value("up") == 1


def test_a_reload_ends_the_backoff_of_a_refused_key_but_no_cooldown(bench: Bench) -> None:
    bench.poll(response({}, 403))
    bench.poller.lift_refusals()
    assert bench.poll(response({}, 429)).wait is None
    bench.poller.lift_refusals()
    result = bench.poll()
    assert result.wait is not None and result.wait.reason == "cooldown"


def test_a_reload_undoes_no_poll_that_ends_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.poll(response({}, 401))
    ended = threading.Event()

    def poll() -> None:
        bench.poll(good())
        ended.set()

    other = threading.Thread(target=poll)
    look = bench.store.state

    def look_and_let_the_poll_end(key: AccountId) -> AccountState:
        found = look(key)
        if threading.current_thread() is not other and other.ident is None:
            other.start()
            ended.wait(0.5)  # in vain where it has to wait for us
        return found

    monkeypatch.setattr(bench.store, "state", look_and_let_the_poll_end)
    bench.poller.lift_refusals()
    other.join()
    assert (bench.state.polls, bench.state.failure, bench.value("polls_total")) == (2, None, 2)


def test_a_reload_may_come_while_accounts_are_polled_for_the_first_time(
    bench: Bench, make_account: MakeAccount
) -> None:
    others = iter(range(100))
    bench.poll(good())

    def keep(_key: AccountId) -> bool:
        bench.poller.poll(make_account(name=f"new{next(others)}"))
        return False

    bench.poller.forget(keep)


def test_a_refused_key_stays_refused_after_a_restart(bench: Bench) -> None:
    bench.poll(response({}, 401))
    bench.clock.advance(5)
    bench.start({bench.saved[-1][0]: bench.saved[-1][1]})
    result = bench.poll(good())
    assert result.wait is not None and result.wait.reason == "refused"
    assert bench.account.key.secret not in repr(bench.saved)


def test_the_budget_of_a_key_counts_retries_and_puts_polls_off(clock: FakeClock, make_account: MakeAccount) -> None:
    bench = Bench(clock, make_account(max_requests_per_minute=2))
    bench.poll(response({}, 500))
    assert len(bench.vendor.asked) == 2, "the third attempt was out of turn"
    assert bench.value("poll_failures_total", reason="server_error") == 1
    result = bench.poll(good())
    assert result.wait is not None and result.wait.reason == "budget"
    assert bench.value("polls_total") == 1


def test_the_minute_of_a_slow_request_runs_from_its_end(clock: FakeClock, make_account: MakeAccount) -> None:
    bench = Bench(clock, make_account(max_requests_per_minute=1, timeout=50.0))
    bench.vendor.latency = 40.0
    bench.poll(good())
    clock.advance(30)
    result = bench.poll()
    assert result.wait is not None and result.wait.seconds == pytest.approx(30, abs=0.01)


def test_an_unreadable_key_is_a_credential_failure_and_sends_nothing(
    clock: FakeClock, make_account: MakeAccount, tmp_path: Path
) -> None:
    bench = Bench(clock, make_account()._replace(key=KeySource("file", str(tmp_path / "missing"))))
    bench.poll(good())
    assert bench.value("poll_failures_total", reason="credential") == 1
    assert bench.vendor.asked == []


def test_the_vendors_message_is_kept_without_the_key_or_a_part_of_it(bench: Bench) -> None:
    key = bench.account.key.secret
    bench.poll(response({"message": f"bad key {key} ({key[:8]}…{key[-8:]})"}, 401))
    assert bench.state.failure is not None
    message = bench.state.failure.message
    assert message.startswith("HTTP 401: bad key <redacted>")
    assert not any(key[at : at + 6] in message for at in range(len(key) - 5))


def test_a_key_in_a_response_is_redacted_everywhere(bench: Bench) -> None:
    key = bench.account.key.secret
    block = {"plan_id": key, "plan_name": f"plan {key}", "interval": key[4:30], "status": key}
    services = {key: {"unit": key, "used": 3}, "search": {"unit": "credits", "used": 5}}
    bench.poll(good(subscription=block, **{key: 1}, usage=services))
    shown = bench.exposition.body("", "").data.decode() + repr(bench.state)
    assert not any(key[at : at + 12] in shown for at in range(len(key) - 11))
    assert bench.value("credits_balance") == 112.5


def test_the_key_of_another_account_in_a_response_is_redacted_everywhere(bench: Bench) -> None:
    other = secrets.token_hex(16)
    bench.redactor.add(other)
    bench.poll(good(subscription={"plan_name": other, "plan_id": b64encode(other.encode()).decode()}))
    shown = bench.exposition.body("", "").data.decode()
    assert 'plan_name="<redacted>"' in shown
    assert other not in shown and 'plan_id="<redacted>' in shown


def test_an_error_text_is_redacted_before_it_is_cut(bench: Bench) -> None:
    other = secrets.token_hex(16)
    bench.redactor.add(other)
    for before in (270, 280, 290, 19_990):
        bench.poll(response({"message": "x" * before + other + "y" * 50_000}, 500))
        assert bench.state.failure is not None
        message = bench.state.failure.message
        assert len(message) <= 300
        assert not any(other[at : at + 6] in message for at in range(len(other) - 5))


def test_a_character_that_controls_a_terminal_is_escaped(bench: Bench) -> None:
    bench.poll(good(subscription={"plan_name": "a\x9b31m\x85b\u202ec", "status": "active"}))
    shown = bench.exposition.body("", "").data.decode()
    assert all(line.isprintable() for line in shown.splitlines())
    assert r"a\\u009b31m\\u0085b\\u202ec" in shown
    bench.poll(response({"message": "no\x9b31m"}, 500))
    assert bench.state.failure is not None and bench.state.failure.message == r"HTTP 500: no\u009b31m"


def test_a_response_that_is_nested_deeper_than_can_be_read_is_the_vendors_failure(bench: Bench) -> None:
    deep: object = 0
    for _ in range(5000):
        deep = [deep]
    bench.poll(good(storage=deep))
    assert bench.state.failure is not None and bench.state.failure.reason == "invalid_response"


def test_a_response_older_than_the_last_one_is_ignored(bench: Bench) -> None:
    bench.poll(good(generated_at="2026-03-28T10:00:00Z"))
    bench.poll(
        good(
            generated_at="2026-03-28T09:00:00Z",
            credits={"monthly_total": 80, "monthly_remaining": 70, "purchased": 50},
        )
    )
    assert bench.value("credits_balance") == 112.5
    assert bench.value("credits_added_total") == 0
    assert bench.value("up") == 1


def test_figures_that_only_older_responses_follow_become_stale(bench: Bench) -> None:
    bench.poll(good(generated_at="2026-03-28T10:00:00Z"))
    for _ in range(2):
        bench.clock.advance(100)
        bench.poll(good(generated_at="2026-03-28T09:00:00Z"))
    assert bench.value("credits_balance") is None
    assert bench.value("last_success_timestamp_seconds") == bench.clock.wall()
    bench.poll(good(generated_at="2026-03-28T10:03:20Z"))
    assert bench.value("credits_balance") == 112.5
    assert bench.value("reading_gap_seconds") == 200


def test_credits_spent_between_two_readings_are_booked(bench: Bench) -> None:
    bench.poll(good())
    bench.clock.advance(60)
    bench.poll(good(credits={"monthly_total": 80, "monthly_remaining": 60.25, "purchased": 50}))
    assert bench.value("credits_spent_total") == 2.25
    assert bench.value("reading_gap_seconds") == 60


def test_rejected_fields_are_counted(bench: Bench) -> None:
    bench.poll(good(storage={"used_bytes": "much"}, channels_indexed=[]))
    assert bench.value("rejected_fields") == 2
    assert bench.value("up") == 1


class TestBilling:
    INVOICES: ClassVar = {
        "success": True,
        "data": [{"amount": 5, "currency": "usd", "status": "paid", "created_at": "2026-01-01"}],
    }
    RECHARGE: ClassVar = {"success": True, "data": {"enabled": True, "threshold": 10, "amount": 50}}

    @pytest.fixture
    def bench(self, clock: FakeClock, make_account: MakeAccount) -> Bench:
        account = make_account("videodb", collect=("usage", "invoices", "auto_recharge"), stale_after=2 * 3600.0)
        bench = Bench(clock, account)
        bench.vendor.steps = {
            "/billing/usage": [response(json.loads(VIDEODB))],
            "/billing/invoices": [response(self.INVOICES)],
            "/billing/auto_recharge": [response(self.RECHARGE)],
        }
        return bench

    def asked(self, bench: Bench, path: str) -> int:
        return sum(1 for asked, _ in bench.vendor.asked if asked == path)

    def test_it_is_requested_at_the_start_and_then_once_an_hour(self, bench: Bench) -> None:
        for _ in range(121):
            bench.poll()
            bench.clock.advance(60)
        assert self.asked(bench, "/billing/usage") == 121
        assert self.asked(bench, "/billing/invoices") == 3
        assert bench.value("invoices", status="paid") == 1
        assert bench.value("invoices", status="failed") == 0
        assert bench.value("auto_recharge_threshold_credits") == 10

    def test_its_failure_is_counted_and_does_not_change_up_and_balance(self, bench: Bench) -> None:
        bench.vendor.steps["/billing/invoices"] = [response({}, 403)]
        bench.poll()
        assert bench.value("up") == 1
        assert bench.value("credits_balance") == 100.5
        assert bench.value("poll_failures_total", reason="forbidden") == 1
        assert bench.value("last_poll_failure") is None
        assert bench.value("auto_recharge_enabled") == 1

    def test_it_is_not_requested_if_the_usage_failed(self, bench: Bench) -> None:
        bench.poll(response({}, 401))
        assert self.asked(bench, "/billing/invoices") == 0

    def test_a_restart_does_not_request_it_again_within_the_hour(self, bench: Bench) -> None:
        bench.poll()
        bench.start({bench.saved[-1][0]: bench.saved[-1][1]})
        bench.clock.advance(60)
        bench.poll()
        assert self.asked(bench, "/billing/invoices") == 1
        assert bench.value("invoices", status="paid") == 1

    def test_it_counts_against_the_keys_limit(self, clock: FakeClock, make_account: MakeAccount) -> None:
        account = make_account("videodb", collect=("usage", "invoices"), max_requests_per_minute=1)
        bench = Bench(clock, account)
        bench.vendor.steps = {
            "/billing/usage": [response(json.loads(VIDEODB))],
            "/billing/invoices": [response(self.INVOICES)],
        }
        bench.poll()
        assert self.asked(bench, "/billing/invoices") == 0
        assert bench.value("up") == 1
        clock.advance(61)
        bench.poll()
        assert self.asked(bench, "/billing/invoices") == 0, "the usage comes first, and one request is all there is"

    def test_it_is_withdrawn_three_hours_after_it_came(self, bench: Bench) -> None:
        bench.poll()
        bench.vendor.steps["/billing/invoices"] = [response({}, 500)]
        for _ in range(4):
            bench.clock.advance(3600)
            bench.poll()
        assert bench.value("invoices", status="paid") is None
        assert bench.value("auto_recharge_enabled") == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_moves_no_poll_and_makes_no_value_older(bench: Bench, jump: float) -> None:
    first = bench.poll(good())
    bench.clock.jump(jump)
    assert bench.value("credits_balance") == 112.5
    bench.clock.advance(first.next_due - bench.clock.monotonic())
    second = bench.poll()
    assert second.wait is None
    assert second.next_due - first.next_due == pytest.approx(60)


@pytest.mark.parametrize("interval", [10.0, 60.0, 3600.0])
def test_slots_are_an_interval_apart_and_the_first_gap_is_neither_short_nor_long(
    clock: FakeClock, make_account: MakeAccount, interval: float
) -> None:
    for name in ("a", "b", "c", "d"):
        bench = Bench(clock, make_account(name=name, interval=interval, timeout=5.0))
        first = bench.poll(good()).next_due - clock.monotonic()
        assert interval / 2 <= first <= interval * 1.5
        clock.advance(first)
        assert bench.poll(good()).next_due - clock.monotonic() == pytest.approx(interval)


def test_a_restored_account_is_due_when_it_would_have_been(bench: Bench) -> None:
    due = bench.poll(good()).next_due
    bench.clock.advance(3)
    bench.start({bench.saved[-1][0]: bench.saved[-1][1]})
    assert bench.poller.first_due(bench.account) == pytest.approx(due)
    bench.clock.advance(3600)
    assert bench.poller.first_due(bench.account) == bench.clock.monotonic()


@pytest.mark.parametrize("refused", [False, True])
def test_a_clock_that_was_set_back_before_the_start_delays_no_poll_for_long(bench: Bench, refused: bool) -> None:
    bench.poll(response({}, 401) if refused else good())
    bench.clock.jump(-3600)
    bench.start({bench.saved[-1][0]: bench.saved[-1][1]})
    assert bench.poller.first_due(bench.account) - bench.clock.monotonic() <= 1.5 * bench.account.interval


def test_an_account_that_was_never_polled_is_due_at_once(bench: Bench) -> None:
    assert bench.poller.first_due(bench.account) == bench.clock.monotonic()


def test_a_poll_that_ends_after_its_account_was_removed_or_replaced_is_not_shown(
    bench: Bench, make_account: MakeAccount
) -> None:
    old = bench.account
    bench.store.replace([make_account(interval=90.0)], (), {})
    bench.vendor.steps["/usage"] = [good()]
    bench.poller.poll(old)
    assert bench.saved == []
    assert bench.value("credits_balance") is None


def test_a_zero_that_the_next_response_corrects_is_shown_and_never_booked_even_over_a_restart(
    clock: FakeClock, make_account: MakeAccount
) -> None:
    bench = Bench(clock, make_account(provider="videodb"))
    bench.poll(response(videodb(credit_balance=5000)))
    bench.poll(response(videodb(credit_balance=0)))
    assert bench.value("credits_balance") == 0
    assert bench.value("credits_spent_total") == 0
    decode = TypeAdapter(AccountState)
    bench.start({bench.account.id: decode.validate_json(decode.dump_json(bench.state))})
    bench.poll(response({}, 500))
    bench.poll(response(videodb(credit_balance=5000)))
    assert bench.value("credits_spent_total") == 0
    assert bench.value("credits_added_total") == 0


def test_a_zero_from_the_warning_threshold_of_the_reading_before_is_booked_at_once(bench: Bench) -> None:
    def credits(remaining: float, total: float | None) -> RawResponse:
        return good(credits={"monthly_remaining": remaining, "monthly_total": total, "purchased": 0})

    bench.poll(credits(100, 1000))
    bench.poll(credits(0, 1000))  # the threshold is 20% of the limit
    assert bench.value("credits_spent_total") == 100
    bench.poll(credits(201, 1000))
    bench.poll(credits(0, 0))  # without a limit the zero is still one from above the threshold
    assert bench.value("credits_spent_total") == 100


@pytest.mark.parametrize("status", [429, 503])
def test_the_next_poll_after_a_response_that_starts_a_cooldown_is_shown_at_its_end_at_once(
    bench: Bench, status: int
) -> None:
    bench.poll(response({}, status, retry_after="3000"))
    assert bench.value("next_poll_timestamp_seconds") == pytest.approx(bench.clock.wall() + 3000, abs=1)
    assert bench.value("next_poll_timestamp_seconds") == bench.value("cooldown_until_timestamp_seconds")


def test_a_cooldown_is_shown_at_once_at_every_account_that_shares_the_key(
    bench: Bench, make_account: MakeAccount
) -> None:
    sharers = [bench.account, bench.account._replace(name="sharer")]
    stranger = make_account(name="stranger")
    accounts = [*sharers, stranger]
    bench.store.replace(accounts, sorted(bench.account.labels), {})
    bench.vendor.steps["/usage"] = [good()]
    for account in accounts:
        bench.poller.poll(account)
    before = bench.store.state(stranger.id)
    bench.clock.advance(bench.account.interval)
    bench.poll(response({}, 429, retry_after="3000"))
    end = bench.clock.wall() + 3000
    for account in sharers:
        for family in ("next_poll_timestamp_seconds", "cooldown_until_timestamp_seconds"):
            assert bench.value(family, account=account.name) == pytest.approx(end, abs=1), (account.name, family)
    assert bench.store.state(stranger.id) == before


def test_an_account_whose_key_was_replaced_does_not_show_the_cooldown_of_the_old_key(
    bench: Bench, make_account: MakeAccount, key_file: Path
) -> None:
    changed = make_account(name="changed")._replace(key=KeySource("file", str(key_file)))
    bench.store.replace([bench.account, changed], sorted(bench.account.labels), {})
    bench.vendor.steps["/usage"] = [good()]
    for key in (bench.account.key.read(), secrets.token_hex(16)):
        key_file.write_text(key)
        bench.poller.poll(changed)
        bench.clock.advance(bench.account.interval)
    before = bench.store.state(changed.id)
    bench.poll(response({}, 429, retry_after="3000"))
    assert bench.store.state(changed.id) == before


def test_a_cooldown_that_ends_before_the_next_slot_puts_no_poll_off(bench: Bench) -> None:
    bench.account = bench.account._replace(interval=100_000.0)
    bench.start({})
    result = bench.poll(response({}, 429))
    assert bench.value("next_poll_timestamp_seconds") == pytest.approx(
        bench.clock.wall() + result.next_due - bench.clock.monotonic()
    )


def test_a_poll_that_was_suspended_while_it_was_admitted_begins_again(
    bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit, pauses = Limits.admit, [4.0]

    def slow(limits: Limits, *args: Any) -> Wait | None:
        wait = admit(limits, *args)
        clock.advance(pauses.pop() if pauses else 0.0)
        return wait

    monkeypatch.setattr(Limits, "admit", slow)
    assert bench.poll(good()).next_due <= clock.monotonic()
    assert (bench.vendor.asked, bench.state.polls) == ([], 0)
    bench.poll()
    assert (len(bench.vendor.asked), bench.state.polls) == (1, 1)


def test_a_poll_that_was_suspended_before_its_first_request_begins_again(bench: Bench, clock: FakeClock) -> None:
    provider, pauses = PROVIDERS["vidnavigator"], [4.0]

    def fetch(get: Get, options: ParseOptions) -> Part:
        clock.advance(pauses.pop() if pauses else 0.0)
        return provider.endpoints["usage"].fetch(get, options)

    bench.poller.use_providers({"vidnavigator": replace(provider, endpoints={"usage": Endpoint(fetch)})})
    result = bench.poll(good())
    assert result.next_due <= clock.monotonic()
    assert (bench.vendor.asked, bench.state.polls, bench.state.failures) == ([], 0, {})
    bench.poll()
    assert (len(bench.vendor.asked), bench.state.polls) == (1, 1)
