"""Writes to standard output, where a failure is an error of its own, and to standard error, where it is ignored."""

from __future__ import annotations

import sys
from contextlib import suppress


class OutputError(Exception):
    """Standard output cannot be written. ``is_unread`` tells that its reader has ended, as ``head`` does."""

    def __init__(self, cause: OSError) -> None:
        self.is_unread = isinstance(cause, BrokenPipeError)
        super().__init__(f"standard output: {cause.strerror or cause}")


def write(data: str | bytes) -> None:
    """Write to standard output at once; raise OutputError if that fails."""
    if sys.stdout is None:  # the parent process closed it
        return
    try:
        if isinstance(data, bytes):
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data)
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from error


def tell(message: str) -> None:
    """Write a line to standard error, if it is open. Otherwise only the exit status remains."""
    if sys.stderr is not None:  # print() would write to standard output
        with suppress(OSError):
            print(message, file=sys.stderr, flush=True)
