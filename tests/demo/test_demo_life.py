"""Properties of the figures of a demo account, for any plan at any time."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.apis import DAY, GIB, NAVIGATOR, ODYSSEY, TRIAL, VOYAGER
from exporter.demo.faults import Fault
from exporter.demo.life import BIRTH, HOUR, PERIOD_SECONDS, Calendar, Demand, Filling, VideoDbLife, VidNavigatorLife
from exporter.demo.world import MIXED_SERVICES, NEW_SERVICES, OLD_SERVICES, OPERATIONS, TRIAL_SERVICES

unhurried = settings(deadline=None, max_examples=50)
fewer = settings(unhurried, max_examples=20)  # each example lives through many periods
CALENDAR = Calendar(1_800_000_000.0)
A_CREDIT_BUYS = {
    "standard_request": 10_000,
    "video_transcripts": 10_000,
    "residential_request": 200,
    "youtube_transcripts": 200,
    "analysis_request": 100,
    "video_analyses": 100,
    "search_request": 10,
    "video_searches": 10,
    "transcription_hour": 1,
    "video_uploads": 1,
    "video_scene_analyses": 1,
}

# Not finer than a microsecond, because a time next to 0 loses itself beside the start of a period.
moments = st.lists(st.floats(BIRTH, 75 * DAY).map(lambda at: round(at, 6)), min_size=2, max_size=8).map(sorted)
demands = st.builds(Demand, st.floats(0, 20), st.floats(0, 6))
fillings = st.builds(Filling, st.floats(0, 1), st.floats(1, 3), st.floats(1, 90), st.floats(0, 1))
Recipe = dict[str, Any]
vidnavigator_recipes = st.fixed_dictionaries(
    {
        "plan": st.sampled_from([TRIAL, NAVIGATOR, VOYAGER]),
        "services": st.sampled_from([NEW_SERVICES, OLD_SERVICES, MIXED_SERVICES, TRIAL_SERVICES]),
        "demand": demands,
        "storage": fillings.map(lambda level: Filling(level.low * GIB, level.high * GIB, level.days, level.start)),
        "channels": st.just(Filling(0, 3, 7)),
        "purchased": st.integers(0, 100),
        "into_period": st.integers(0, 29),
    }
)
videodb_recipes = st.fixed_dictionaries(
    {
        "services": st.just(OPERATIONS),
        "demand": demands,
        "granted": st.integers(0, 100),
        "purchased": st.integers(0, 100),
        "into_period": st.integers(0, 29),
        "threshold": st.integers(0, 30),
        "recharge": st.just(0) | st.integers(40, 100),  # so that no period has more invoices than are kept
        "card_declined": st.booleans(),
        "example_names": st.booleans(),
    }
)


def decimal(number: float) -> Decimal:
    return Decimal(str(number))


def usage(life: VidNavigatorLife, now: float) -> dict[str, Any]:
    response = life.usage(now, CALENDAR)
    assert not isinstance(response, Fault)
    return response


def worth(response: dict[str, Any]) -> Decimal:
    """The credits that the services of a response cost together, by the vendor's published rates."""
    return sum((decimal(entry["used"]) / A_CREDIT_BUYS[name] for name, entry in response["usage"].items()), Decimal(0))


def balance(response: dict[str, Any]) -> Decimal:
    return decimal(response["credits"]["monthly_remaining"]) + decimal(response["credits"]["purchased"])


@unhurried
@given(vidnavigator_recipes, moments)
def test_all_fields_of_a_response_agree(recipe: Recipe, times: list[float]) -> None:
    life = VidNavigatorLife(**recipe)
    for now in times:
        response = usage(life, now)
        credits, storage, channels = response["credits"], response["storage"], response["channels_indexed"]
        monthly_used = decimal(credits["monthly_total"]) - decimal(credits["monthly_remaining"])
        assert monthly_used >= 0
        assert worth(response) == monthly_used if credits["monthly_remaining"] else worth(response) >= monthly_used
        assert credits["purchased"] >= 0
        assert storage["used_bytes"] + storage["remaining_bytes"] == storage["limit_bytes"]
        assert storage["percentage"] == round(100 * storage["used_bytes"] / storage["limit_bytes"], 1)
        assert channels["used"] + channels["remaining"] == channels["limit"]
        assert channels["percentage"] == round(100 * channels["used"] / channels["limit"], 1)


@unhurried
@given(vidnavigator_recipes, moments)
def test_inside_a_period_services_only_grow_and_the_pools_pay_for_them_monthly_credits_first(
    recipe: Recipe, times: list[float]
) -> None:
    life = VidNavigatorLife(**recipe)
    for earlier, later in itertools.pairwise(times):
        if life.period(earlier) != life.period(later):
            continue
        before, after = usage(life, earlier), usage(life, later)
        for name, entry in before["usage"].items():
            assert after["usage"][name]["used"] >= entry["used"]
        assert balance(before) - balance(after) == worth(after) - worth(before)
        if after["credits"]["purchased"] < before["credits"]["purchased"]:
            assert after["credits"]["monthly_remaining"] == 0


@unhurried
@given(vidnavigator_recipes, st.floats(BIRTH, 75 * DAY))
def test_at_a_periods_end_the_monthly_credits_are_back_the_services_at_zero_and_purchases_kept(
    recipe: Recipe, now: float
) -> None:
    life = VidNavigatorLife(**recipe)
    end = life.period(now)[1]
    last, first = usage(life, end - 0.001), usage(life, end)
    assert first["credits"]["monthly_remaining"] == first["credits"]["monthly_total"]
    assert {entry["used"] for entry in first["usage"].values()} == {0}
    assert first["billing_period"]["start"] == last["billing_period"]["end"]
    # a request that was just due at the end may still have cost the last response's pool something
    assert decimal(last["credits"]["purchased"]) - decimal(first["credits"]["purchased"]) <= 1
    assert last["credits"]["purchased"] >= first["credits"]["purchased"]


@fewer
@given(vidnavigator_recipes, st.integers(1, 100), st.permutations([-31, 8, 36, 62]))
def test_a_response_depends_only_on_its_time(recipe: Recipe, top_up: int, days: list[int]) -> None:
    life = VidNavigatorLife(**recipe, top_up=top_up)
    for day in days:
        assert usage(life, day * DAY + 17.5) == usage(VidNavigatorLife(**recipe, top_up=top_up), day * DAY + 17.5)


def simple(**changes: Any) -> VidNavigatorLife:
    recipe: Recipe = {
        "plan": VOYAGER,
        "services": TRIAL_SERVICES,
        "demand": Demand(4),
        "storage": Filling(0, 1, 1),
        "channels": Filling(0, 1, 1),
    }
    return VidNavigatorLife(**{**recipe, **changes})


def test_a_top_up_comes_on_its_day_once_a_period_when_little_is_left() -> None:
    life = simple(top_up=40)
    before, after = usage(life, 22 * DAY - 1), usage(life, 22 * DAY + 1)
    assert (before["credits"]["purchased"], after["credits"]["purchased"]) == (0, pytest.approx(40, abs=0.01))
    plenty = simple(top_up=40, purchased=400)
    assert usage(plenty, 22 * DAY + 1)["credits"]["purchased"] <= 400


def test_an_exhausted_account_stands_at_zero_until_the_next_period() -> None:
    life = simple(plan=TRIAL)
    for day in (3, 20, 29):
        assert balance(usage(life, day * DAY)) == 0
    assert balance(usage(life, PERIOD_SECONDS)) == 5


def test_an_unlimited_account_has_no_number_that_could_run_out_but_counts_its_services() -> None:
    life = simple(plan=ODYSSEY)
    early, late = usage(life, DAY), usage(life, 2 * DAY)
    assert late["credits"] == {"monthly_total": "unlimited", "monthly_remaining": "unlimited", "purchased": 0}
    assert worth(late) > worth(early) > 0


def test_storage_climbs_and_is_cleared() -> None:
    life = simple(storage=Filling(100, 200, days=10))
    levels = [usage(life, day * DAY)["storage"]["used_bytes"] for day in (0, 5, 9.99, 10)]
    assert levels == [100, 150, 199, 100]


def test_a_leaving_account_is_cancelled_and_has_no_plan_after_its_period() -> None:
    life = simple(leaving=True, into_period=27)
    assert usage(life, 3 * DAY - 1)["subscription"]["cancel_at_period_end"] is True
    assert isinstance(life.usage(3 * DAY, CALENDAR), Fault)


@pytest.mark.parametrize("phase", range(7))
def test_demand_never_falls(phase: float) -> None:
    demand = Demand(10, phase)
    so_far = [demand.between(0, minute * 60) for minute in range(0, 3 * 24 * 60, 5)]
    assert all(later > earlier for earlier, later in itertools.pairwise(so_far))


@unhurried
@given(demands, st.floats(BIRTH, 0), st.floats(0, 75 * DAY))
def test_demand_keeps_to_its_daily_amount(demand: Demand, start: float, end: float) -> None:
    average = demand.per_day * (end - start) / DAY
    assert demand.between(start, end) == pytest.approx(average, abs=0.25 * demand.per_day + 1e-9)


def test_services_have_shares_that_add_up_and_only_known_prices() -> None:
    for services in (NEW_SERVICES, OLD_SERVICES, MIXED_SERVICES, TRIAL_SERVICES, OPERATIONS):
        assert sum(service.share for service in services) == pytest.approx(1)
    assert {service.name for service in (*NEW_SERVICES, *OLD_SERVICES)} == set(A_CREDIT_BUYS)


def videodb_balance(response: dict[str, Any]) -> Decimal:
    return decimal(response["credits_remaining"] if "credits_remaining" in response else response["credit_balance"])


def videodb_used(response: dict[str, Any]) -> Decimal:
    return decimal(response["total_credits_used"] if "credits_remaining" in response else response["usage_this_month"])


@unhurried
@given(videodb_recipes, moments)
def test_a_videodb_balance_falls_by_what_is_used_and_rises_by_what_is_invoiced(
    recipe: Recipe, times: list[float]
) -> None:
    life = VideoDbLife(**recipe)
    for now in times:
        response = life.usage(now)
        assert videodb_balance(response) >= 0
        assert sum(map(decimal, response["breakdown"].values())) == videodb_used(response)
    for earlier, later in itertools.pairwise(times):
        if life.period(earlier) != life.period(later):
            continue
        known = {entry["id"] for entry in life.invoices(earlier, CALENDAR)}
        new = [entry for entry in life.invoices(later, CALENDAR) if entry["id"] not in known]
        bought = sum(entry["amount"] for entry in new if entry["status"] != "failed")
        before, after = life.usage(earlier), life.usage(later)
        assert len(new) < 50
        assert videodb_balance(after) - videodb_balance(before) == bought - (videodb_used(after) - videodb_used(before))


@fewer
@given(videodb_recipes, st.permutations([-31, 8, 36, 62]))
def test_a_videodb_response_depends_only_on_its_time(recipe: Recipe, days: list[int]) -> None:
    life = VideoDbLife(**recipe)
    for day in days:
        alone = VideoDbLife(**recipe)
        assert life.usage(day * DAY) == alone.usage(day * DAY)
        assert life.invoices(day * DAY, CALENDAR) == alone.invoices(day * DAY, CALENDAR)


def videodb(**changes: Any) -> VideoDbLife:
    recipe: Recipe = {
        "services": OPERATIONS,
        "demand": Demand(6),
        "purchased": 30,
        "threshold": 20,
        "recharge": 100,
    }
    return VideoDbLife(**{**recipe, **changes})


def test_a_recharge_follows_within_the_hour_and_its_invoice_is_pending_at_first() -> None:
    life = videodb()
    low = next(hour for hour in range(24 * 60) if videodb_balance(life.usage(hour * HOUR + HOUR - 1)) < 20)
    now = (low + 1) * HOUR
    assert videodb_balance(life.usage(now)) > 110
    (newest, *_) = life.invoices(now, CALENDAR)
    assert (newest["status"], newest["amount"]) == ("pending", 100)
    assert life.invoices(now + HOUR, CALENDAR)[0] == {**newest, "status": "paid"}


def test_a_declined_card_leaves_one_failed_invoice_a_day_and_no_credits() -> None:
    life = videodb(purchased=0, recharge=30, card_declined=True)
    response, invoices = life.usage(20.5 * DAY), life.invoices(20.5 * DAY, CALENDAR)
    assert videodb_balance(response) == 0
    newest, second = invoices[:2]
    assert (newest["status"], second["status"]) == ("failed", "failed")
    assert int(newest["created_at"][8:10]) - int(second["created_at"][8:10]) == 1


def test_a_plan_is_invoiced_each_period_and_its_credits_do_not_roll_over() -> None:
    life = videodb(granted=50, purchased=0, recharge=0, threshold=0, demand=Demand(1), example_names=True)
    assert videodb_balance(life.usage(PERIOD_SECONDS)) == 50
    newest, second = life.invoices(PERIOD_SECONDS + HOUR, CALENDAR)[:2]
    assert (newest["date"] > second["date"], newest["amount"], newest["status"]) == (True, 50, "paid")
    assert life.auto_recharge()["enabled"] is False
