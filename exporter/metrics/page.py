"""Makes the text of /metrics in the negotiated format and encoding, and caches it in parts.

A poll makes one *fragment* for each family, the lines of the account's samples. It is the same in every format,
because all account families are gauges, or counters without a creation time. 16 fragments of a family are joined
in a *strip*, and the strips of a family or of several make a *segment*. A scrape compresses the segments that
changed since the last scrape, and joins all segments to one gzip member. Segments have 50 to 130 kB of text.

                  accounts 0-15   16-31   ...   496-511 | 512-527   ...
                 +---------------------------------------+---------------
    balance      | strip        | strip | ... | strip    | strip  | ...
                 |               segment                 |     segment
                 +---------------------------------------+---------------
    used         | strip        | strip | ... | strip    | strip  | ...
                 |               segment                 |     segment
"""

from __future__ import annotations

import struct
import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

from isal import isal_zlib
from prometheus_client import exposition as prometheus_text
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.metrics.family import Family
from exporter.metrics.negotiation import gzip_accepted, negotiate
from exporter.metrics.render import escape
from exporter.readings import AccountKey
from exporter.runtime.clock import Clock


@dataclass(frozen=True)
class Body:
    """The response to a scrape."""

    content_type: str
    content_encoding: str | None
    data: bytes

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body, without Content-Length."""
        headers = [("Content-Type", self.content_type), ("Vary", "Accept, Accept-Encoding")]
        if self.content_encoding:
            headers.append(("Content-Encoding", self.content_encoding))
        return headers


class _Segment(NamedTuple):
    """Compressed text that can stand anywhere in a deflate stream.

    It ends on a whole byte and refers to nothing before it.
    """

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
    """Return CRC and size of a text and the segments after it. ``checked`` is CRC and size of the text."""
    crc, size = checked
    for segment in segments:
        crc = isal_zlib.crc32_combine(crc, segment.crc, segment.size)
        size += segment.size
    return crc, size


SEGMENT = 512
"""Fragments in a segment. With fewer accounts a segment has several families."""
_STRIP = 16
"""Fragments in a strip. A segment has a whole number of strips of each family."""


class _Grid:
    """The text of a fixed list of accounts, and the generation in which each segment last changed.

    It keeps strips and not single fragments, because a scrape of 10,000 accounts then copies from
    28,000 places in memory and not from 450,000. That is five times as fast, and saves the header of
    an object for each fragment. The caller holds a lock.
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
        self._families = max(1, SEGMENT // max(1, len(accounts)))  # in a segment
        self._blocks = max(1, -(-len(accounts) // SEGMENT))  # segments beside each other
        self.changed = [generation] * (-(-len(self._strips) // self._families) * self._blocks)

    def column(self, family: int) -> dict[AccountKey, bytes]:
        """Return each account's fragment of a family."""
        text, end = b"".join(self._strips[family]), 0
        column = {}
        for account, size in zip(self.row, self._sizes[family], strict=True):
            start, end = end, end + size
            column[account] = text[start:end]
        return column

    def put(self, account: AccountKey, fragments: Sequence[bytes | None]) -> None:
        """Replace an account's fragments. A fragment that is None or the same changes nothing."""
        row = self.row[account]
        strip, generation = row // _STRIP, self.generation + 1
        for family, (fragment, strips, sizes) in enumerate(zip(fragments, self._strips, self._sizes, strict=True)):
            if fragment is None:
                continue
            old = strips[strip]
            start = sum(sizes[strip * _STRIP : row])
            end = start + sizes[row]
            if old[start:end] == fragment:
                continue
            strips[strip] = b"".join((old[:start], fragment, old[end:]))
            first = family // self._families * self._blocks
            self.changed[first + row // SEGMENT] = generation
            if not fragment or start == end:  # the family's header is in its first segment, and may come or go
                self._present[family] += 1 if fragment else -1
                self.changed[first] = generation
            sizes[row] = len(fragment)
            self.generation = generation

    def pieces(self, segment: int, headers: Sequence[bytes]) -> list[bytes]:
        """Return the strings that make up a segment. A family without samples has no header."""
        group, block = divmod(segment, self._blocks)
        strips = slice(block * SEGMENT // _STRIP, (block + 1) * SEGMENT // _STRIP)
        pieces = []
        for family in range(len(self._strips))[group * self._families : (group + 1) * self._families]:
            if block == 0 and self._present[family]:
                pieces.append(headers[family])
            pieces += self._strips[family][strips]
        return pieces


class _Page:
    """The page in one format. It keeps the finished parts and renews the outdated ones on request."""

    def __init__(self, headers: Sequence[bytes], own: Callable[[], bytes], own_max_age: float) -> None:
        self._lock = threading.Lock()
        self._headers = headers
        self._own, self._own_max_age = own, own_max_age
        self._own_text, self._own_until = b"", float("-inf")
        self._grid: _Grid | None = None
        self._generation = -1  # of the segments
        self._segments: list[_Segment] = []
        self._checked = 0, 0  # CRC and size of all segments together
        self._ready: dict[bool, tuple[int, bytes]] = {}  # generation and body, with gzip (True) and without

    def expire_own(self) -> None:
        with self._lock:
            self._own_until = float("-inf")

    def body(self, grid: _Grid, grid_lock: threading.Lock, gzipped: bool, now: float) -> bytes:
        """Return the page. Scrapes at the same time wait for one to make it, and get the same bytes."""
        with self._lock:
            if now >= self._own_until:
                self._own_text, self._own_until = self._own(), now + self._own_max_age
                self._ready.clear()
            generation, data = self._ready.get(gzipped, (-1, b""))
            if generation != grid.generation:
                generation, data = self._gzipped(grid, grid_lock) if gzipped else self._plain(grid, grid_lock)
                # Drop the outdated body, because it is large if there are many accounts.
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
    """The page of /metrics. The families of accounts come first, in order, then the exporter's own.

    It is thread-safe, so polls can put fragments while scrapes ask for the body. All fragments of an
    account change together, so no body mixes two polls of one account.
    """

    def __init__(self, families: Sequence[Family], registry: Collector, clock: Clock, own_max_age: float = 1.0) -> None:
        """Begin without accounts. The registry holds the exporter's own metrics.

        They are read again when they are ``own_max_age`` seconds old. Scrapes within that time get the
        same bytes, unless an account changed.
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
                _header(f.name.removesuffix("_total" if f.type == "counter" else ""), escape(f.help), f.type)
                for f in families
            ],
            partial(openmetrics.generate_latest, registry),
            own_max_age,
        )

    @property
    def is_large(self) -> bool:
        """Return whether accounts are in several segments, so that a page with many changes takes long to make."""
        return len(self._grid.row) > SEGMENT

    def reset(self, accounts: Sequence[AccountKey]) -> None:
        """Serve these accounts in this order. Accounts that were there before keep their fragments."""
        with self._lock:
            old = self._grid
            if list(accounts) == list(old.row):
                return
            columns = (old.column(family) for family in range(self._families))
            self._grid = _Grid(
                accounts,
                ([column.get(account, b"") for account in accounts] for column in columns),
                old.generation + 1,
            )

    def put(self, account: AccountKey, fragments: Sequence[bytes | None]) -> None:
        """Replace the fragments of an account, one for each family. A family without samples has b"".

        None leaves a family as it is.

        An account that is not served is ignored, because its last poll may end after a reload removed it.
        Raises ValueError if there is not one fragment for each family.
        """
        if len(fragments) != self._families:
            raise ValueError(f"{account}: {len(fragments)} fragments for {self._families} families")
        with self._lock:
            if account in self._grid.row:
                self._grid.put(account, fragments)

    def expire_own(self) -> None:
        """Read the exporter's own metrics again at the next scrape, even if they are new."""
        for page in (self._text, self._openmetrics):
            page.expire_own()

    def body(self, accept: str, accept_encoding: str) -> Body:
        """Return the page in the format and encoding that these request headers ask for."""
        is_openmetrics, content_type = negotiate(accept)
        gzipped = gzip_accepted(accept_encoding)
        page = self._openmetrics if is_openmetrics else self._text
        data = page.body(self._grid, self._lock, gzipped, self._clock.monotonic())
        return Body(content_type, "gzip" if gzipped else None, data)


def _header(name: str, help_text: str, kind: str) -> bytes:
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n".encode()
