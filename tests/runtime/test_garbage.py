"""Searches for garbage leave out what stays, and lose nothing for ever."""

from __future__ import annotations

import gc
import weakref

import pytest

from exporter.runtime import garbage


class Node:
    """An object that can be part of a cycle."""

    def __init__(self) -> None:
        self.itself: Node | None = None


def cycle() -> tuple[Node, weakref.ref[Node]]:
    node = Node()
    node.itself = node
    return node, weakref.ref(node)


@pytest.fixture
def hours() -> list[float]:
    """The clock of the searches."""
    now = [0.0]
    garbage.collect(lambda: now[0] * 3600)
    return now


def test_a_full_search_leaves_what_stays_out_of_the_next_one(hours: list[float]) -> None:
    stays = [Node() for _ in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() > len(stays)
    assert len(gc.get_objects()) < len(stays)


def test_a_full_search_finds_what_ended_before_it(hours: list[float]) -> None:
    node, alive = cycle()
    del node
    gc.collect()
    assert alive() is None


def test_a_cycle_that_ended_after_a_search_is_found_within_the_hour(hours: list[float]) -> None:
    node, alive = cycle()
    gc.collect()
    del node
    gc.collect()
    assert alive() is not None
    hours[0] += 1
    gc.collect()
    assert alive() is None
