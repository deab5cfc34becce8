"""What a state keeps of the past: the last reading of each hour and each day, and the last polls.

SQLite and PostgreSQL keep the same. Both give ``execute``, which runs a statement with `?` for each parameter.
"""

from __future__ import annotations

import logging
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from decimal import InvalidOperation
from typing import Any, NamedTuple, Protocol, TypeVar

from exporter.readings import AccountState, Kept, PollRecord, Series
from exporter.state import chunks
from exporter.state.base import DAY, HOUR

T = TypeVar("T")
logger = logging.getLogger(__name__)

_DAMAGED = (zlib.error, ValueError, TypeError, InvalidOperation)

_GET = "SELECT readings FROM history WHERE account = ? AND span = ? AND chunk = ?"
_PUT = (
    "INSERT INTO history(account, span, chunk, readings) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (account, span, chunk) DO UPDATE SET readings = excluded.readings"
)
_DROP = "DELETE FROM history WHERE account = ? AND span = ? AND chunk < ?"


class Execute(Protocol):
    """Runs a statement. Both drivers return a cursor."""

    def __call__(self, statement: str, parameters: Sequence[object] = (), /) -> Any:
        """Return a cursor on the result."""


class Packed(NamedTuple):
    """A reading as bytes. ``at`` is its time in Unix seconds."""

    at: int
    content: bytes


def reading_of(state: AccountState) -> Packed | None:
    """Return the last reading of an account, None while it has none."""
    last = chunks.reading(state)
    return Packed(last.at[0], chunks.encode(last)) if last else None


def poll_of(state: AccountState) -> PollRecord | None:
    """Return the last poll of an account, None before its first one."""
    if state.last_poll is None:
        return None
    reason, message = (state.failure.reason, state.failure.message) if state.failure else ("", "")
    # Half a surrogate pair has no UTF-8, and PostgreSQL takes no NUL.
    message = message.encode(errors="replace").decode().replace("\0", "?")
    return PollRecord(state.last_poll, state.last_duration or 0.0, state.last_status, reason, message)


def in_order(before: Packed | None, new: Packed, now: float) -> tuple[Packed | None, Packed]:
    """Return the earlier reading, which may belong into the history, and the last one.

    ``before`` is dropped if it is after both ``new`` and ``now``, because the clock was set since then.
    """
    if before is None or before.at > max(now, new.at):
        return None, new
    return (new, before) if new.at < before.at else (before, new)


def keep(execute: Execute, account: int | str, earlier: Packed, last: Packed, now: float, kept: Kept) -> None:
    """Add ``earlier`` to the history if ``last`` is of another hour or day. Drop what is too old."""
    if earlier.at // HOUR == last.at // HOUR:
        return
    now = max(now, last.at)
    reading = undamaged(chunks.decode, earlier.content, account)
    for span, seconds in ((HOUR, kept.hourly), (DAY, kept.daily)):
        if earlier.at // span == last.at // span:
            continue
        if seconds and reading is not None:
            place = (account, span, earlier.at // span // chunks.ROWS)
            row = execute(_GET, place).fetchone()
            before = unpacked(row[0], account) if row else Series()
            execute(_PUT, (*place, chunks.pack(with_reading(before, span, reading, now))))
        oldest = (last.at - seconds) // span // chunks.ROWS if seconds else last.at
        execute(_DROP, (account, span, int(oldest)))


def with_reading(before: Series, span: int, new: Series, now: float) -> Series:
    """Return readings with one more. The last one of an hour or day stays, and none that is after ``now``.

    Another replica may have written a later reading. A reading after ``now`` is of a clock that was set since then.
    """
    at = new.at[0]
    before = chunks.part(before, 0, bisect_right(before.at, max(now, at)))
    first = bisect_left(before.at, at // span * span)
    end = bisect_left(before.at, at // span * span + span)
    if first < end and before.at[first] > at:
        return before
    return chunks.joined([chunks.part(before, 0, first), new, chunks.part(before, end, len(before))])


def unpacked(chunk: bytes, account: int | str) -> Series:
    """Return the readings of a chunk. A damaged one has none, because it must not stop the polls of the account."""
    return undamaged(chunks.unpack, chunk, account) or Series(damaged=True)


def undamaged(read: Callable[[bytes], T], chunk: bytes, account: int | str) -> T | None:
    """Return what ``read`` makes of a chunk, or None if it is damaged."""
    try:
        return read(chunk)
    except _DAMAGED as error:
        logger.warning("history of account %s: skipping damaged readings: %s", account, error)
        return None
