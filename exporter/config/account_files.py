"""Which files ``account_files`` names: patterns below the folder of the main file, links followed but never twice."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import translate

from exporter.config.document import Location
from exporter.config.report import Report

MAX_FILES = 100_000
"""Files that one pattern may match."""
MAX_FOLDERS = 10_000
"""Folders that one pattern may look into."""


def account_files(patterns: Iterable[str], main: Location, report: Report) -> list[str]:
    """Return the files that the patterns match, by pattern and name, none twice; report what matches nothing."""
    found: dict[str, str] = {os.path.realpath(main.document.file): ""}
    for index, pattern in enumerate(patterns):
        location = main.at("account_files", index)
        for match in _matches(os.path.dirname(main.document.file), pattern, location, report):
            if not os.path.isdir(match):
                found.setdefault(os.path.realpath(match), match)
            elif not glob.has_magic(pattern):
                report.problem(location, "is a directory; add `/*.yaml`")
    return [file for file in found.values() if file]


def _matches(folder: str, pattern: str, location: Location, report: Report) -> list[str]:
    matches: list[str] = []
    try:
        for match in find(folder, pattern):
            if len(matches) == MAX_FILES:
                report.problem(location, f"matches more than {MAX_FILES} files; write a narrower pattern")
                return []
            matches.append(match)
    except _TooManyFoldersError:
        report.problem(location, f"looks into more than {MAX_FOLDERS} folders; write a narrower pattern")
        return []
    if not matches and glob.has_magic(pattern):
        report.warn(location, "matches no file")
    elif not matches:
        report.problem(location, "there is no such file (a path is relative to the file it stands in)")
    return sorted(matches)


def find(folder: str, pattern: str) -> Iterator[str]:
    """Yield the paths that a pattern of the shell matches below a folder; ``**`` stands for any depth.

    Not by ``glob``, which follows links to a folder above them until the path is too long, and two such links for ever.
    """
    root = os.sep if os.path.isabs(pattern) else folder
    yield from _Walk().below(root, [step for step in pattern.split(os.sep) if step])


class _TooManyFoldersError(Exception):
    """The pattern leads into more folders than it may, as two links to their own folder do at each ``*``."""


class _Walk:
    """One walk along a pattern, which counts the folders that it looks into."""

    def __init__(self) -> None:
        self._folders = 0

    def below(self, path: str, steps: list[str]) -> Iterator[str]:
        """Yield what the steps match below a path; raise _TooManyFoldersError."""
        if not steps:
            if os.path.lexists(path):
                yield path
            return
        step, rest = steps[0], steps[1:]
        if step == "**":
            # What is only a file below can be matched by the last step alone.
            for folder in self._folders_below(path):
                yield from self.below(folder, rest or ["*"])
        elif not glob.has_magic(step):
            yield from self.below(os.path.join(path, step), rest)
        else:
            matches = re.compile(translate(step)).match
            for name in self._names(path):
                if matches(name) and (not name.startswith(".") or step.startswith(".")):
                    yield from self.below(os.path.join(path, name), rest)

    def _folders_below(self, path: str) -> Iterator[str]:
        """Yield a folder and all below it that are not hidden, each once, whatever links lead to it."""
        seen: set[tuple[int, int]] = set()
        waiting = [path]
        while waiting:
            path = waiting.pop()
            try:
                status = os.stat(path or os.curdir)
            except OSError:
                continue
            if (status.st_dev, status.st_ino) in seen or not os.path.isdir(path or os.curdir):
                continue
            seen.add((status.st_dev, status.st_ino))
            yield path
            waiting += (os.path.join(path, name) for name in reversed(self._names(path)) if not name.startswith("."))

    def _names(self, path: str) -> list[str]:
        if self._folders == MAX_FOLDERS:
            raise _TooManyFoldersError
        self._folders += 1
        try:
            return sorted(os.listdir(path or os.curdir))
        except OSError:
            return []
