"""Reads files without waiting for another program. The exporter opens every file that it did not make in this way."""

from __future__ import annotations

import errno
import os
import stat

MAX_BYTES = 1 << 20
"""The largest size in bytes of a key file, a certificate or a file of accounts."""

_EXHAUSTED = {
    errno.EMFILE: "no file descriptor is left; raise LimitNOFILE= of the service, or `ulimit -n`",
    errno.ENFILE: "the machine has no file descriptor left; raise the sysctl fs.file-max",
}


def reason(error: OSError) -> str:
    """Return in words why a file or socket cannot be used, and a remedy if file descriptors ran out."""
    return _EXHAUSTED.get(error.errno or 0) or error.strerror or str(error) or "the system call failed"


def read_file(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file; raise OSError with the problem in ``strerror`` for anything else.

    A named pipe, a device, a directory and a file of more than ``limit`` bytes are refused.
    """
    # O_NONBLOCK because opening a named pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is longer than {limit} bytes", os.fspath(path))
    return data
