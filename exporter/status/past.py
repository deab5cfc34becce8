"""Reads the history in the state when a page is requested, and keeps nothing of it."""

from __future__ import annotations

import logging
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


class Past:
    """The history of all accounts. Without ``opened`` the exporter has no state."""

    def __init__(self, opened: OpenHistory | None) -> None:
        self._opened = opened
        self._log = ThrottledLog(logger)

    def read(self, work: Callable[[AccountHistory], T], otherwise: T) -> tuple[T, str]:
        """Return the result of ``work`` and an empty text, or ``otherwise`` and why the history cannot be read."""
        if self._opened is None:
            return otherwise, NO_STATE
        try:
            with self._opened() as history:
                return work(history), ""
        except (StateUnavailableError, ValueError, TypeError, ArithmeticError) as error:  # a damaged row is no number
            self._log.error("reading the history failed: %s", error)
            return otherwise, UNREADABLE
