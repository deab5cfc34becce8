from __future__ import annotations

from decimal import Decimal
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import Series
from exporter.state.base import DAY, HOUR
from exporter.status.movements import by_operation, finest, movements, totals


def series(spent: list[float | None], **columns: Any) -> Series:
    """Return a reading for each hour, of these totals."""
    count = len(spent)
    plain: dict[str, Any] = {name: [None] * count for name in ("balance", "began", "storage", "channels", "period")}
    amounts: dict[str, Any] = {name: [Decimal(0)] * count for name in ("added", "lapsed")}
    given_ = {**plain, **amounts, "at": [hour * HOUR for hour in range(count)], "unit": ["credits"] * count, **columns}
    return Series(spent=[None if each is None else Decimal(str(each)) for each in spent], **given_)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.integers(0, 30))
def test_all_movements_together_are_the_difference_of_the_totals(steps: list[float], first: int) -> None:
    totals_ = [round(total, 2) for total in accumulate(steps)]
    hours = series(list(totals_))
    changes = movements(finest(hours, Series()), DAY)
    assert totals(changes, -1.0)[0] == pytest.approx(totals_[-1] - totals_[0], abs=1e-6)
    assert [change.start for change in changes] == sorted({change.start for change in changes})


def test_days_before_the_first_hour_are_followed_by_the_hours() -> None:
    days = series([0, 10, 20], at=[0, DAY, 2 * DAY])
    hours = series([15, 18, 20], at=[DAY + 12 * HOUR, 2 * DAY - HOUR, 2 * DAY])
    assert finest(hours, days).spent == [0, 10, 15, 18, 20]
    assert [change.spent for change in movements(finest(hours, days), DAY)] == [18, 2]


def test_only_a_share_counts_of_the_movement_in_which_a_span_begins() -> None:
    changes = movements(series([0, 60, 120]), HOUR)
    assert totals(changes, 0.5 * HOUR)[0] == 90


def test_a_ledger_that_began_anew_counts_from_0() -> None:
    assert [change.spent for change in movements(series([50, 7, 9]), HOUR)] == [7, 2]
    again = series([5, 7, 9], began=[0.0, 3600.0, 3600.0])
    assert [change.spent for change in movements(again, HOUR)] == [7, 2]


def test_an_unknown_change_is_not_a_movement() -> None:
    assert [change.spent for change in movements(series([None, 7, None, 9]), HOUR)] == [0, 0, 0]


def test_amounts_of_an_earlier_unit_are_left_out() -> None:
    changed = series([5, 8, 20, 21], unit=["credits", "credits", "USD", "USD"])
    assert [change.spent for change in movements(changed, HOUR)] == [1]


def test_use_by_operation_begins_again_with_each_period() -> None:
    life = series([0, 0, 0, 0], period=[1.0, 1.0, 2.0, 2.0], used={"a": [5, 9, 12, 13], "b": [None, None, 1, 0]})
    changes = movements(life, HOUR)
    assert [change.reset for change in changes] == [False, True, False]
    assert [change.used for change in changes] == [{"a": 4}, {"a": 12, "b": 1}, {"a": 1}]
    assert by_operation(changes) == {"a": 17, "b": 1}
