"""Keeps Python from searching for garbage among objects that stay.

A search holds the whole program. One among all objects of 10,000 accounts took 100 ms, every other minute. These
objects form no cycles, so Python frees them without a search.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

WHOLE_SEARCH_SECONDS = 3600.0
"""Seconds between two searches among all objects. They find cycles that were in use during a search and ended later."""
_THRESHOLDS = (700, 5, 2)
"""When Python searches. A poll makes as many objects as it frees. So with its own (700, 10, 10) a full search waits
until each of 10,000 accounts has new ones, and takes three to five times as long."""


def postpone() -> None:
    """Search for no garbage until ``collect``. In the imports alone the searches took 60 ms."""
    gc.disable()


def end() -> None:
    """Leave all objects to the system when the program exits. Python's last search among them took 25 ms."""
    gc.freeze()


def collect(now: Callable[[], float] = time.monotonic) -> Callable[[str, Mapping[str, int]], None]:
    """Search for garbage from now on, but only among objects made after the last full search.

    Once an hour a full search looks at all objects. Returns the callback that does this, which is in ``gc.callbacks``.
    """
    last_whole = now()

    def around_search(phase: str, search: Mapping[str, int]) -> None:
        nonlocal last_whole
        if search["generation"] < 2:
            return
        if phase == "stop":
            gc.freeze()
        elif now() - last_whole >= WHOLE_SEARCH_SECONDS:
            last_whole = now()
            gc.unfreeze()

    gc.callbacks.append(around_search)
    gc.set_threshold(*_THRESHOLDS)
    gc.freeze()
    gc.enable()
    return around_search
