"""Logs a fault of the database once, until what failed works again."""

from __future__ import annotations

import logging
import re
import time

import psycopg

from exporter.state.postgresql import schema

logger = logging.getLogger(__name__)

QUIET_SECONDS = 30.0
"""Seconds without a failure after which a fault is over, although no account had to be saved."""
_NUMBER = re.compile(r"\d+")


class Faults:
    """What is wrong with the database now. A heartbeat may succeed where a save fails, and ends no fault alone."""

    def __init__(self, *, is_replica: bool) -> None:
        """``is_replica`` is false for a command that ends soon, and does not try again."""
        self._is_replica = is_replica
        self._told: set[str] = set()
        self._failed_at = 0.0
        self.present = ""

    def begin(self, why: str, *, was_reached: bool) -> None:
        """Log a failure whose reason is not logged yet. ``was_reached`` tells that accounts may be polled."""
        self.present = " ".join(why.split())
        self._failed_at = time.monotonic()
        alike = _NUMBER.sub("", self.present)
        if alike in self._told:
            return
        self._told.add(alike)
        consequence = ""
        if self._is_replica:
            consequence = ". Continuing from memory" if was_reached else ". Nothing is polled before it was reached"
            consequence += ", trying again"
        logger.error("the state database cannot be used%s: %s", consequence, self.present)

    def end(self, *, has_saved: bool) -> None:
        """Log that the database works again, after a save or some time. Call this when something was written."""
        if self.present and (has_saved or time.monotonic() - self._failed_at >= QUIET_SECONDS):
            self.present = ""
            self._told.clear()
            logger.info("the state database can be used again")


def reason(error: BaseException) -> str:
    """Return why a transaction failed, in a sentence where it is a known case."""
    cause: BaseException | None = error
    # The end of a pipeline may fail with words about itself. The server's refusal came before.
    while cause is not None and getattr(cause, "sqlstate", None) is None:
        cause = cause.__context__
    cause = cause or error
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return schema.READ_ONLY
    if isinstance(cause, psycopg.errors.UndefinedTable):
        return "its tables are gone. They are made again"
    if isinstance(cause, psycopg.errors.DiskFull):
        return "its disk is full"
    if "pipeline" in str(cause):
        return "a transaction was not completed"
    return str(cause)
