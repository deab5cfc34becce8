"""Compresses text in segments, and joins segments to one gzip member without compressing them again."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from isal import isal_zlib

_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
_LAST_BLOCK = b"\x03\0"


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


def compress(text: bytes) -> Segment:
    """Return the text as a segment."""
    compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    deflated = compressor.compress(text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return Segment(deflated, isal_zlib.crc32(text), len(text))


def combine(checked: tuple[int, int], segments: Iterable[Segment]) -> tuple[int, int]:
    """Return CRC and size of a text and the segments after it. ``checked`` is CRC and size of the text."""
    crc, size = checked
    for segment in segments:
        crc = isal_zlib.crc32_combine(crc, segment.crc, segment.size)
        size += segment.size
    return crc, size


def gzip_member(segments: Sequence[Segment], checked: tuple[int, int]) -> bytes:
    """Return segments as a gzip member. ``checked`` is CRC and size of their whole text."""
    crc, size = checked
    trailer = struct.pack("<II", crc, size & 0xFFFFFFFF)
    return b"".join((_GZIP_HEADER, *(segment.deflated for segment in segments), _LAST_BLOCK, trailer))
