"""The order of the queue of logins, and the longest time that a login can wait in it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.fair_queue import FairQueue, network

HOME = "10.0.0.1"
ADDRESSES = [HOME, "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8:0:1::1"]


def filled(*entries: tuple[str, str]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for address, items in entries:
        for item in items:
            queue.put(address, item)
    return queue


def drained(queue: FairQueue[str]) -> str:
    return "".join(iter(queue.get, None))


def test_the_newest_and_the_oldest_item_are_served_in_turn() -> None:
    assert drained(filled((HOME, "abcdefgh"))) == "hagbfced"


def test_every_fourth_turn_serves_the_next_address() -> None:
    queue = filled((HOME, "abcdef"), ("10.0.0.2", "lmn"), ("10.0.0.3", "opqrstuvwxyz"))
    assert [queue.get() for _ in range(8)] == ["z", "a", "y", "b", "x", "c", "w", "l"]


def test_the_other_turns_serve_the_newest_item_of_all_addresses() -> None:
    queue = filled((HOME, "abc"), ("10.0.0.2", "lmn"))
    queue.put(HOME, "z")
    assert [queue.get() for _ in range(3)][::2] == ["z", "n"]


def test_an_address_that_is_served_within_a_turn_does_not_delay_a_new_address() -> None:
    queue = filled((HOME, "abcdef"))
    queue.get()
    queue.put("10.0.0.2", "right")
    assert queue.get() == "a"
    queue.put(HOME, "new")
    assert queue.get() == "right"


def test_if_all_addresses_are_new_the_newest_item_is_served() -> None:
    assert filled((HOME, "abc")).get() == "c"


def test_a_removed_item_is_not_served_and_a_missing_item_can_be_removed() -> None:
    queue = filled((HOME, "abc"))
    queue.remove("b")
    queue.remove("b")
    assert sorted(drained(queue)) == ["a", "c"]
    queue.remove("a")
    assert queue.get() is None


steps = st.lists(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(["put", "put", "remove", "get"])), max_size=200)


@given(before=steps, meanwhile=steps, place=st.integers(0))
def test_each_item_is_served_within_a_bounded_number_of_turns(
    before: list[tuple[str, str]], meanwhile: list[tuple[str, str]], place: int
) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting: dict[int, str] = {}
    turns = 0

    def act(item: int, address: str, what: str) -> None:
        nonlocal turns
        if what == "put":
            queue.put(address, item)
            waiting[item] = address
        elif what == "remove":
            mine = [each for each, owner in waiting.items() if owner == address and each != right]
            if mine:
                queue.remove(leaving := mine[place % len(mine)])
                del waiting[leaving]
        else:
            turns += 1
            served = queue.get()
            assert (served is None) is (not waiting)
            waiting.pop(-1 if served is None else served, None)

    right = len(before)
    for number, (address, what) in enumerate(before):
        act(number, address, what)
    act(right, HOME, "put")
    turns, most = 0, len(set(waiting.values()))
    own = sum(owner == HOME for owner in waiting.values())
    all_at_first = len(waiting)
    later = enumerate(meanwhile, right + 1)
    while right in waiting:
        # The attackers act until they have nothing left to do, and then others take their turns.
        number, (address, what) = next(later, (0, (HOME, "get")))
        act(number, address, what)
        most = max(most, len(set(waiting.values())))
        assert turns <= 4 * min(all_at_first, most * own)


@pytest.mark.parametrize(
    "attack", ["own address", "another address", "other addresses", "new addresses", "all of them"]
)
def test_forty_constant_attackers_delay_a_login_by_a_bounded_number_of_turns(attack: str) -> None:
    rng = random.Random(attack)
    queue: FairQueue[tuple[int, str]] = FairQueue()

    def guess(number: int) -> str:
        own, other, new = HOME, f"10.0.1.{number}", network(f"2001:db8:{rng.randrange(65536):x}::1")
        every = {"own address": own, "another address": "10.0.2.1", "other addresses": other, "new addresses": new}
        address = every.get(attack) or rng.choice([own, other, new])
        queue.put(address, (number, address))
        return address

    at = {number: guess(number) for number in range(40)}
    for _ in range(100):
        queue.put(HOME, (-1, HOME))
        own, all_at_first = 1 + sum(address == HOME for address in at.values()), 41
        most, turns, served = 0, 0, None
        while served != (-1, HOME):
            most = max(most, len({*at.values(), HOME}))
            turns += 1
            served = queue.get()
            assert served is not None
            # One has its response and guesses again, and another one hangs up and comes back.
            for again in {served[0], rng.randrange(40)} - {-1}:
                queue.remove((again, at[again]))
                at[again] = guess(again)
            assert turns <= 4 * min(all_at_first, most * own)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_identified_by_its_ipv4_address_or_its_ipv6_network(address: str, expected: str) -> None:
    assert network(address) == expected
