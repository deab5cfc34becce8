"""The spent credits by operation."""

from __future__ import annotations

from decimal import Decimal
from math import inf

import pytest

from tests.report.conftest import CLIPS, MEDIA, SEARCH, Reporter
from tests.report.lives import DAY, OCTOBER, World

Reading = tuple[float, dict[str, float]]


@pytest.mark.parametrize(
    ("readings", "spent"),
    [
        pytest.param(
            [(100.0, {"search": 1.5, "scene": 2}), (90.0, {"search": 7.5, "scene": 5})],
            {"search": Decimal("6"), "scene": 3, "(not split)": 1},
            id="growth",
        ),
        pytest.param(
            [(100.0, {"search": 50}), (90.0, {"search": 60}), (82.0, {"search": 5, "scene": 2})],
            {"search": 15, "scene": 2, "(not split)": 1},
            id="a count that falls began anew",
        ),
        pytest.param(
            [(100.0, {"search": 50}), (98.0, {}), (90.0, {"search": 8})],
            {"search": 8, "(not split)": 2},
            id="none right after the begin of a period",
        ),
        pytest.param(
            [(100.0, {"search": 500, "scene": 10}), (90.0, {"search": 400, "scene": 14})],
            {"scene": 4, "(not split)": 6},
            id="a correction",
        ),
        pytest.param(
            [(100.0, {"search": 50}), (90.0, {"search": 53, "scene": 4})],
            {"search": 3, "scene": 4, "(not split)": 3},
            id="a new operation",
        ),
        pytest.param(
            [(100.0, {"search": 1, "(other)": 9}), (80.0, {"search": 2, "clip": 5, "(other)": 6})],
            {"search": 1, "clip": 5, "(not split)": 14},
            id="an operation that grew out of the others",
        ),
        pytest.param(
            [(100.0, {}), (90.0, {"search": 500})], {"(not split)": 10}, id="counts that began nobody knows when"
        ),
        pytest.param([(100.0, {}), (90.0, {})], {"(not split)": 10}, id="no counts"),
        pytest.param([(10.0, {"search": 0.1}), (9.8, {"search": 0.3})], {"search": Decimal("0.2")}, id="without dust"),
    ],
)
def test_operations_add_up_to_what_was_spent(
    readings: list[Reading], spent: dict[str, object], accounts: World, reporter: Reporter
) -> None:
    for day, (balance, used) in enumerate(readings, -1):
        accounts.poll(MEDIA, OCTOBER + day * DAY, balance, used=used)
    rows = reporter.rows("operation", month="2026-10")
    assert {row["name"]: row["spent"] for row in rows} == spent


def test_the_use_of_an_unlimited_account_is_left_out_with_a_note(accounts: World, reporter: Reporter) -> None:
    for day in range(4):
        accounts.poll(
            MEDIA, OCTOBER + day * DAY, 100.0 - day if day > 1 else inf, used={"search": 500.0 * min(day, 2) + day}
        )
        accounts.poll(CLIPS, OCTOBER + day * DAY, 100.0 - day, used={"clip": 1.0 * day})
    rows = {row["name"]: row["spent"] for row in reporter.rows("operation", month="2026-10")}
    assert rows == {"clip": 3, "search": 1}, "only the day on which it had a limit is split"
    for day in range(4):
        accounts.poll(SEARCH, OCTOBER + day * DAY, inf, used={"search": 500.0 * day})
    rows = {
        row["name"]: row["spent"] for row in reporter.rows("operation", month="2026-10") if row["currency"] == "EUR"
    }
    assert rows == {}
    assert "2 accounts were unlimited, and nothing is booked as spent then" in reporter.err
    reporter.rows("account", month="2026-10")
    assert "unlimited" not in reporter.err


def test_what_was_added_and_lapsed_belongs_to_no_operation(accounts: World, reporter: Reporter) -> None:
    accounts.poll(CLIPS, OCTOBER - DAY, 10.0, used={"search": 1}, period=0)
    accounts.poll(CLIPS, OCTOBER, 50.0, used={"search": 1}, period=1)
    accounts.poll(CLIPS, OCTOBER + DAY, 45.0, used={"search": 6}, period=1)
    found = [
        (row["name"], row["spent"], row["added"], row["lapsed"]) for row in reporter.rows("operation", month="2026-10")
    ]
    assert found == [("search", 5, None, None), ("(not split)", 0, 50, 10)]


def test_counts_that_run_ahead_of_the_balance_leave_a_negative_rest_with_a_note(
    accounts: World, reporter: Reporter
) -> None:
    for day, (balance, used) in enumerate([(100.0, 10.0), (95.0, 16.0)], -1):
        accounts.poll(CLIPS, OCTOBER + day * DAY, balance, used={"search": used})
    rows = {row["name"]: row["spent"] for row in reporter.rows("operation", month="2026-10")}
    assert rows == {"search": 6, "(not split)": -1}
    assert "The operations are more than what was spent" in reporter.err
