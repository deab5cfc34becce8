"""Reading VidNavigator's responses."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest

from exporter.errors import ClientError, InvalidResponseError
from exporter.providers.base import ParseOptions, VendorResponse
from exporter.providers.vidnavigator import fetch_usage, parse_usage
from exporter.readings import Period, Pool, Quota, ServiceUse, Subscription, Usage
from tests.providers.responses import NO_SUBSCRIPTION, VOYAGER, voyager


def read(document: Any, **options: Any) -> Usage:
    return parse_usage(document, ParseOptions(**options))


def test_the_documented_response_gives_every_figure() -> None:
    usage = read(json.loads(VOYAGER))
    assert usage.balance == 112.5
    assert (usage.monthly_limit, usage.monthly_remaining, usage.monthly_used, usage.purchased) == (
        80,
        62.5,
        17.5,
        50,
    )
    assert usage.channels == Quota(5, 15, 10, 0.333)
    assert usage.storage == Quota(2684354560, 536870912000, 534186557440, 0.005)
    assert usage.subscription == Subscription("pro", "Voyager", "month", "active", True, False)
    assert usage.usage_period == Period(1772323200, 1775001600)
    assert usage.billing_period == Period(1773532800, 1776211200)
    assert usage.generated_at == 1774692000
    assert ServiceUse("video_uploads", "hours", 2.5) in usage.services
    assert ServiceUse("video_transcripts", "requests", 150) in usage.services
    assert usage.pools == {"monthly": Pool(62.5, 80, 1773532800), "purchased": Pool(50)}
    assert usage.rejected == ()


def test_spending_by_service_divides_use_by_what_a_credit_buys() -> None:
    usage = read(json.loads(VOYAGER))
    assert usage.used_by_operation == {
        "video_transcripts": 0.015,
        "youtube_transcripts": 0.225,
        "video_searches": 3.0,
        "video_analyses": 0.12,
        "video_scene_analyses": 3.0,
        "video_uploads": 2.5,
    }


def test_configured_rates_replace_the_published_ones_and_services_without_a_rate_have_no_cost() -> None:
    services = {"search_request": {"used": 40}, "dubbing_minute": {"used": 7}}
    usage = read(voyager(usage=services), credit_rates={"search_request": 20})
    assert usage.used_by_operation == {"search_request": 2.0}
    assert [use.operation for use in usage.services] == ["dubbing_minute", "search_request"]


@pytest.mark.parametrize("spelling", ["error", "error_code"])
def test_no_subscription_is_a_response_and_not_a_failure(spelling: str) -> None:
    document = {
        "status": "error",
        spelling: "no_subscription",
        "message": "You are not subscribed to any plan.",
    }
    usage = fetch_usage(lambda path, params=None, accept=(), **more: VendorResponse(404, document), ParseOptions())
    assert usage == Usage(subscribed=False)
    assert read(json.loads(NO_SUBSCRIPTION)) == usage


def test_any_other_404_is_a_client_error_with_the_vendors_message() -> None:
    document = {"status": "error", "error": "not_found", "message": "No such route."}
    with pytest.raises(ClientError, match=r"HTTP 404: No such route\."):
        fetch_usage(lambda path, params=None, accept=(), **more: VendorResponse(404, document), ParseOptions())


def test_unlimited_is_infinite_and_its_ratio_is_0() -> None:
    usage = read(
        voyager(
            credits={"monthly_total": "unlimited", "monthly_remaining": "unlimited", "purchased": 0},
            storage={"used_bytes": 5, "limit_bytes": "unlimited", "remaining_bytes": "unlimited"},
            channels_indexed={"used": 3, "limit": "unlimited", "remaining": "unlimited"},
        )
    )
    assert (usage.balance, usage.monthly_limit, usage.monthly_used) == (inf, inf, None)
    assert usage.storage == Quota(5, inf, inf, 0.0)
    assert usage.channels == Quota(3, inf, inf, 0.0)


@pytest.mark.parametrize(
    ("block", "ratio"),
    [
        ({"used": 5, "limit": 20}, 0.25),
        ({"used": 5, "limit": 0}, None),
        ({"limit": 20}, None),
        ({"used": 5, "limit": 20, "percentage": 12.3456789}, 0.123457),
        ({"used": 5, "limit": 20, "percentage": None}, 0.25),
        ({"used": 5, "limit": 20, "percentage": "much"}, None),
        ({"used": 5, "limit": "unlimited", "percentage": "unlimited"}, None),
    ],
)
def test_the_ratio_is_the_percentage_else_used_by_limit(block: dict[str, object], ratio: float | None) -> None:
    channels = read(voyager(channels_indexed=block)).channels
    assert channels is not None
    assert channels.ratio == ratio


@pytest.mark.parametrize(
    ("credits", "balance"),
    [
        ({"monthly_remaining": 62.5}, 62.5),
        ({"monthly_remaining": 0.1, "purchased": 0.2}, 0.3),
        ({"monthly_remaining": "62.5", "purchased": "1e1"}, 72.5),
        ({"purchased": 50}, None),
        ({"monthly_remaining": 62.5, "purchased": "many"}, None),
        ({"monthly_remaining": [], "purchased": 50}, None),
        ({"monthly_remaining": -3, "purchased": 50}, 47),
    ],
)
def test_the_balance_is_the_sum_of_both_pools(credits: dict[str, object], balance: float | None) -> None:
    assert read(voyager(credits=credits)).balance == balance


def test_a_missing_block_leaves_only_its_own_figures_out() -> None:
    whole = json.loads(VOYAGER)["data"]
    for block in whole:
        usage = read(voyager(**{block: None}))
        assert usage.rejected == ()
        assert (usage.balance is None) == (block == "credits")
        assert (usage.storage is None) == (block == "storage")


@pytest.mark.parametrize(
    "bad", [True, "text", {}, [], "0x10", "1_000", " 5", "1e400", float("nan"), float("inf"), 10**400]
)
def test_a_value_that_is_not_a_number_is_rejected_with_its_path_and_the_rest_is_used(bad: object) -> None:
    usage = read(voyager(storage={"used_bytes": bad, "limit_bytes": 100, "remaining_bytes": 60}))
    assert usage.rejected == ("data.storage.used_bytes",)
    assert usage.storage == Quota(None, 100, 60, None)
    assert usage.balance == 112.5


@pytest.mark.parametrize("block", ["credits", "storage", "subscription", "usage", "billing_period"])
@pytest.mark.parametrize("bad", [[], "text", 5, False])
def test_a_block_of_the_wrong_type_is_rejected_as_a_whole(block: str, bad: object) -> None:
    assert f"data.{block}" in read(voyager(**{block: bad})).rejected


def test_the_subscriptions_interval_falls_back_to_the_billing_periods() -> None:
    plan = read(voyager(subscription={"plan_name": "Voyager", "status": "past_due"})).subscription
    assert plan == Subscription("", "Voyager", "month", "past_due", False, None)


@pytest.mark.parametrize(
    ("status", "active"), [("active", True), ("trialing", True), ("canceled", False), (None, None)]
)
def test_a_subscription_is_active_while_active_or_on_trial(status: str | None, active: bool | None) -> None:
    plan = read(voyager(subscription={"status": status})).subscription
    assert plan is not None
    assert plan.active is active


def test_more_services_than_allowed_are_summed_by_unit_the_smallest_first() -> None:
    services = {f"s{i}": {"used": i, "unit": "hours" if i % 2 else None} for i in range(1, 8)}
    usage = read(voyager(usage=services), max_operations=3)
    assert usage.services == (
        ServiceUse("(other)", "hours", 1 + 3),
        ServiceUse("(other)", "requests", 2 + 4),
        ServiceUse("s5", "hours", 5),
        ServiceUse("s6", "requests", 6),
        ServiceUse("s7", "hours", 7),
    )
    assert usage.folded_operations == 4


def test_names_that_coincide_once_cut_are_summed() -> None:
    services = {"x" * 256 + tail: {"used": 2} for tail in "abc"}
    usage = read(voyager(usage=services))
    assert usage.services == (ServiceUse("x" * 256, "requests", 6),)
    assert usage.folded_operations == 2


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        None,
        {},
        {"status": "success"},
        {"status": "success", "data": []},
        {"status": "error", "data": {}},
        {"status": "processing", "data": {}},
        {"data": {}},
    ],
)
def test_a_wrong_envelope_fails_the_poll(document: object) -> None:
    with pytest.raises(InvalidResponseError):
        read(document)
