"""Samples to the text of /metrics, in the negotiated format and encoding, cached by part.

A line of a sample is the same in every format that is served (all account families are gauges, or
counters without a creation time), so each account's text is made once, when its poll ends, as one
fragment per family. The page is a grid of families by accounts; a rectangle of it, some 50 to 130 kB
of text, is a segment. A scrape joins and compresses the segments that changed since the last one,
and strings all of them together as one gzip member.
"""

from __future__ import annotations

import math
import struct
import threading
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

from isal import isal_zlib
from prometheus_client import exposition as prometheus_text
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.metrics.catalogue import Family
from exporter.metrics.negotiation import gzip_accepted, negotiate
from exporter.readings import AccountKey
from exporter.runtime.clock import Clock

Sample = tuple[Sequence[str], float]
"""The values of a family's own labels, and the value."""


class Renderer:
    """Write the samples of one account; its labels are escaped once, for all of its families."""

    __slots__ = ("_braces", "_labels")

    def __init__(self, names: Sequence[str], values: Sequence[str]) -> None:
        """Take the labels that every family carries: provider, account, then the configured ones.

        Raises ValueError where names and values differ in number or a value is no string.
        """
        if len(names) != len(values):
            raise ValueError(f"{len(values)} label values for the labels {', '.join(names)}")
        self._labels = {name: _escape(value).replace("%", "%%") for name, value in zip(names, values, strict=True)}
        self._braces = _template(self._labels) % ()

    def __call__(self, family: Family, samples: Iterable[Sample]) -> bytes:
        """Return the lines of one family's samples, labels sorted by name, or b"" where there are none.

        Raises ValueError for what would spoil the page: a value that is no number or NaN, a label
        too many or too few, one that is no string, or the same labels twice.
        """
        name, own = family.name, family.labels
        template = _template({**self._labels, **{label: f"%({label})s" for label in own}}) if own else ""
        lines: dict[str, str] = {}
        for labels, value in samples:
            if len(labels) != len(own):
                raise ValueError(f"{name}: {len(labels)} label values for {', '.join(own) or 'no labels'}")
            braces = template % dict(zip(own, map(_escape, labels), strict=True)) if own else self._braces
            if braces in lines:
                raise ValueError(f"{name}: two samples with the labels {braces}")
            lines[braces] = f"{name}{braces}{_number(name, value)}\n"
        # A lone surrogate, which JSON can carry, has no UTF-8.
        return "".join(lines.values()).encode("utf-8", "replace")


def _template(labels: Mapping[str, str]) -> str:
    return "{" + ",".join([f'{name}="{labels[name]}"' for name in sorted(labels)]) + "} "


def _escape(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a label value has to be a string, not {value!r}")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(name: str, value: object) -> str:
    if isinstance(value, float) and -1e6 < value < 1e6:  # Go writes these as Python does, and most are of them
        return repr(value)
    try:
        number = float(value) if isinstance(value, (float, int)) else math.nan
    except OverflowError:
        number = math.nan
    if number != number:
        raise ValueError(f"{name}: the value has to be a number, not {value!r}")
    text: str = floatToGoString(number)
    return text


@dataclass(frozen=True)
class Body:
    """What a scrape is answered with."""

    content_type: str
    content_encoding: str | None
    data: bytes

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body, but for its length."""
        headers = [("Content-Type", self.content_type), ("Vary", "Accept, Accept-Encoding")]
        if self.content_encoding:
            headers.append(("Content-Encoding", self.content_encoding))
        return headers


class _Segment(NamedTuple):
    """Compressed text for any place in a deflate stream: it ends on a byte, refers to nothing before it."""

    deflated: bytes
    crc: int
    size: int


def _compress(text: bytes) -> _Segment:
    compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    deflated = compressor.compress(text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return _Segment(deflated, isal_zlib.crc32(text), len(text))


_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
_LAST_BLOCK = b"\x03\0"


def _combine(checked: tuple[int, int], segments: Iterable[_Segment]) -> tuple[int, int]:
    """Return CRC and size of a text of which these are given, and of the segments after it."""
    crc, size = checked
    for segment in segments:
        crc = isal_zlib.crc32_combine(crc, segment.crc, segment.size)
        size += segment.size
    return crc, size


_CELL = 512
"""Fragments in a segment: a block of so many accounts, or several families where there are fewer accounts."""
_STRIP = 16
"""Accounts whose fragments of one family are kept as one string; a block is a whole number of strips."""


class _Grid:
    """The text of a fixed list of accounts, and when each segment of it last changed.

    A family's fragments stand joined in strips, not one by one: a scrape of 10,000 accounts then
    copies from 28,000 places in memory in place of 450,000, which is five times as fast, and each
    fragment is spared an object's header. The caller holds a lock.
    """

    def __init__(self, accounts: Sequence[AccountKey], columns: Iterable[Sequence[bytes]], generation: int) -> None:
        """Take for each family the fragments of all accounts."""
        self.row = {account: row for row, account in enumerate(accounts)}
        self.generation = generation
        self._strips: list[list[bytes]] = []
        self._sizes: list[array[int]] = []
        self._present: list[int] = []  # how many accounts have samples of the family
        for column in columns:
            self._strips.append([b"".join(column[at : at + _STRIP]) for at in range(0, len(column), _STRIP)])
            self._sizes.append(array("I", map(len, column)))
            self._present.append(sum(map(bool, column)))
        self._families = max(1, _CELL // max(1, len(accounts)))  # in a segment
        self._blocks = max(1, -(-len(accounts) // _CELL))
        self.changed = [generation] * (-(-len(self._strips) // self._families) * self._blocks)

    def column(self, family: int) -> dict[AccountKey, bytes]:
        """Return each account's fragment of a family."""
        text, end = b"".join(self._strips[family]), 0
        column = {}
        for account, size in zip(self.row, self._sizes[family], strict=True):
            start, end = end, end + size
            column[account] = text[start:end]
        return column

    def put(self, account: AccountKey, fragments: Sequence[bytes]) -> None:
        """Replace an account's fragments; one that is the same changes nothing."""
        row = self.row[account]
        strip, generation = row // _STRIP, self.generation + 1
        for family, (fragment, strips, sizes) in enumerate(zip(fragments, self._strips, self._sizes, strict=True)):
            old = strips[strip]
            start = sum(sizes[strip * _STRIP : row])
            end = start + sizes[row]
            if old[start:end] == fragment:
                continue
            strips[strip] = b"".join((old[:start], fragment, old[end:]))
            first = family // self._families * self._blocks
            self.changed[first + row // _CELL] = generation
            if not fragment or start == end:  # the header may come or go, and stands in the first block
                self._present[family] += 1 if fragment else -1
                self.changed[first] = generation
            sizes[row] = len(fragment)
            self.generation = generation

    def pieces(self, segment: int, headers: Sequence[bytes]) -> list[bytes]:
        """Return what the text of a segment is joined from; a family without any sample has no header."""
        group, block = divmod(segment, self._blocks)
        strips = slice(block * _CELL // _STRIP, (block + 1) * _CELL // _STRIP)
        pieces = []
        for family in range(len(self._strips))[group * self._families : (group + 1) * self._families]:
            if block == 0 and self._present[family]:
                pieces.append(headers[family])
            pieces += self._strips[family][strips]
        return pieces


class _Page:
    """One format's page: the parts that are ready, brought up to date when they are asked for."""

    def __init__(self, headers: Sequence[bytes], own: Callable[[], bytes], own_max_age: float) -> None:
        self._lock = threading.Lock()
        self._headers = headers
        self._own, self._own_max_age = own, own_max_age
        self._own_text, self._own_until = b"", float("-inf")
        self._grid: _Grid | None = None
        self._generation = -1  # of the segments
        self._segments: list[_Segment] = []
        self._checked = 0, 0  # CRC and size of all segments together
        self._ready: dict[bool, tuple[int, bytes]] = {}  # gzipped or not: generation and body

    def expire_own(self) -> None:
        with self._lock:
            self._own_until = float("-inf")

    def body(self, grid: _Grid, grid_lock: threading.Lock, gzipped: bool, now: float) -> bytes:
        """Return the page. Who asks while another's is being made waits for it and gets the same."""
        with self._lock:
            if now >= self._own_until:
                self._own_text, self._own_until = self._own(), now + self._own_max_age
                self._ready.clear()
            generation, data = self._ready.get(gzipped, (-1, b""))
            if generation != grid.generation:
                generation, data = self._gzipped(grid, grid_lock) if gzipped else self._plain(grid, grid_lock)
                # What is out of date is not kept: of many accounts it is large.
                self._ready = {other: made for other, made in self._ready.items() if made[0] == generation}
                self._ready[gzipped] = generation, data
            return data

    def _plain(self, grid: _Grid, grid_lock: threading.Lock) -> tuple[int, bytes]:
        with grid_lock:
            generation = grid.generation
            pieces = [grid.pieces(segment, self._headers) for segment in range(len(grid.changed))]
        return generation, b"".join(chain(*pieces, (self._own_text,)))

    def _gzipped(self, grid: _Grid, grid_lock: threading.Lock) -> tuple[int, bytes]:
        if grid is not self._grid:
            self._grid, self._generation = grid, -1
            self._segments = [_Segment(b"", 0, 0)] * len(grid.changed)
        with grid_lock:
            generation = grid.generation
            dirty = [segment for segment, changed in enumerate(grid.changed) if changed > self._generation]
            pieces = [grid.pieces(segment, self._headers) for segment in dirty]
        for segment, parts in zip(dirty, pieces, strict=True):
            self._segments[segment] = _compress(b"".join(parts))
        if dirty:
            self._checked = _combine((0, 0), self._segments)
        self._generation = generation
        own = _compress(self._own_text)
        crc, size = _combine(self._checked, [own])
        deflated = [segment.deflated for segment in self._segments]
        trailer = struct.pack("<II", crc, size & 0xFFFFFFFF)
        return generation, b"".join((_GZIP_HEADER, *deflated, own.deflated, _LAST_BLOCK, trailer))


class Exposition:
    """The page of /metrics: the accounts' families in order, each with its accounts in order, then our own.

    Thread-safe: polls put fragments while scrapes ask for the body. All fragments of an account
    change together, so no body mixes two polls of one account.
    """

    def __init__(self, families: Sequence[Family], registry: Collector, clock: Clock, own_max_age: float = 1.0) -> None:
        """Serve no account yet; the registry holds the exporter's own metrics.

        They are read again when they are ``own_max_age`` seconds old, so that scrapes which follow each
        other closer are sent the same bytes unless an account changed.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._grid = _Grid((), [()] * len(families), 0)
        self._families = len(families)
        self._text = _Page(
            [_header(f.name, f.help.replace("\\", r"\\").replace("\n", r"\n"), f.type) for f in families],
            partial(prometheus_text.generate_latest, registry),
            own_max_age,
        )
        self._openmetrics = _Page(
            [
                _header(f.name.removesuffix("_total" if f.type == "counter" else ""), _escape(f.help), f.type)
                for f in families
            ],
            partial(openmetrics.generate_latest, registry),
            own_max_age,
        )

    def reset(self, accounts: Sequence[AccountKey]) -> None:
        """Serve these accounts in this order; those that were there before keep their fragments."""
        with self._lock:
            old = self._grid
            columns = (old.column(family) for family in range(self._families))
            self._grid = _Grid(
                accounts,
                ([column.get(account, b"") for account in accounts] for column in columns),
                old.generation + 1,
            )

    def put(self, account: AccountKey, fragments: Sequence[bytes]) -> None:
        """Replace what is served of an account: for each family its lines, b"" where it has none.

        An account that is not served is passed over: its last poll ended after it was removed. Raises
        ValueError where there is not one fragment for each family.
        """
        if len(fragments) != self._families:
            raise ValueError(f"{account}: {len(fragments)} fragments for {self._families} families")
        with self._lock:
            if account in self._grid.row:
                self._grid.put(account, fragments)

    def expire_own(self) -> None:
        """Read the exporter's own metrics again at the next scrape, however young they are."""
        for page in (self._text, self._openmetrics):
            page.expire_own()

    def body(self, accept: str, accept_encoding: str) -> Body:
        """Return the page as these request headers want it; it is made by the first who asks for it."""
        is_openmetrics, content_type = negotiate(accept)
        gzipped = gzip_accepted(accept_encoding)
        page = self._openmetrics if is_openmetrics else self._text
        data = page.body(self._grid, self._lock, gzipped, self._clock.monotonic())
        return Body(content_type, "gzip" if gzipped else None, data)


def _header(name: str, help_text: str, kind: str) -> bytes:
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n".encode()
