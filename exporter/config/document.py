"""What a configuration file says, as plain values that know their lines.

A ``Location`` is a path into a file. It turns a sentence into a ``Problem`` with file, line and path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.config.block import is_key
from exporter.errors import Problem

Path = tuple[str | int, ...]
"""Where a value stands: the keys and indexes that lead to it."""


class Map(dict[str, Any]):
    """A mapping that starts on ``line``; ``lines`` holds the line of each key."""

    __slots__ = ("line", "lines", "size")

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: dict[str, int] = {}
        self.size = 1


class Seq(list[Any]):
    """A list that starts on ``line``; ``lines`` holds the line of each item."""

    __slots__ = ("line", "lines", "size")

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: list[int] = []
        self.size = 1


class Unreadable:
    """Stands for a value whose problem is already reported."""


UNREADABLE = Unreadable()


@dataclass(slots=True)
class Document:
    """One file: its value (None where nothing could be read) and what was wrong with it."""

    file: str
    value: Any = None
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of the nearest value on the way to a path."""
        value, line = self.value, getattr(self.value, "line", 1)
        for step in path:
            if isinstance(value, Map) and step in value:
                line = value.lines[str(step)]
            elif isinstance(value, Seq) and isinstance(step, int) and step < len(value):
                line = value.lines[step]
            else:
                break
            value = value[step]
        return int(line)


@dataclass(frozen=True, slots=True)
class Location:
    """A path in a file."""

    document: Document
    path: Path = ()

    def at(self, *steps: str | int) -> Location:
        """Return a location further inside."""
        return Location(self.document, (*self.path, *steps))

    @property
    def place(self) -> str:
        """Return the file and the line."""
        return f"{self.document.file}:{self.document.line(self.path)}"

    def problem(self, message: str) -> Problem:
        """Return a problem that is here, with its line. The message must not hold a word of the file."""
        return Problem(self.document.file, self.document.line(self.path), show(self.path), message)


def show(path: Sequence[str | int]) -> str:
    """Return a path as text, such as ``accounts[3].labels.*``.

    ``*`` stands for a name that the author chose, because it may be a key that was written in the wrong place.
    """
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if is_key(step) else "*"
            text += f".{name}" if text else name
    return text
