"""Who is next in the queue of passwords, and who has to leave it."""

from __future__ import annotations

import pytest

from exporter.web.fair_queue import FairQueue, network


def filled(size: int, *entries: tuple[str, str, str]) -> tuple[FairQueue[str], list[str | None]]:
    queue: FairQueue[str] = FairQueue(size)
    return queue, [queue.put(*entry) for entry in entries]


def drained(queue: FairQueue[str]) -> str:
    items = iter(queue.get, None)
    return "".join(items)


def test_seven_of_eight_turns_are_the_newest_items() -> None:
    queue, _ = filled(99, *[("10.0.0.1", "alice", item) for item in "abcdefghijkl"])
    assert (drained(queue), len(queue)) == ("lkjihgfaedcb", 0)


@pytest.mark.parametrize(
    ("address", "user"), [("10.0.0.1", "mallory"), ("10.0.0.1", "alice"), ("10.0.0.2", "mallory"), ("10.0.0.2", "bob")]
)
def test_a_newcomer_is_served_within_two_turns_whoever_waits(address: str, user: str) -> None:
    queue, _ = filled(99, *[(address, user, "guess") for _ in range(40)], ("10.0.0.1", "alice", "right"))
    assert "right" in [queue.get() for _ in range(2)]


def test_a_newcomer_is_served_within_two_turns_among_many_names_and_addresses() -> None:
    queue, _ = filled(99, *[("10.0.0.1", f"name{number}", "guess") for number in range(40)])
    queue.put("10.0.0.1", "alice", "right")
    assert "right" in [queue.get() for _ in range(2)]
    queue, _ = filled(99, *[(f"10.0.0.{number}", "alice", "guess") for number in range(40)])
    queue.put("10.0.1.1", "alice", "right")
    assert "right" in [queue.get() for _ in range(2)]


@pytest.mark.parametrize("guesser", [("10.0.0.1", "mallory"), ("10.0.0.2", "alice")])
def test_who_floods_the_queue_does_not_delay_the_rest(guesser: tuple[str, str]) -> None:
    queue, _ = filled(99, *[(*guesser, "guess") for _ in range(8)], *[("10.0.0.1", "alice", item) for item in "ab"])
    served = []
    for _ in range(3):
        served.append(queue.get())
        for _ in range(5):
            queue.put(*guesser, "guess")
    assert {"a", "b"} < {*served, queue.get()}


def test_nobody_starves_while_newcomers_keep_coming() -> None:
    queue, _ = filled(99, ("10.0.0.1", "alice", "old"), ("10.0.0.1", "alice", "b"))
    served = []
    for number in range(8):
        queue.put(f"10.0.1.{number}", "mallory", "new")
        served.append(queue.get())
    assert served == ["new"] * 7 + ["old"]


def test_of_a_full_queue_the_newest_of_who_has_most_leaves() -> None:
    many = [("10.0.0.1", "mallory", item) for item in "abc"]
    queue, left = filled(4, *many, ("10.0.0.1", "bob", "d"), ("10.0.0.2", "alice", "X"))
    assert left == [None, None, None, None, "c"]
    assert sorted(drained(queue)) == sorted("aXdb")


def test_among_equals_the_newcomer_leaves_because_the_others_have_waited() -> None:
    _, left = filled(2, ("10.0.0.1", "a", "a"), ("10.0.0.2", "b", "b"), ("10.0.0.3", "c", "c"))
    assert left == [None, None, "c"]
    _, left = filled(2, ("10.0.0.1", "a", "a"), ("10.0.0.1", "b", "b"), ("10.0.0.1", "c", "c"))
    assert left == [None, None, "c"]


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
def test_a_client_is_its_ipv4_address_or_its_ipv6_network(address: str, expected: str) -> None:
    assert network(address) == expected
