"""Readings as bytes. A chunk has up to 32 of them, column by column, because equal columns compress to little."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite

from pydantic_core import from_json

from exporter.readings import AccountState, Series

ROWS = 32
"""Hours or days in one chunk."""
_PLAIN = ("at", "unit", "balance", "storage", "channels", "period")
_AMOUNTS = ("spent", "added", "lapsed")
_COLUMNS = (*_PLAIN, *_AMOUNTS, "began")


def reading(state: AccountState) -> Series | None:
    """Return the last reading of an account, None while it has none."""
    usage, at = state.usage, state.part_times.get("usage")
    if usage is None or at is None:
        return None
    ledger = state.ledger
    starts = [pool.period_start for pool in ledger.pools.values() if pool.period_start is not None] if ledger else []
    return Series(
        at=[int(at)],
        unit=[usage.unit],
        balance=[usage.balance],
        spent=[ledger.spent if ledger else None],
        added=[ledger.added if ledger else None],
        lapsed=[ledger.lapsed if ledger else None],
        storage=[usage.storage.ratio if usage.storage else None],
        channels=[usage.channels.ratio if usage.channels else None],
        period=[max(starts, default=None)],
        began=[ledger.began if ledger else None],
        used={name: [value] for name, value in usage.used_by_operation.items()},
    )


def encode(series: Series) -> bytes:
    """Return readings as JSON."""
    columns = [getattr(series, name) for name in _COLUMNS]
    return json.dumps([*columns, series.used], default=str, separators=(",", ":")).encode()


def decode(content: bytes) -> Series:
    """Return what ``encode`` was given. Raises ValueError, TypeError, decimal.InvalidOperation."""
    *columns, used = from_json(content)  # in a third of the time of the standard library, and as exact
    if len(columns) < len(_COLUMNS):  # from before ledgers had a beginning
        columns.append([None] * len(columns[0]))
    named = dict(zip(_COLUMNS, columns, strict=True))
    for name in _AMOUNTS:
        amounts = {text: Decimal(text) for text in {*named[name]} - {None}}  # most are equal
        named[name] = [amounts.get(text) for text in named[name]]
    return Series(**named, used=used)


def pack(series: Series) -> bytes:
    """Return readings as a chunk."""
    return zlib.compress(encode(series))


def unpack(chunk: bytes) -> Series:
    """Return the readings of a chunk. Raises zlib.error for a damaged one, and what ``decode`` raises."""
    return decode(zlib.decompress(chunk))


def balances(chunk: bytes) -> list[tuple[int, float]]:
    """Return the times and balances of a chunk, where the balance is a number. Raises as ``unpack`` does."""
    at, _, balance, *_ = from_json(zlib.decompress(chunk))
    return [(time, value) for time, value in zip(at, balance, strict=True) if value is not None and isfinite(value)]


def joined(pieces: Sequence[Series]) -> Series:
    """Return the readings of all pieces, in the order of the pieces."""
    whole = Series()
    for piece in pieces:
        for name in _COLUMNS:
            getattr(whole, name).extend(getattr(piece, name))
        for name in {**whole.used, **piece.used}:
            column = whole.used.setdefault(name, [])
            column += [None] * (len(whole) - len(piece) - len(column))
            column += piece.used.get(name) or [None] * len(piece)
    return whole


def part(series: Series, first: int, end: int) -> Series:
    """Return the readings from index ``first`` on, without that at ``end``."""
    columns = {name: getattr(series, name)[first:end] for name in _COLUMNS}
    return Series(**columns, used={name: column[first:end] for name, column in series.used.items()})
