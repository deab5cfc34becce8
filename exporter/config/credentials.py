"""Where an account's key comes from, and how it is read: a file or variable again at each poll.

No sentence made here holds a key or a part of one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.errors import CredentialError

_LONGEST = 8192
_WHITE = " \t\r\n"


def flaw(key: str) -> str | None:
    """Return why a text cannot be sent as a key in an HTTP header, or None where it can."""
    if not key:
        return "is empty"
    if not (key.isascii() and key.isprintable()):
        return "holds a line break, a control or a non-ASCII character, which an HTTP header cannot carry"
    if key != key.strip():
        return "begins or ends with a space"
    if len(key) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    return None


@dataclass(frozen=True, slots=True)
class KeySource:
    """A key file, an environment variable or a key written into the configuration.

    ``kind`` is ``file``, ``env`` or ``literal``; ``where`` the absolute path or the variable's name.
    """

    kind: str
    where: str = ""
    secret: str = field(default="", repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def read(self) -> str:
        """Return the key as it is now; raise CredentialError where it cannot be read or sent.

        White space around the key in a file or variable (the usual last line break) is no part of it.
        """
        if self.kind == "literal":
            key, name = self.secret, "api_key"
        elif self.kind == "env":
            name = f"environment variable {self.where}"
            value = self.environ.get(self.where)
            if value is None:
                raise CredentialError(f"{name} is not set")
            key = value.strip(_WHITE)
        else:
            name = f"key file {self.where}"
            try:
                key = _read_file(self.where).strip(_WHITE)
            except OSError as error:
                raise CredentialError(f"{name} cannot be read: {error.strerror or error}") from None
        wrong = flaw(key)
        if wrong:
            raise CredentialError(f"{name} {wrong}")
        return key

    @property
    def identity(self) -> str:
        """Return a stable text for where the key comes from; for a literal a hash: never log or export it."""
        if self.kind == "literal":
            return "literal:" + hashlib.sha256(self.secret.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.kind}:{self.where}"

    def warning(self) -> str | None:
        """Return a sentence where users who need not read the key file can read it.

        The group may read a file that belongs to somebody else: that is how the exporter itself gets at it.
        """
        if self.kind != "file":
            return None
        try:
            status = os.stat(self.where)
        except OSError:
            return None
        if status.st_mode & stat.S_IROTH:
            whom = "every user"
        elif status.st_mode & stat.S_IRGRP and status.st_uid == os.geteuid():
            whom = "its group"
        else:
            return None
        mode = stat.S_IMODE(status.st_mode)
        return f"key file {self.where} is readable by {whom} (mode {mode:04o}): chmod 0400 would keep it private"


def flaw_of_authorities(path: str) -> str | None:
    """Return why a file cannot serve as the authorities of a TLS connection, or None where it can."""
    import ssl  # few configurations name such a file, and check-config must answer at once

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    return None


def _read_file(path: str) -> str:
    # O_NONBLOCK: opening a named pipe that nobody writes to would hang the poll.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        data = os.read(descriptor, _LONGEST + 3)
    finally:
        os.close(descriptor)
    return data.decode("latin-1")
