"""Limits how often a message is logged that clients can cause as often as they like."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

EVERY_SECONDS = 60.0
"""Seconds between two lines with the same message."""


class ThrottledLog:
    """Logs each message at most once a minute, with the number of times that it was left out."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, *args: object) -> None:
        """Log a warning. A message is known by its text before the arguments are put in."""
        self._log(logging.WARNING, message, args)

    def error(self, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log an error, with the traceback of ``exc_info``."""
        self._log(logging.ERROR, message, args, exc_info)

    def exception(self, message: str, *args: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, message, args, sys.exc_info()[1])

    def _log(self, level: int, message: str, args: tuple[object, ...], exc_info: BaseException | None = None) -> None:
        now = self._clock()
        if now < self._next.get(message, now):
            self._left_out[message] = self._left_out.get(message, 0) + 1
            return
        self._next[message] = now + EVERY_SECONDS
        left_out = self._left_out.pop(message, 0)
        if left_out:
            message, args = message + " (%d more were not logged)", (*args, left_out)
        self._logger.log(level, message, *args, exc_info=exc_info)
