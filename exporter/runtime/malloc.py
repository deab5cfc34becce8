"""Sets how the C library gives memory to threads and returns it."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def share_arenas() -> None:
    """Have all threads allocate from one arena.

    By default glibc gives each thread an arena of its own, which keeps all memory that the thread once needed. With 64
    threads and 10,000 accounts these were 100 MB. Other C libraries have no mallopt, or no arenas.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def return_memory() -> None:
    """Have glibc return its free memory. After 500 TLS clients it is 27 MB. Other C libraries have no such call."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
