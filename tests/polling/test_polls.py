"""The polls of the daemon, beside the tests of poller, scheduler and holding."""

from __future__ import annotations

import pytest

from exporter.config.accounts import Account
from exporter.polling.polls import Polls
from exporter.readings import AccountState
from tests.conftest import FakeClock, MakeAccount
from tests.polling.test_poller import Bench, good


def test_a_request_whose_response_a_replica_did_not_live_to_save_is_the_poll_of_its_interval(
    clock: FakeClock, make_account: MakeAccount
) -> None:
    account = make_account(interval=300.0)
    bench = Bench(clock, account)
    polls = Polls(bench.poller, clock, lambda _lag: None, None)
    due = bench.poll(good()).next_due
    polls._note_request(account, clock.monotonic())
    assert abs(bench.poller.first_due(account) - due) < 1e-3  # the response was saved
    clock.advance(due - clock.monotonic() + 0.1)
    sent = clock.monotonic()
    clock.advance(12)
    assert bench.poller.first_due(account) == clock.monotonic()
    for at in (sent, sent + 250, sent):  # once more with its latest end, as long as that is not known
        polls._note_request(account, at)
        assert abs(bench.poller.first_due(account) - due - 300) < 1e-3
    clock.advance(3000)
    polls._note_request(account, clock.monotonic() - 20)  # after a long outage
    assert bench.poller.first_due(account) > clock.monotonic() + 100


def test_a_state_of_another_replica_that_cannot_be_shown_delays_no_other(
    clock: FakeClock, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(clock, make_account(name="good"))
    bad = make_account(name="bad")
    bench.store.replace([bad, bench.account], (), {})
    publish = bench.store.publish

    def refuse(account: Account, state: AccountState) -> bool:
        if account is bad:
            raise ValueError
        return publish(account, state)

    monkeypatch.setattr(bench.store, "publish", refuse)
    bench.poller.commits.receive({one.id: AccountState(polls=5, version=1) for one in (bad, bench.account)})
    assert bench.state.polls == 5
    assert "cannot be shown" in caplog.text
