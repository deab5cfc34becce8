"""The text of all accounts, in segments that are compressed one by one.

A poll makes one *fragment* for each family, the lines of the account's samples. 16 fragments of a family are joined
in a *strip*, and the strips of a family or of several make a *segment*. Most segments have about 25 kB of text.
A segment that did not change between two scrapes is *packed*. Only its compressed text is kept then, until it changes.

                  accounts 0-15   16-31   ...   240-255 | 256-271   ...
                 +---------------------------------------+---------------
    balance      | strip        | strip | ... | strip    | strip  | ...
                 |               segment                 |     segment
                 +---------------------------------------+---------------
    used         | strip        | strip | ... | strip    | strip  | ...
                 |               segment                 |     segment
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import takewhile

from exporter.account_id import AccountId
from exporter.metrics.compression import Segment, compress

SEGMENT = 256
"""Fragments in a segment. With fewer accounts a segment has several families."""
_STRIP = 16
"""Fragments in a strip. A segment has a whole number of strips of each family."""


class Grid:
    """The text of a fixed list of accounts, and the generation in which each segment last changed.

    It keeps strips and not single fragments, because a scrape of 10,000 accounts then copies from
    28,000 places in memory and not from 450,000. That is five times as fast, and saves the header of
    an object for each fragment. A packed segment takes a fifteenth of the memory of its strips. The caller holds a
    lock.
    """

    def __init__(self, accounts: Sequence[AccountId], columns: Iterable[Sequence[bytes]], generation: int) -> None:
        """Take for each family the fragments of all accounts."""
        self.row = {account: row for row, account in enumerate(accounts)}
        self.generation = generation
        self._rows = len(accounts)
        self._families = max(1, 2 * SEGMENT // max(1, len(accounts)))  # in a segment
        self._blocks = max(1, -(-len(accounts) // SEGMENT))  # segments beside each other
        self._strips: list[list[bytes]] = []
        self._sizes: list[array[int]] = []
        self._present: list[int] = []  # how many accounts have samples of the family
        self._packed: dict[int, Segment] = {}
        self._open: set[int] = set()  # segments that can be packed and are not
        self._changed: dict[int, int] = {}  # segments by the generation in which they changed, the oldest change first
        for family, column in enumerate(columns):
            self._strips.append([b"".join(column[at : at + _STRIP]) for at in range(0, len(column), _STRIP)])
            self._sizes.append(array("I", map(len, column)))
            self._present.append(sum(map(bool, column)))
            if family % self._families == 0:
                first = family // self._families * self._blocks
                self._changed.update(dict.fromkeys(range(first, first + self._blocks), generation))
                self._open.update(range(first + 1, first + self._blocks))
            self.pack_all()

    def __len__(self) -> int:
        """Return how many segments there are."""
        return len(self._changed)

    @property
    def is_large(self) -> bool:
        """Return whether accounts are in several segments."""
        return self._blocks > 1

    def column(self, family: int) -> list[bytes]:
        """Return a family's fragment of each account."""
        text, end = b"".join(map(partial(self._text, family), range(self._blocks))), 0
        column = []
        for size in self._sizes[family]:
            start, end = end, end + size
            column.append(text[start:end])
        return column

    def narrow(self, accounts: Sequence[AccountId]) -> bool:
        """Leave these accounts, each in its row, which is cheaper than a new grid, because that compresses all again.

        Return False if an account is new or has moved, or if most rows would be empty.
        """
        rows = [self.row.get(account, -1) for account in accounts]
        if -1 in rows or rows != sorted(rows) or 2 * len(rows) < self._rows:
            return False
        for account in self.row.keys() - set(accounts):
            self.put(account, [b""] * len(self._strips))
            del self.row[account]
        return True

    def put(self, account: AccountId, fragments: Sequence[bytes | None]) -> None:
        """Replace an account's fragments. A fragment that is None or the same changes nothing."""
        row = self.row[account]
        strip, generation = row // _STRIP, self.generation + 1
        for family, (fragment, strips, sizes) in enumerate(zip(fragments, self._strips, self._sizes, strict=True)):
            if fragment is None:
                continue
            first = family // self._families * self._blocks
            segment = first + row // SEGMENT
            self._unpack(segment)
            old = strips[strip]
            start = sum(sizes[strip * _STRIP : row])
            end = start + sizes[row]
            if old[start:end] == fragment:
                continue
            strips[strip] = b"".join((old[:start], fragment, old[end:]))
            self._change(segment, generation)
            if not fragment or start == end:  # the family's header is in its first segment, and may come or go
                self._present[family] += 1 if fragment else -1
                self._change(first, generation)
            sizes[row] = len(fragment)
            self.generation = generation

    def _change(self, segment: int, generation: int) -> None:
        self._changed.pop(segment, None)  # to come last
        self._changed[segment] = generation

    def changed(self, since: int) -> list[int]:
        """Return the segments that changed after this generation."""
        return list(takewhile(lambda segment: self._changed[segment] > since, reversed(self._changed)))

    def text(self, segment: int, headers: Sequence[bytes]) -> Segment | list[bytes]:
        """Return a packed segment, or the strings that make up another. A family without samples has no header."""
        if segment in self._packed:
            return self._packed[segment]
        group, block = divmod(segment, self._blocks)
        pieces = []
        for family in range(len(self._strips))[group * self._families : (group + 1) * self._families]:
            if block == 0 and self._present[family]:
                pieces.append(headers[family])
            pieces += self._strips[family][_strips_of(block)]
        return pieces

    def pack(self, compressed: Sequence[Segment], changed: Iterable[int]) -> None:
        """Keep only the compressed text of the segments that are not among those that changed.

        The first segment of a family is not packed, because it may have a header.
        """
        for segment in self._open.difference(changed):
            self._pack(segment, compressed[segment])

    def pack_all(self) -> None:
        """Compress and pack every segment that can be packed."""
        for segment in list(self._open):
            self._pack(segment, compress(self._text(*divmod(segment, self._blocks))))

    def _pack(self, segment: int, compressed: Segment) -> None:
        self._open.remove(segment)
        self._packed[segment] = compressed
        family, block = divmod(segment, self._blocks)
        strips = self._strips[family]
        strips[_strips_of(block)] = [b""] * len(strips[_strips_of(block)])

    def _text(self, family: int, block: int) -> bytes:
        packed = self._packed.get(family * self._blocks + block)
        return b"".join(self._strips[family][_strips_of(block)]) if packed is None else packed.text()

    def _unpack(self, segment: int) -> None:
        packed = self._packed.pop(segment, None)
        if packed is None:
            return
        self._open.add(segment)
        family, block = divmod(segment, self._blocks)
        sizes = self._sizes[family][block * SEGMENT : (block + 1) * SEGMENT]
        text, strips, end = packed.text(), [], 0
        for at in range(0, len(sizes), _STRIP):
            start, end = end, end + sum(sizes[at : at + _STRIP])
            strips.append(text[start:end])
        self._strips[family][_strips_of(block)] = strips


def _strips_of(block: int) -> slice:
    return slice(block * SEGMENT // _STRIP, (block + 1) * SEGMENT // _STRIP)
