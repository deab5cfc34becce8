"""How the C library gives memory to threads and returns it."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def share_arenas() -> None:
    """Have all threads allocate from one arena.

    By default glibc gives each thread one of its own, which keeps what the thread once needed: with 64 of them
    and 10,000 accounts that was 100 MB. Other C libraries have no mallopt, or no arenas.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def return_memory() -> None:
    """Have glibc return what it holds free: of 500 TLS clients that is 27 MB. Other C libraries have no such call."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
