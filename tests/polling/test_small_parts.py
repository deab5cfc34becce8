"""Shards, slots, the brief of an account, and what systemd is told."""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.credentials import KeySource
from exporter.config.load import load
from exporter.config.thresholds import DEFAULTS
from exporter.errors import REASONS
from exporter.metrics.view import View
from exporter.polling.shards import accounts_of_shard, shard_of
from exporter.polling.slots import Slots
from exporter.providers import PROVIDERS
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Failure, Usage
from exporter.runtime.systemd import Notifier
from exporter.status.summary import EXPLANATIONS, summary
from tests.conftest import START, FakeClock, MakeAccount
from tests.providers.answers import voyager


class TestShards:
    def test_each_account_is_on_exactly_one_shard(self, make_account: MakeAccount) -> None:
        accounts = [make_account(name=str(n)) for n in range(500)]
        shards = [accounts_of_shard(accounts, index, 7) for index in range(7)]
        assert sorted(account.name for shard in shards for account in shard) == sorted(a.name for a in accounts)

    def test_one_shard_has_them_all(self, make_account: MakeAccount) -> None:
        accounts = (make_account(name="a"), make_account(name="b"))
        assert accounts_of_shard(accounts, 0, 1) == accounts

    @pytest.mark.parametrize("count", [1, 2, 5, 9])
    def test_one_more_shard_moves_about_its_share_and_only_to_itself(
        self, make_account: MakeAccount, count: int
    ) -> None:
        accounts = [make_account(name=str(n)) for n in range(3000)]
        moved = [a for a in accounts if shard_of(a, count) != shard_of(a, count + 1)]
        assert all(shard_of(a, count + 1) == count for a in moved)
        assert len(moved) / len(accounts) == pytest.approx(1 / (count + 1), rel=0.2)

    def test_shards_are_about_equally_large(self, make_account: MakeAccount) -> None:
        sizes = Counter(shard_of(make_account(name=str(n)), 4) for n in range(4000))
        assert all(size == pytest.approx(1000, rel=0.15) for size in sizes.values())

    def test_accounts_that_share_a_key_share_a_shard(self, make_account: MakeAccount) -> None:
        key = secrets.token_hex(8)
        accounts = [make_account(name=str(n), key=key) for n in range(20)]
        assert len({shard_of(account, 8) for account in accounts}) == 1
        by_file = [make_account(name=str(n)) for n in range(3)]
        for account in by_file:
            object.__setattr__(account, "key", KeySource("file", "/run/secrets/key"))
        assert len({shard_of(account, 64) for account in by_file}) == 1


class TestSlots:
    @given(st.text(max_size=20), st.floats(10, 86_400), st.floats(0, 1e6))
    def test_the_next_slot_is_after_now_and_at_most_an_interval_away(
        self, name: str, interval: float, now: float
    ) -> None:
        slots = Slots(FakeClock())
        due = slots.after(("vidnavigator", name), interval, now)
        assert 0 <= due - now <= interval * (1 + 1e-9)

    def test_the_phase_outlives_a_restart(self) -> None:
        clock = FakeClock()
        first = Slots(clock).after(("videodb", "a"), 300, clock.monotonic()) - clock.monotonic() + clock.wall()
        clock.advance(77)
        clock.monotonic_time = 5.0
        again = Slots(clock).after(("videodb", "a"), 300, 5.0) - 5.0 + clock.wall()
        assert (again - first) % 300 == pytest.approx(0, abs=1e-3) or (again - first) % 300 == pytest.approx(300)

    def test_phases_are_spread_over_the_interval(self) -> None:
        slots = Slots(FakeClock())
        tenths = Counter(int((slots.after(("videodb", str(n)), 100, 0.0)) // 10) for n in range(5000))
        assert all(count == pytest.approx(500, rel=0.25) for count in tenths.values())


class TestSummary:
    def view(self, make_account: MakeAccount, usage: Usage | None, state: AccountState) -> View:
        return View(make_account(), state, usage, None, None)

    def test_what_is_not_known_is_null_and_never_nought(self, make_account: MakeAccount) -> None:
        row = summary(self.view(make_account, None, AccountState()), START)
        assert row["up"] is None
        assert row["credits"]["balance"] is None and row["credits"]["level"] is None
        assert row["storage"]["used"] is None and row["storage"]["ratio"] is None and row["storage"]["level"] is None
        assert row["last_poll"] is None and row["failure"] is None

    def test_unlimited_is_a_word(self, make_account: MakeAccount) -> None:
        usage = Usage(balance=inf, monthly_limit=inf)
        row = summary(self.view(make_account, usage, AccountState(parts={"usage": usage}, polls=1)), START)
        assert row["credits"]["balance"] == "unlimited"
        assert row["credits"]["level"] == "ok"
        assert row["credits"]["runway_seconds"] is None
        assert row["credits"]["warning_below"] == 20

    @pytest.mark.parametrize(
        ("remaining", "level"), [(-50, "exhausted"), (-47, "critical"), (-40, "warning"), (10, "ok")]
    )
    def test_the_balance_is_put_beside_its_thresholds(
        self, make_account: MakeAccount, remaining: float, level: str
    ) -> None:
        credits = {"monthly_total": 80, "monthly_remaining": remaining, "purchased": 50}
        usage = parse_usage(voyager(credits=credits), ParseOptions())
        row = summary(self.view(make_account, usage, AccountState(parts={"usage": usage}, polls=1)), START)
        assert row["credits"]["level"] == level

    def test_the_runway_is_the_balance_at_the_periods_mean_spend(self, make_account: MakeAccount) -> None:
        usage = parse_usage(voyager(), ParseOptions())
        start = 1773532800.0
        row = summary(self.view(make_account, usage, AccountState(parts={"usage": usage}, polls=1)), start + 17_500)
        assert row["credits"]["runway_seconds"] == pytest.approx(112_500)

    def test_a_failure_is_explained_in_a_sentence(self, make_account: MakeAccount) -> None:
        state = AccountState(polls=1, failure=Failure("auth", "HTTP 401"))
        assert summary(self.view(make_account, None, state), START)["failure"] == {
            "reason": "auth",
            "explanation": EXPLANATIONS["auth"],
            "message": "HTTP 401",
        }

    def test_every_reason_has_an_explanation(self) -> None:
        assert tuple(EXPLANATIONS) == tuple(sorted(EXPLANATIONS, key=REASONS.index))
        assert set(EXPLANATIONS) == set(REASONS)


class TestSystemd:
    def test_it_is_told_through_its_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(path))
            server.settimeout(10)
            notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "30000000"})
            notifier.send("READY=1", "STATUS=polling")
            assert server.recv(1000) == b"READY=1\nSTATUS=polling"
        assert notifier.wants_watchdog

    def test_without_systemd_nothing_is_sent(self) -> None:
        notifier = Notifier({})
        notifier.send("READY=1")
        assert not notifier.wants_watchdog

    def test_a_socket_that_is_gone_stops_nothing(self, tmp_path: Path) -> None:
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send("READY=1")


def test_a_vendor_without_storage_and_channels_has_no_thresholds_for_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    key = secrets.token_hex(8)
    path.write_text(
        "accounts:\n"
        f"  - {{name: db, provider: videodb, api_key: {key}x}}\n"
        f"  - {{name: nav, provider: vidnavigator, api_key: {key}x}}\n"
    )
    db, nav = load(path, PROVIDERS, {}).accounts
    assert (db.thresholds.storage, db.thresholds.channels) == (None, None)
    assert nav.thresholds == DEFAULTS
    assert db.thresholds.credits == DEFAULTS.credits
