"""Where an account's key comes from, and how it is read: a file or variable again at each poll.

No sentence made here holds a key or a part of one. A path or a variable's name is not repeated either, because the
key itself may be written there by mistake. The field is named instead.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.errors import CredentialError
from exporter.runtime.files import read_file, reason

KEY_FIELDS = ("api_key_file", "api_key_env", "api_key")
"""The three ways to give a key."""

_MAX_CHARACTERS = 8192
_WHITE = " \t\r\n"
_ALONE = "it must hold the key alone"
_SLIPS = tuple(
    (re.compile(pattern, re.MULTILINE | re.IGNORECASE), sentence)
    for pattern, sentence in (
        (r"\A[{\[]", f"is JSON; {_ALONE}"),
        # What follows the sign tells it from a key in base64, which may end with one or two equals signs.
        (
            r"^[ \t]*(?:(?:export|set)[ \t]+\"?|\$(?:env:)?)?[a-z_][a-z0-9_]*[ \t]*=[ \t]*[^=\s]",
            f"holds NAME=VALUE, as an env file or a command of a shell does; {_ALONE}",
        ),
        # Without a space after the colon it may be a key of two parts.
        (
            r"^[ \t-]*[\"']?[a-z_][a-z0-9_.-]*[\"']?[ \t]*:[ \t]|\A[a-z_-]*(?:key|token|secret|authorization):",
            f"has a name and a colon before the key, as YAML and headers do; {_ALONE}",
        ),
        (
            r"\A(?:bearer|basic|token|key|apikey)[ \t]",
            f"has a word such as Bearer before the key; {_ALONE}, because the exporter adds such a word by itself",
        ),
        (r"\A([\"'`])[^\n]+\1\Z", "has quotes around the key; remove them, because they would be sent"),
        (r"\A[\"'`]|[\"'`]\Z", "has a quote at one end; remove it, because it would be sent"),
        (r"[^ \t][ \t]+[^ \t]", f"has a space inside; {_ALONE}, which is one word"),
    )
)
"""The usual mistakes in place of a key, the first that fits. No vendor's key is like one of them."""
_HARMLESS = re.compile(r"[A-Za-z0-9_.~+/-]+")
"""Most keys. They have no character that any mistake has, and to know that takes a tenth of the time."""
_WIDE = (
    ("UTF-32", 4, (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("UTF-16", 2, (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
"""Encodings with their bytes for each character. The first mark of UTF-32 begins with that of UTF-16."""


def key_problem(key: str) -> str | None:
    """Return why a text cannot be sent as a key in an HTTP header, or None where it can."""
    if not key:
        return "is empty"
    if not (key.isascii() and key.isprintable()):
        return "holds a line break, a control or a non-ASCII character, which an HTTP header cannot carry"
    if key != key.strip():
        return "begins or ends with a space"
    if len(key) > _MAX_CHARACTERS:
        return f"is longer than {_MAX_CHARACTERS} characters"
    return None


_NAMES = {
    "file": "the file named by api_key_file",
    "env": "the variable named by api_key_env",
    "literal": "api_key",
}


def _slip(text: str) -> str | None:
    """Return what a text is in place of the key alone, where it is one of the usual mistakes."""
    if _HARMLESS.fullmatch(text):
        return None
    return next((sentence for pattern, sentence in _SLIPS if pattern.search(text)), None)


def _encoding(data: bytes) -> str | None:
    """Return a sentence for a file with more than one byte for each character of an ASCII text."""
    for name, width, marks in _WIDE:
        # Without a byte order mark, all bytes of such a character but the first or the last are 0.
        columns = [any(data[at::width]) for at in range(width)]
        if data.startswith(marks) or (len(data) % width == 0 and sum(columns) == 1 and (columns[0] or columns[-1])):
            return f"is {name} text, as Windows PowerShell can write it; save it as UTF-8"
    return None


@dataclass(frozen=True, slots=True)
class KeySource:
    """A key file, an environment variable or a key written into the configuration.

    ``kind`` is ``file``, ``env`` or ``literal``; ``where`` the absolute path or the variable's name.
    """

    kind: str
    where: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def read(self) -> str:
        """Return the key as it is now; raise CredentialError where it cannot be read or sent.

        White space around the key in a file or variable (the usual last line break) is no part of it.
        """
        if self.kind == "literal":
            key = self.secret
            wrong = _slip(key) or key_problem(key)
        elif self.kind == "env":
            value = self.environ.get(self.where)
            if value is None:
                raise self._error("is not set")
            key = value.strip(_WHITE)
            wrong = _slip(key) or key_problem(key)
        else:
            try:
                data = read_file(self.where).removeprefix(codecs.BOM_UTF8)
            except OSError as error:
                raise self._error(f"cannot be read: {reason(error)}") from None
            except ValueError:
                raise self._error("cannot be read: no file can have this name") from None
            key = data.decode("latin-1").strip(_WHITE)
            wrong = _encoding(data) or _slip(key) or key_problem(key)
        if wrong:
            raise self._error(wrong)
        return key

    def _error(self, sentence: str) -> CredentialError:
        return CredentialError(f"{_NAMES[self.kind]} {sentence}")

    @property
    def identity(self) -> str:
        """Return a stable text for where the key comes from. Never log or export it, because it may hold the key."""
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
        except (OSError, ValueError):
            return None
        if status.st_mode & stat.S_IROTH:
            whom = "every user"
        elif status.st_mode & stat.S_IRGRP and status.st_uid == os.geteuid():
            whom = "its group"
        else:
            return None
        mode = stat.S_IMODE(status.st_mode)
        return f"{_NAMES['file']} is readable by {whom} (mode {mode:04o}); chmod 0400 would keep it private"
