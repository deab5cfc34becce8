"""The ledger's rules, one by one, in the words of the metric contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.polling.ledger import advance, is_lagging
from exporter.readings import Ledger, Pool, Usage

INF = float("inf")
WARNING = 20.0
MARCH, APRIL, MAY = 1_772_323_200.0, 1_775_001_600.0, 1_777_593_600.0


def booked(*readings: Mapping[str, Pool] | Pool) -> tuple[str, str, str]:
    """Return spent, added and lapsed after these readings, a lone pool being the monthly one."""
    ledger = None
    for pools in readings:
        ledger = advance(ledger, reading({"monthly": pools} if isinstance(pools, Pool) else pools), APRIL, WARNING)
    assert ledger is not None
    return written(ledger.spent), written(ledger.added), written(ledger.lapsed)


def reading(pools: Mapping[str, Pool]) -> Usage:
    """Return a reading whose whole balance is known where each pool that it has is."""
    balances = [pool.balance for pool in pools.values() if pool.balance is not None]
    return Usage(balance=sum(balances) if balances and len(balances) == len(pools) else None, pools=pools)


def written(credits: Decimal) -> str:
    return f"{credits.normalize():f}"


def test_no_ledger_while_no_pool_has_a_balance() -> None:
    assert advance(None, Usage(), APRIL, WARNING) is None
    assert advance(None, Usage(pools={"monthly": Pool(None, 80.0, MARCH)}), APRIL, WARNING) is None


def test_the_first_reading_starts_all_totals_at_zero() -> None:
    assert booked(Pool(62.5, 80.0, MARCH)) == ("0", "0", "0")


def test_a_fall_is_spent_and_a_rise_is_added() -> None:
    assert booked(Pool(50.0), Pool(45.5), Pool(95.5), Pool(95.0)) == ("5", "50", "0")


def in_unit(unit: str, balance: float) -> Usage:
    return replace(reading({"monthly": Pool(balance)}), unit=unit)


def totals(*readings: Usage) -> tuple[str, str, str]:
    ledger = None
    for usage in readings:
        ledger = advance(ledger, usage, APRIL, WARNING)
    assert ledger is not None
    return written(ledger.spent), written(ledger.added), written(ledger.lapsed)


def test_amounts_of_two_units_are_not_compared_and_the_totals_go_on() -> None:
    first = in_unit("characters", 9000), in_unit("characters", 8000)
    assert totals(*first, in_unit("USD", 12.5)) == ("1000", "0", "0")
    assert totals(*first, in_unit("USD", 12.5), in_unit("USD", 10)) == ("1002.5", "0", "0")
    assert totals(*first, in_unit("USD", 12.5), in_unit("characters", 7000)) == ("1000", "0", "0")


def test_a_nought_in_one_unit_confirms_none_in_another() -> None:
    doubted = in_unit("characters", 9000), in_unit("characters", 0)
    assert totals(*doubted, in_unit("USD", 0), in_unit("USD", 0)) == ("0", "0", "0")
    assert totals(*doubted, in_unit("USD", 30), in_unit("USD", 29)) == ("1", "0", "0")


def test_pools_are_compared_one_by_one() -> None:
    before = {"monthly": Pool(10.0, 80.0, MARCH), "purchased": Pool(0.0)}
    after = {"monthly": Pool(4.0, 80.0, MARCH), "purchased": Pool(50.0)}
    assert booked(before, after) == ("6", "50", "0")


def test_amounts_are_added_as_decimals_without_rounding_errors() -> None:
    readings = [Pool(round(1 - step / 10, 1)) for step in range(11)]
    assert booked(*readings) == ("1", "0", "0")
    assert booked(Pool(0.3), Pool(0.1)) == ("0.2", "0", "0")


def test_huge_and_tiny_amounts_are_added_exactly() -> None:
    ledger = None
    for balance in (1e300, 0.0, 5e-324, 0.0):
        ledger = advance(ledger, Usage(pools={"balance": Pool(balance)}), APRIL, WARNING)
    assert ledger is not None
    assert ledger.spent.compare(Decimal("1e300")) == 1
    assert ledger.spent.as_tuple().exponent == -324
    assert ledger.added == Decimal("5e-324")


def test_a_new_period_lapses_the_rest_adds_the_limit_and_spends_what_is_gone() -> None:
    assert booked(Pool(12.5, 80.0, MARCH), Pool(77.0, 80.0, APRIL)) == ("3", "80", "12.5")


def test_several_periods_passed_unseen_count_as_one_new_period() -> None:
    assert booked(Pool(12.5, 80.0, MARCH), Pool(77.0, 80.0, MAY)) == ("3", "80", "12.5")


def test_a_new_period_with_a_new_limit_is_booked_only_as_a_new_period() -> None:
    assert booked(Pool(12.5, 80.0, MARCH), Pool(14.0, 15.0, APRIL)) == ("1", "15", "12.5")


@pytest.mark.parametrize("limit", [None, 70.0, INF, -5.0], ids=["unknown", "below", "unlimited", "negative"])
def test_a_new_period_without_a_believable_limit_adds_what_remains(limit: float | None) -> None:
    assert booked(Pool(12.5, 80.0, MARCH), Pool(77.0, limit, APRIL)) == ("0", "77", "12.5")


def test_a_negative_pool_is_made_good_by_a_new_period() -> None:
    assert booked(Pool(-5.0, 80.0, MARCH), Pool(77.0, 80.0, APRIL)) == ("3", "85", "0")


def test_a_pool_that_a_new_period_leaves_negative_was_spent() -> None:
    assert booked(Pool(5.0, None, MARCH), Pool(-2.0, None, APRIL)) == ("2", "0", "5")
    assert booked(Pool(5.0, 80.0, MARCH), Pool(-2.0, 80.0, APRIL)) == ("82", "80", "5")
    assert booked(Pool(5.0, None, MARCH), Pool(-2.0, -1.0, APRIL)) == ("2", "0", "5")


def test_a_negative_pool_that_rises_inside_a_period_is_added() -> None:
    assert booked(Pool(-5.0), Pool(10.0)) == ("0", "15", "0")


@pytest.mark.parametrize(("before", "after"), [(None, APRIL), (MARCH, None), (None, None)])
def test_a_missing_period_start_is_no_difference(before: float | None, after: float | None) -> None:
    assert booked(Pool(12.5, 80.0, before), Pool(77.0, 80.0, after)) == ("0", "64.5", "0")


def test_a_raised_limit_is_added_and_what_it_does_not_explain_is_spent() -> None:
    assert booked(Pool(10.0, 15.0, MARCH), Pool(73.0, 80.0, MARCH)) == ("2", "65", "0")


def test_a_raised_limit_and_a_top_up_are_both_added() -> None:
    assert booked(Pool(10.0, 15.0, MARCH), Pool(100.0, 80.0, MARCH)) == ("0", "90", "0")


def test_a_lowered_limit_lapses_what_it_takes_away() -> None:
    assert booked(Pool(70.0, 80.0, MARCH), Pool(4.0, 15.0, MARCH)) == ("1", "0", "65")


def test_a_lowered_limit_takes_a_pool_to_zero_at_most() -> None:
    assert booked(Pool(20.0, 80.0, MARCH), Pool(5.0, 15.0, MARCH)) == ("0", "5", "20")


def test_a_lowered_limit_takes_nothing_from_a_negative_pool() -> None:
    assert booked(Pool(-3.0, 80.0, MARCH), Pool(-4.0, 15.0, MARCH)) == ("1", "0", "0")


@pytest.mark.parametrize(("before", "after"), [(None, 80.0), (80.0, None), (INF, 80.0), (80.0, INF)])
def test_a_limit_unknown_on_either_side_books_nothing(before: float | None, after: float | None) -> None:
    assert booked(Pool(20.0, before, MARCH), Pool(15.0, after, MARCH)) == ("5", "0", "0")


def test_a_pool_unlimited_on_either_side_books_nothing() -> None:
    limited, unlimited = Pool(60.0, 80.0, MARCH), Pool(INF, INF, MARCH)
    assert booked(limited, unlimited, Pool(15.0, 15.0, MARCH)) == ("0", "0", "0")
    assert booked(limited, Pool(INF, INF, APRIL), Pool(15.0, 15.0, MAY)) == ("0", "0", "0")
    assert booked(unlimited, limited, Pool(59.0, 80.0, MARCH)) == ("1", "0", "0")


def test_a_missing_pool_is_compared_when_it_is_there_again() -> None:
    there = {"monthly": Pool(60.0, 80.0, MARCH), "purchased": Pool(5.0)}
    null = {"monthly": Pool(None, 80.0, APRIL), "purchased": Pool(4.0)}
    again = {"monthly": Pool(78.0, 80.0, APRIL)}
    assert booked(there, null, {}, again) == ("3", "80", "60")


def test_a_limit_that_changed_while_the_pool_was_missing_is_seen_when_it_is_back() -> None:
    assert booked(Pool(10.0, 15.0, MARCH), Pool(None, 80.0, MARCH), Pool(73.0, 80.0, MARCH)) == (
        "2",
        "65",
        "0",
    )


def test_a_pool_first_seen_later_starts_there() -> None:
    assert booked({"monthly": Pool(60.0)}, {"monthly": Pool(60.0), "purchased": Pool(50.0)}) == (
        "0",
        "0",
        "0",
    )


def test_a_response_made_before_the_last_one_is_lagging() -> None:
    ledger = advance(
        None, Usage(generated_at=1000.0, pools={"balance": Pool(1.0)}), received_at=1001.0, warning=WARNING
    )
    assert is_lagging(ledger, Usage(generated_at=999.9))
    assert not is_lagging(ledger, Usage(generated_at=1000.0))
    assert not is_lagging(ledger, Usage())
    assert not is_lagging(None, Usage(generated_at=999.9))


def test_a_response_without_a_time_keeps_the_last_known_one() -> None:
    ledger = advance(
        None, Usage(generated_at=1000.0, pools={"balance": Pool(1.0)}), received_at=1001.0, warning=WARNING
    )
    ledger = advance(ledger, Usage(pools={"balance": Pool(1.0)}), received_at=1100.0, warning=WARNING)
    assert is_lagging(ledger, Usage(generated_at=999.0))


def test_a_response_from_the_future_does_not_lock_out_the_next() -> None:
    ledger = advance(None, Usage(generated_at=9e9, pools={"balance": Pool(1.0)}), received_at=1000.0, warning=WARNING)
    assert not is_lagging(ledger, Usage(generated_at=1001.0))
    assert is_lagging(ledger, Usage(generated_at=999.0))


def test_a_clock_of_ours_that_went_back_does_not_make_the_last_response_older() -> None:
    ledger = advance(
        None, Usage(generated_at=5000.0, pools={"balance": Pool(1.0)}), received_at=5001.0, warning=WARNING
    )
    ledger = advance(
        ledger, Usage(generated_at=5300.0, pools={"balance": Pool(1.0)}), received_at=1700.0, warning=WARNING
    )
    assert is_lagging(ledger, Usage(generated_at=4999.0))


def test_the_ledger_it_started_from_is_left_as_it_was() -> None:
    first = advance(None, Usage(pools={"balance": Pool(5.0)}), APRIL, WARNING)
    second = advance(first, Usage(pools={"balance": Pool(4.0)}), APRIL, WARNING)
    assert first == Ledger(began=APRIL, pools={"balance": Pool(5.0)})
    assert second is not None
    assert second.spent == 1


def test_a_whole_balance_of_zero_is_booked_once_when_the_next_reading_confirms_it() -> None:
    assert booked(Pool(5000.0), Pool(0.0)) == ("0", "0", "0")
    assert booked(Pool(5000.0), Pool(0.0), Pool(0.0)) == ("5000", "0", "0")
    assert booked(Pool(5000.0), Pool(0.0), Pool(0.0), Pool(0.0), Pool(3000.0)) == ("5000", "3000", "0")


@pytest.mark.parametrize(
    ("after", "totals"),
    [(5000.0, ("0", "0", "0")), (3000.0, ("2000", "0", "0")), (6000.0, ("0", "1000", "0")), (-5.0, ("5005", "0", "0"))],
)
def test_a_zero_that_the_next_reading_corrects_is_ignored(after: float, totals: tuple[str, str, str]) -> None:
    assert booked(Pool(5000.0), Pool(0.0), Pool(after)) == totals


def test_a_zero_is_booked_at_once_from_the_warning_threshold_down() -> None:
    assert booked(Pool(20.0), Pool(0.0)) == ("20", "0", "0")
    assert booked(Pool(20.5), Pool(0.0)) == ("0", "0", "0")


def test_a_pool_that_runs_out_beside_another_is_booked_at_once() -> None:
    before = {"monthly": Pool(5000.0), "purchased": Pool(1.0)}
    assert booked(before, {"monthly": Pool(0.0), "purchased": Pool(1.0)}) == ("5000", "0", "0")


def test_a_zero_that_only_the_whole_balance_shows_waits_too() -> None:
    there = {"monthly": Pool(15.0), "purchased": Pool(10.0)}
    assert booked(there, {"monthly": Pool(0.0)}, there) == ("0", "0", "0")
    zero = {"monthly": Pool(0.0), "purchased": Pool(0.0)}
    assert booked(there, zero, there) == ("0", "0", "0")
    assert booked(there, zero, zero) == ("25", "0", "0")


def test_a_period_that_begins_after_a_zero_is_compared_with_the_latest_confirmed_reading() -> None:
    full, empty, renewed = Pool(50.0, 80.0, MARCH), Pool(0.0, 80.0, MARCH), Pool(80.0, 80.0, APRIL)
    assert booked(full, empty, renewed) == ("0", "80", "50")
    assert booked(full, empty, empty, renewed) == ("50", "80", "0")
    assert booked(full, empty, Pool(0.0, 80.0, APRIL)) == ("130", "80", "0")


def test_a_response_without_the_whole_balance_neither_confirms_nor_corrects_a_zero() -> None:
    for nothing in ({}, {"monthly": Pool(None)}, {"monthly": Pool(None), "purchased": Pool(0.0)}):
        assert booked(Pool(5000.0), Pool(0.0), nothing) == ("0", "0", "0")
        assert booked(Pool(5000.0), Pool(0.0), nothing, Pool(0.0)) == ("5000", "0", "0")
        assert booked(Pool(5000.0), Pool(0.0), nothing, Pool(3000.0)) == ("2000", "0", "0")


def test_a_zero_between_unlimited_readings_moves_no_other_pool() -> None:
    unlimited = {"monthly": Pool(INF, INF), "purchased": Pool(100.0)}
    assert booked(unlimited, {"monthly": Pool(0.0), "purchased": Pool(0.0)}, unlimited) == ("0", "0", "0")


def test_a_response_that_reads_zero_makes_older_ones_lag() -> None:
    ledger = advance(None, Usage(balance=50.0, generated_at=1000.0, pools={"balance": Pool(50.0)}), 2000.0, WARNING)
    ledger = advance(ledger, Usage(balance=0.0, generated_at=1300.0, pools={"balance": Pool(0.0)}), 2000.0, WARNING)
    assert is_lagging(ledger, Usage(generated_at=1299.0))
