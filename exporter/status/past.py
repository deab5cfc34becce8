"""Reads the history in the state when a page is requested, and keeps nothing of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from exporter.errors import StateUnavailableError
from exporter.runtime.throttle import ThrottledLog
from exporter.state.base import AccountHistory

logger = logging.getLogger(__name__)

T = TypeVar("T")
OpenHistory = Callable[[], AbstractContextManager[AccountHistory]]
NO_STATE = "The history needs a state. Set state.path or state.url in the configuration and restart the exporter."
UNREADABLE = "The history cannot be read from the state now. The exporter's log has the reason."
DEADLINE_SECONDS = 4.0
"""Seconds that a page waits for the state. A browser that refreshes the page gives up after ten."""
RETRY_SECONDS = 15.0
"""Seconds for which pages do without the history after a reading that failed."""


class Past:
    """The history of all accounts. Without ``opened`` the exporter has no state."""

    def __init__(self, opened: OpenHistory | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._opened = opened
        self._clock = clock
        self._retry_at = float("-inf")
        self._log = ThrottledLog(logger)

    def read(self, work: Callable[[AccountHistory], T], otherwise: T) -> tuple[T, str]:
        """Return the result of ``work`` and an empty text, or ``otherwise`` and why the history cannot be read."""
        if self._opened is None:
            return otherwise, NO_STATE
        if self._clock() < self._retry_at:
            return otherwise, UNREADABLE
        found: list[T] = []
        # A database that is suspended never sends an end, so the page must not wait in the same thread. A daemon thread
        # does not keep the program from ending.
        reader = threading.Thread(target=self._read, args=(self._opened, work, found), name="history", daemon=True)
        reader.start()
        reader.join(DEADLINE_SECONDS)
        if found:
            return found[0], ""
        if reader.is_alive():
            self._log.error("reading the history took more than %.0f s", DEADLINE_SECONDS)
        self._retry_at = self._clock() + RETRY_SECONDS
        return otherwise, UNREADABLE

    def _read(self, opened: OpenHistory, work: Callable[[AccountHistory], T], found: list[T]) -> None:
        try:
            with opened() as history:
                found.append(work(history))
        except (StateUnavailableError, ValueError, TypeError, ArithmeticError) as error:  # a damaged row is no number
            self._log.error("reading the history failed: %s", error)
