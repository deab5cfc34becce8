"""A metric family of accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exporter.metrics.samples import Samples
from exporter.metrics.view import View


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. Its ``labels`` come after ``provider``, ``account`` and the configured labels."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...]
    samples: Callable[[View], Samples]


_CACHED = " Cached; polled on an interval."


def gauge(name: str, help_: str, samples: Callable[[View], Samples], *labels: str) -> Family:
    """Return a gauge. The prefix and the sentence about polling are added."""
    return Family("video_api_" + name, "gauge", help_ + _CACHED, labels, samples)


def counter(name: str, help_: str, samples: Callable[[View], Samples], *labels: str) -> Family:
    """Return a counter, as ``gauge`` does."""
    return Family("video_api_" + name, "counter", help_ + _CACHED, labels, samples)
