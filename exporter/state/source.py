"""Where the state is kept, as the configuration says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from exporter.runtime.files import read_file, reason

URL_FIELDS = ("url", "url_env", "url_file")
EXAMPLE = "postgresql://exporter@db.example.com/exporter"
_URL = re.compile(r"postgres(ql)?://\S*|([a-z_]+ *= *\S.*)+")
_SPECIAL = re.compile(r"[@?#]")
_IPV6 = re.compile(r"\[[^\]]*\]")
_PORT = re.compile(r"[0-9]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class StateSource:
    """An SQLite file, or where to find the connection string of a PostgreSQL database, which may hold a password.

    ``value`` is the path, the connection string, the variable's name or the path of the file that holds it.
    """

    kind: Literal["path", "url", "url_env", "url_file"]
    value: str = field(repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def url(self) -> str:
        """Return the connection string as it is now. Raises ValueError with a sentence that does not show it."""
        if self.kind == "url":
            text = self.value
        elif self.kind == "url_env":
            if self.value not in self.environ:
                raise ValueError("the variable named by state.url_env is not set")
            text = self.environ[self.value].strip()
        else:
            try:
                text = read_file(self.value).decode().strip()
            except OSError as error:
                raise ValueError(f"the file named by state.url_file cannot be read: {reason(error)}") from None
            except ValueError:
                raise ValueError("the file named by state.url_file is not a text file in UTF-8") from None
        if (wrong := url_problem(text)) is not None:
            place = {"url": "state.url", "url_env": "the variable named by state.url_env"}
            raise ValueError(f"{place.get(self.kind, 'the file named by state.url_file')} {wrong}")
        return text


def url_problem(text: str) -> str | None:
    """Return why a text cannot be a connection string, without repeating it, or None."""
    if not text:
        return "is empty"
    if _CONTROL.search(text):
        return "has a line break or another control character"
    if not _URL.fullmatch(text):
        return f"must be a PostgreSQL connection string, such as {EXAMPLE}"
    if not _is_unambiguous(text):
        return "has a special character in its user or password, which must be percent-encoded (@ is %40, / is %2F)"
    return None


def is_url(text: str) -> bool:
    """Return whether a text is meant as a PostgreSQL URL, right or wrong."""
    return text.startswith(("postgres://", "postgresql://"))


def _is_unambiguous(text: str) -> bool:
    """Return whether no part of a password can be taken for a host or a database, which error messages name."""
    if not is_url(text):
        return True
    authority, _, path = text.partition("://")[2].partition("/")
    login, _, hosts = authority.rpartition("@")
    hosts = re.split("[?#]", hosts)[0]
    ports = (_IPV6.sub("", host).partition(":")[2] for host in hosts.split(","))
    return not (_SPECIAL.search(login) or "@" in path.partition("?")[0]) and all(map(_PORT.fullmatch, ports))
