"""The shown values of each account, and the time until they are withdrawn."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from exporter.account_id import AccountId
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.family import Family
from exporter.metrics.grid import SEGMENT
from exporter.metrics.page import Exposition
from exporter.metrics.render import Renderer, Sample
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.providers.base import ParseOptions, Price
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Invoices, Ledger, Pool
from tests.conftest import FakeClock, MakeAccount
from tests.providers.responses import voyager


class Shown:
    """A store and the page that it writes."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.exposition = Exposition(FAMILIES, SelfMetrics("0", "", 0, 1).registry, clock)
        self.store = Store(self.exposition, clock)

    def lines(self, *families: str) -> list[str]:
        self.store.withdraw_stale()
        wanted = tuple(f"video_api_{family}{{" for family in families)
        return [line for line in self.exposition.body("", "").data.decode().splitlines() if line.startswith(wanted)]

    def polled(self, **changes: object) -> AccountState:
        wall = self.clock.wall()
        state = AccountState(
            parts={"usage": parse_usage(voyager(), ParseOptions())},
            part_times={"usage": wall},
            ledger=Ledger(),
            last_poll=wall,
            last_success=wall,
            polls=1,
        )
        return replace(state, **changes)  # type: ignore[arg-type]  # a test names what it changes


@pytest.fixture
def shown(clock: FakeClock) -> Shown:
    return Shown(clock)


def test_figures_are_withdrawn_from_the_first_scrape_after_they_became_stale(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account], (), {})
    shown.store.publish(account, shown.polled())
    clock.advance(179.9)
    assert shown.lines("credits_balance", "subscription_info", "service_usage", "rejected_fields")
    clock.advance(0.2)
    assert shown.lines("credits_balance", "subscription_info", "service_usage") == []
    kept = shown.lines(
        "credits_threshold", "credits_spent_total", "up", "last_success_timestamp_seconds", "polls_total"
    )
    assert len(kept) == 6


def test_a_call_withdraws_as_many_parts_as_it_may_and_tells_whether_more_are_stale(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    accounts = [make_account(name=str(number), stale_after=180.0) for number in range(5)]
    shown.store.replace(accounts, (), {})
    for _ in range(3):  # the earlier polls are not counted
        for account in accounts:
            shown.store.publish(account, shown.polled())
        clock.advance(1)
    assert shown.store.withdraw_stale(0)
    clock.advance(181)
    assert not shown.store.withdraw_stale(3)
    assert shown.exposition.body("", "").data.count(b"video_api_credits_balance{") == 2
    assert shown.store.withdraw_stale(2)
    assert shown.lines("credits_balance") == []


def test_a_threshold_share_keeps_its_amount_after_the_limit_is_withdrawn(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    account = make_account()
    shown.store.replace([account], (), {})
    shown.store.publish(account, shown.polled())
    before = shown.lines("credits_threshold")
    clock.advance(10_000)
    assert shown.lines("credits_threshold") == before
    assert before[0].endswith('severity="warning"} 16.0')


def test_a_balance_that_fell_to_0_is_unconfirmed_until_the_next_reading_and_not_longer_than_it_is_shown(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account], (), {})
    shown.store.publish(account, shown.polled(ledger=Ledger(doubted={"monthly": Pool(0.0)})))
    waiting = shown.lines("credits_balance_unconfirmed")
    assert waiting == ['video_api_credits_balance_unconfirmed{account="acct",provider="vidnavigator"} 1.0']
    clock.advance(180.1)
    assert shown.lines("credits_balance_unconfirmed") == []
    for ledger in (Ledger(), None):
        shown.store.publish(account, shown.polled(ledger=ledger))
        assert shown.lines("credits_balance_unconfirmed") == []


def test_a_failed_poll_does_not_refresh_old_figures(shown: Shown, clock: FakeClock, make_account: MakeAccount) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account], (), {})
    state = shown.polled()
    shown.store.publish(account, state)
    clock.advance(100)
    shown.store.publish(account, replace(state, polls=2, last_poll=clock.wall()))
    clock.advance(100)
    assert shown.lines("credits_balance") == []


def test_a_new_success_brings_the_figures_back(shown: Shown, clock: FakeClock, make_account: MakeAccount) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account], (), {})
    shown.store.publish(account, shown.polled())
    clock.advance(500)
    assert shown.lines("credits_balance") == []
    shown.store.publish(account, shown.polled(polls=2))
    assert shown.lines("credits_balance")
    clock.advance(179)
    assert shown.lines("credits_balance")


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_makes_no_value_older(
    shown: Shown, clock: FakeClock, make_account: MakeAccount, jump: float
) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account], (), {})
    state = shown.polled()
    shown.store.publish(account, state)
    clock.jump(jump)
    shown.store.publish(account, replace(state, polls=2))
    assert shown.lines("credits_balance")
    clock.advance(181)
    assert shown.lines("credits_balance") == []


@pytest.mark.parametrize(("age", "there"), [(0.0, True), (179.0, True), (181.0, False), (-3600.0, True)])
def test_a_restored_reading_keeps_its_age(
    shown: Shown, clock: FakeClock, make_account: MakeAccount, age: float, there: bool
) -> None:
    account = make_account(stale_after=180.0)
    state = shown.polled()
    clock.advance(age)
    shown.store.replace([account], (), {("vidnavigator", "acct"): state})
    assert bool(shown.lines("credits_balance")) is there


def test_a_view_stays_the_same_object_until_a_poll_ends_or_a_part_becomes_stale(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account, make_account(name="other")], (), {})
    first = shown.store.views()

    def has_changed() -> bool:
        before, now = first.copy(), shown.store.views()
        assert now[1] is before[1]
        assert [view is again for view, again in zip(now, shown.store.views(), strict=True)] == [True, True]
        first[:] = now
        return now[0] is not before[0]

    shown.store.publish(account, shown.polled())
    assert has_changed()
    clock.advance(179)
    assert not has_changed()
    clock.advance(2)
    assert has_changed()
    shown.store.publish(account, shown.polled(polls=2))
    assert has_changed()


def test_views_are_told_while_a_reload_holds_the_store(shown: Shown, make_account: MakeAccount) -> None:
    shown.store.replace([make_account()], (), {})
    told: list[int] = []
    with shown.store._lock:
        asking = threading.Thread(target=lambda: told.append(len(shown.store.views())), daemon=True)
        asking.start()
        asking.join(20)
    assert told == [1]


def test_billing_keeps_its_own_age(shown: Shown, clock: FakeClock, make_account: MakeAccount) -> None:
    account = make_account(stale_after=180.0)
    shown.store.replace([account], (), {})
    state = shown.polled()
    invoices = Invoices({"paid": 1, "pending": 0, "failed": 0})
    shown.store.publish(
        account,
        replace(
            state,
            parts={**state.parts, "invoices": invoices},
            part_times={**state.part_times, "invoices": clock.wall()},
        ),
    )
    clock.advance(3 * 3600 - 1)
    assert shown.lines("credits_balance") == []
    assert shown.lines("invoices")
    clock.advance(2)
    assert shown.lines("invoices") == []


def test_a_removed_account_disappears_and_the_others_keep_their_figures(
    shown: Shown, make_account: MakeAccount
) -> None:
    first, second = make_account(name="first"), make_account(name="second")
    shown.store.replace([first, second], (), {})
    for account in (first, second):
        shown.store.publish(account, shown.polled())
    shown.store.replace([second], (), {})
    assert [line for line in shown.lines("credits_balance", "up") if 'account="first"' in line] == []
    assert len(shown.lines("credits_balance")) == 1
    assert shown.store.publish(first, shown.polled()) is False


def test_a_poll_that_begins_during_a_reload_finds_its_account(
    shown: Shown, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_account(name="first"), make_account(name="second")
    shown.store.replace([first, second], (), {})
    for account in (first, second):
        shown.store.publish(account, shown.polled(polls=7))
    found: list[tuple[int, bool]] = []
    put = shown.exposition.put

    def look_and_put(key: AccountId, fragments: Sequence[bytes]) -> None:
        for account in (first, second):
            served = shown.store.account(account.id)
            found.append((shown.store.state(account.id).polls, served is account))
        put(key, fragments)

    monkeypatch.setattr(shown.exposition, "put", look_and_put)
    shown.store.replace([make_account(name="first", interval=90.0), second], (), {})
    assert found == [(7, True)] * 2


@pytest.mark.parametrize(("count", "in_page"), [(SEGMENT, "configured"), (SEGMENT + 1, "polls")])
def test_a_large_page_has_its_accounts_in_the_order_of_their_polls(
    clock: FakeClock, make_account: MakeAccount, count: int, in_page: str
) -> None:
    shown = Shown(clock)
    shown.store = Store(shown.exposition, clock, lambda account: (0.0, -float(account.name)))
    accounts = [make_account(name=str(number)) for number in range(count)]
    shown.store.replace(accounts, (), {})
    names = [line.split('"')[1] for line in shown.lines("poll_interval_seconds")]
    configured = [account.name for account in accounts]
    assert names == (configured if in_page == "configured" else configured[::-1])
    assert [view.account.name for view in shown.store.views()] == configured


def test_every_account_has_every_configured_label(shown: Shown, make_account: MakeAccount) -> None:
    accounts = [
        make_account(name="a", labels={"team": "media"}),
        make_account(name="b", labels={"env": "prod"}),
    ]
    shown.store.replace(accounts, ("env", "team"), {})
    assert shown.lines("poll_interval_seconds") == [
        'video_api_poll_interval_seconds{account="a",env="",provider="vidnavigator",team="media"} 60.0',
        'video_api_poll_interval_seconds{account="b",env="prod",provider="vidnavigator",team=""} 60.0',
    ]


def test_a_reload_that_brings_a_new_label_puts_it_on_unchanged_accounts_too(
    shown: Shown, make_account: MakeAccount
) -> None:
    account = make_account()
    shown.store.replace([account], (), {})
    shown.store.replace([account, make_account(name="b", labels={"team": "media"})], ("team",), {})
    assert shown.lines("poll_interval_seconds") == [
        'video_api_poll_interval_seconds{account="acct",provider="vidnavigator",team=""} 60.0',
        'video_api_poll_interval_seconds{account="b",provider="vidnavigator",team="media"} 60.0',
    ]


def test_a_price_is_shown_before_the_first_poll_follows_a_reload_and_never_goes_stale(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    for price in (Price(0.1, "USD"), Price(0.125, "EUR")):
        shown.store.replace([make_account(price=price), make_account(name="free")], (), {})
        clock.advance(7200)
        assert shown.lines("credit_price") == [
            f'video_api_credit_price{{account="acct",currency="{price.currency}",provider="vidnavigator"}} '
            f"{price.amount}"
        ]
    shown.store.replace([make_account()], (), {})
    assert shown.lines("credit_price") == []


def test_first_polls_are_done_when_every_account_was_polled_restored_or_found_in_cooldown(
    shown: Shown, make_account: MakeAccount
) -> None:
    polled, restored, cooling = (make_account(name=name) for name in ("polled", "restored", "cooling"))
    shown.store.replace([polled, restored, cooling], (), {("vidnavigator", "restored"): shown.polled()})
    shown.store.publish(polled, shown.polled())
    assert not shown.store.first_polls_done()
    shown.store.publish(cooling, AccountState(), first_poll_done=False)
    assert not shown.store.first_polls_done()
    shown.store.publish(cooling, AccountState(), first_poll_done=True)
    assert shown.store.first_polls_done()


def test_a_scrape_never_mixes_two_polls_of_one_account(
    shown: Shown, clock: FakeClock, make_account: MakeAccount
) -> None:
    account = make_account()
    shown.store.replace([account], (), {})
    stop = threading.Event()

    def publish() -> None:
        polls = 0
        while not stop.is_set():
            polls += 1
            shown.store.publish(account, shown.polled(polls=polls, last_duration=float(polls)))

    writer = threading.Thread(target=publish)
    writer.start()
    try:
        for _ in range(200):
            values = {line.rpartition(" ")[2] for line in shown.lines("polls_total", "last_poll_duration_seconds")}
            assert len(values) <= 1 or values == {"0.0"}
    finally:
        stop.set()
        writer.join()


def test_whether_first_polls_are_done_is_known_while_a_reload_locks_the_store(
    shown: Shown, make_account: MakeAccount
) -> None:
    shown.store.replace([make_account()], (), {})
    told: list[bool] = []
    with shown.store._lock:
        asking = threading.Thread(target=lambda: told.append(shown.store.first_polls_done()), daemon=True)
        asking.start()
        asking.join(20)
    assert told == [False]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the families that were written as text."""
    names: list[str] = []
    render = Renderer.__call__

    def noted(self: Renderer, family: Family, samples: Sequence[Sample]) -> bytes:
        names.append(family.name)
        return render(self, family, samples)

    monkeypatch.setattr(Renderer, "__call__", noted)
    return names


def test_a_poll_writes_only_the_families_whose_samples_changed(
    shown: Shown, make_account: MakeAccount, written: list[str]
) -> None:
    account = make_account()
    shown.store.replace([account], (), {})
    shown.store.publish(account, shown.polled())
    written.clear()
    shown.store.publish(account, shown.polled(polls=2))
    assert written == ["video_api_polls_total"]
    assert shown.lines("polls_total") == ['video_api_polls_total{account="acct",provider="vidnavigator"} 2.0']


def test_a_reload_writes_no_account_that_is_as_before_again(
    shown: Shown, make_account: MakeAccount, written: list[str]
) -> None:
    accounts = [make_account(name=f"a{number}") for number in range(3)]
    shown.store.replace(accounts, (), {})
    for account in accounts:
        shown.store.publish(account, shown.polled())
    before = shown.exposition.body("", "").data
    written.clear()
    shown.store.replace(accounts, (), {})
    assert written == []
    assert shown.exposition.body("", "").data == before
    shown.store.replace([*accounts, make_account(name="new")], (), {})
    assert len(written) == len(FAMILIES)


def test_a_refused_reload_leaves_every_account_as_it_was_once_the_old_accounts_are_put_back(
    shown: Shown, make_account: MakeAccount
) -> None:
    kept, changed = make_account(name="kept"), make_account(name="changed")
    shown.store.replace([kept, changed], (), {})
    for account in (kept, changed):
        shown.store.publish(account, shown.polled())
    before = shown.exposition.body("", "").data
    refused = {("vidnavigator", "new"): shown.polled(last_poll=float("nan"))}
    with pytest.raises(ValueError, match="must be a number"):
        shown.store.replace([make_account(name="changed", interval=90.0), make_account(name="new")], (), refused)
    shown.store.replace([kept, changed], (), {})
    assert shown.exposition.body("", "").data == before
