"""Makes one state of two that processes saved without knowing of each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from exporter.readings import AccountState, Ledger

Number = TypeVar("Number", int, float)


def merged(one: AccountState, other: AccountState) -> AccountState:
    """Return the newest reading of both, with the greatest of each counter, so that no counter falls."""
    older, newer = sorted((one, other), key=lambda state: state.last_poll or 0.0)
    # A part of the older state is newer if the last poll failed.
    first, last = sorted((older, newer), key=lambda state: state.part_times.get("usage", 0.0))
    times = _greatest(older.part_times, newer.part_times)
    parts = {**older.parts, **newer.parts}
    for part, at in older.part_times.items():
        if part in older.parts and at > newer.part_times.get(part, 0.0):
            parts[part] = older.parts[part]
    return replace(
        newer,
        parts=parts,
        part_times=times,
        part_asked=_greatest(older.part_asked, newer.part_asked),
        ledger=_ledger(first.ledger, last.ledger),
        last_success=_later(older.last_success, newer.last_success),
        reading_gap=last.reading_gap,
        cooldown_until=_later(older.cooldown_until, newer.cooldown_until),
        polls=max(older.polls, newer.polls),
        failures=_greatest(older.failures, newer.failures),
    )


def _ledger(first: Ledger | None, last: Ledger | None) -> Ledger | None:
    if first is None or last is None:
        return last or first
    began = None if first.began is None or last.began is None else min(first.began, last.began)
    return replace(
        last,
        began=began,
        spent=max(first.spent, last.spent),
        added=max(first.added, last.added),
        lapsed=max(first.lapsed, last.lapsed),
    )


def _greatest(one: Mapping[str, Number], other: Mapping[str, Number]) -> dict[str, Number]:
    return {
        name: max(values[name] for values in (one, other) if name in values) for name in dict.fromkeys((*one, *other))
    }


def _later(one: float | None, other: float | None) -> float | None:
    return max((time for time in (one, other) if time is not None), default=None)


def with_ledger_of(state: AccountState, saved: AccountState) -> AccountState:
    """Return a state for the history of ``saved``, which it was merged into.

    A ledger that began anew while the database was away would be counted as spent once more.
    """
    if state.ledger is None or saved.ledger is None or state.ledger.began == saved.ledger.began:
        return state
    return replace(state, ledger=saved.ledger)
