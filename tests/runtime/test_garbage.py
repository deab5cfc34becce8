"""Full collections leave out objects that survived, and each cycle is freed in the end."""

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


def test_objects_that_survive_a_full_collection_are_left_out_of_the_next_one(hours: list[float]) -> None:
    stays = [Node() for _ in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() > len(stays)
    assert len(gc.get_objects()) < len(stays)


def test_a_full_collection_frees_earlier_cycles(hours: list[float]) -> None:
    node, alive = cycle()
    del node
    gc.collect()
    assert alive() is None


def test_a_later_cycle_is_freed_within_the_hour(hours: list[float]) -> None:
    node, alive = cycle()
    gc.collect()
    del node
    gc.collect()
    assert alive() is not None
    hours[0] += 1
    gc.collect()
    assert alive() is None
