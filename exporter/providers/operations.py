"""Limits the number of operations, so that no answer can flood Prometheus with series."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

OTHER = "(other)"
"""The label value under which folded operations are summed."""


def largest(values: Mapping[Key, float], most: int) -> frozenset[Key]:
    """Return the keys of the ``most`` largest values. Keys decide between equal values, so the result is stable."""
    ranked = sorted(values, key=lambda key: (-values[key], key))
    return frozenset(ranked[:most])


def summed(pairs: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Return the sum of the values of each key, in the order of their first appearance."""
    sums: dict[Key, float] = {}
    for key, value in pairs:
        sums[key] = sums[key] + value if key in sums else value
    return sums
