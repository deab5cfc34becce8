"""Standard output, whose failures are told from those of everything else."""

from __future__ import annotations

import sys


class OutputError(Exception):
    """Standard output cannot be written; ``is_unread`` where its reader has gone, as ``head`` does."""

    def __init__(self, cause: OSError) -> None:
        self.is_unread = isinstance(cause, BrokenPipeError)
        super().__init__(f"standard output: {cause.strerror or cause}")


def write(data: str | bytes) -> None:
    """Write to standard output, at once; raise OutputError where it cannot be written."""
    if sys.stdout is None:  # closed by who started the program
        return
    try:
        if isinstance(data, bytes):
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data)
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from error
