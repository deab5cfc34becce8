"""Compresses text in segments, and joins segments to one gzip member without compressing them again."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from isal import isal_zlib

_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
_LAST_BLOCK = b"\x03\0"
_RUN = 16
"""Neighbouring segments whose compressed text is joined. The kernel takes fewer parts then, and little is copied."""


class Segment(NamedTuple):
    """Compressed text that can stand anywhere in a deflate stream.

    It ends on a whole byte and refers to nothing before it.
    """

    deflated: bytes
    crc: int
    size: int

    def text(self) -> bytes:
        """Return the text without compression."""
        return bytes(isal_zlib.decompressobj(-15).decompress(self.deflated))


_EMPTY = Segment(b"", 0, 0)


def compress(text: bytes) -> Segment:
    """Return the text as a segment."""
    if not text:
        return _EMPTY
    compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    deflated = compressor.compress(text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return Segment(deflated, isal_zlib.crc32(text), len(text))


class Member:
    """A gzip member of a fixed number of segments, which are replaced one by one.

    Their checksums are the leaves of a binary tree. A node has the checksum of all text below it, so a segment that is
    replaced costs as many steps as the tree is high.
    """

    def __init__(self, count: int) -> None:
        """Begin with segments without text."""
        self.segments = [_EMPTY] * count
        self._joined = [b""] * -(-count // _RUN)
        self._leaves = 1 << max(0, count - 1).bit_length()
        # The root is node 1, and the nodes below node n are 2n and 2n + 1.
        self._crcs, self._sizes = ([0] * (2 * self._leaves) for _ in range(2))

    def replace(self, segments: Mapping[int, Segment]) -> None:
        """Replace the segments with these numbers."""
        for number, segment in segments.items():
            self.segments[number] = segment
            self._crcs[self._leaves + number], self._sizes[self._leaves + number] = segment.crc, segment.size
        for run in {number // _RUN for number in segments}:
            neighbours = self.segments[run * _RUN : (run + 1) * _RUN]
            self._joined[run] = b"".join([segment.deflated for segment in neighbours])
        crcs, sizes = self._crcs, self._sizes
        nodes = {(self._leaves + number) >> 1 for number in segments}
        while nodes - {0}:
            for node in nodes:
                right = 2 * node + 1
                size = sizes[right]
                crcs[node] = isal_zlib.crc32_combine(crcs[right - 1], crcs[right], size) if size else crcs[right - 1]
                sizes[node] = sizes[right - 1] + size
            nodes = {node >> 1 for node in nodes}

    def parts(self, last: Segment) -> list[bytes]:
        """Return the parts of the member, with one more segment at its end."""
        crc = isal_zlib.crc32_combine(self._crcs[1], last.crc, last.size)
        trailer = struct.pack("<II", crc, (self._sizes[1] + last.size) & 0xFFFFFFFF)
        return [_GZIP_HEADER, *self._joined, last.deflated + _LAST_BLOCK + trailer]
