"""The brief of an account."""

from __future__ import annotations

from math import inf

import pytest

from exporter.errors import REASONS
from exporter.metrics.view import View
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState, Failure, Usage
from exporter.status.summary import EXPLANATIONS, summary
from tests.conftest import START, MakeAccount
from tests.providers.answers import voyager


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
