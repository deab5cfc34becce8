"""The times at which an account's polls are due."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.polling.slots import Slots, poll_order
from tests.conftest import FakeClock, MakeAccount


@given(st.text(max_size=20), st.floats(10, 86_400), st.floats(0, 1e6))
def test_the_next_slot_is_after_now_and_at_most_an_interval_away(name: str, interval: float, now: float) -> None:
    slots = Slots(FakeClock())
    due = slots.after(("vidnavigator", name), interval, now)
    assert 0 <= due - now <= interval * (1 + 1e-9)


def test_the_phase_outlives_a_restart() -> None:
    clock = FakeClock()
    first = Slots(clock).after(("videodb", "a"), 300, clock.monotonic()) - clock.monotonic() + clock.wall()
    clock.advance(77)
    clock.monotonic_time = 5.0
    again = Slots(clock).after(("videodb", "a"), 300, 5.0) - 5.0 + clock.wall()
    assert (again - first) % 300 == pytest.approx(0, abs=1e-3) or (again - first) % 300 == pytest.approx(300)


def test_phases_are_spread_over_the_interval() -> None:
    slots = Slots(FakeClock())
    tenths = Counter(int((slots.after(("videodb", str(n)), 100, 0.0)) // 10) for n in range(5000))
    assert all(count == pytest.approx(500, rel=0.25) for count in tenths.values())


def test_the_order_of_polls_is_the_order_of_the_slots(make_account: MakeAccount) -> None:
    slots = Slots(FakeClock())
    accounts = [make_account(name=str(number), interval=300.0) for number in range(50)]
    dues = [slots.after(account.id, 300.0, 0.0) for account in sorted(accounts, key=poll_order)]
    first = dues.index(min(dues))  # the order begins with the interval, and the clock stands anywhere in it
    assert dues[first:] + dues[:first] == sorted(dues)
