"""Reads a YAML file into a ``Document``.

The parser's events are read one by one, because composed nodes would cost more time and memory than everything else at
10,000 accounts, and would follow hostile nesting and aliases without a bound. No message repeats a word of the file,
which might be a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import yaml

from exporter.config.document import UNREADABLE, Document, Map, Seq, show
from exporter.config.environment import expand
from exporter.errors import Problem
from exporter.runtime.files import read_file

_MAX_BYTES = 256 * 1024 * 1024
_MAX_LEVELS = 50
_MAX_ALIASED_VALUES = 1_000_000

_SPECIAL = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>true|True|TRUE|yes|Yes|YES|on|On|ON)|(?P<false>false|False|FALSE|no|No|NO|off|Off|OFF)"
    r"|(?P<int>[-+]?[0-9]{1,300})"
    r"|(?P<float>[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,9})?)"
)
_SPECIAL_FIRST = frozenset("~nNtTyYoOfF+-.0123456789")
_TAGS = {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

_CODES = ("reasons", "statuses")

_HINTS = {
    "tab character": "; indent with spaces",
    "alias": "; put a text that begins with `*` in quotes",
    "anchor": "; put a text that begins with `&` in quotes",
    "tag": "; put a text that begins with `!` in quotes",
    "cannot start any token": "; put a text that begins with a special character in quotes",
    "could not find expected ':'": "; put a space after the colon of each key",
    "mapping values are not allowed": "; put a text that holds a colon and a space in quotes",
}
"""What most often is behind the parser's complaints."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(file: str, environ: Mapping[str, str]) -> Document:
    """Read a YAML file; whatever is wrong with it is in the document's ``problems``."""
    document = Document(file)
    try:
        data = read_file(file, _MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        document.problems.append(Problem(file, None, "", f"cannot be read: {reason}"))
        return document
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem(file, line, "", "is not UTF-8 text; save the file as UTF-8"))
        return document
    _Builder(document, environ).run(data)
    return document


class _Frame:
    """A mapping or list that is being filled."""

    __slots__ = ("anchor", "key", "merges", "value")

    def __init__(self, value: Map | Seq, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None
        self.merges: list[Any] = []


class _GiveUp(Exception):
    """The rest of the file cannot be made sense of."""


class _Builder:
    """Turns the parser's events into values."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.environ = environ
        self.stack: list[_Frame] = []
        self.anchors: dict[str, Any] = {}
        self.aliased = 0
        self.line = 1
        self.documents = 0

    def run(self, data: bytes) -> None:
        handlers = {
            yaml.ScalarEvent: self.scalar,
            yaml.MappingStartEvent: self.open,
            yaml.SequenceStartEvent: self.open,
            yaml.MappingEndEvent: self.close,
            yaml.SequenceEndEvent: self.close,
            yaml.AliasEvent: self.alias,
            yaml.DocumentStartEvent: self.begin,
        }
        try:
            for event in iter(_LOADER(data).get_event, None):
                handle = handlers.get(type(event))
                if handle is not None:
                    self.line = event.start_mark.line + 1
                    handle(event)
        except _GiveUp:
            self.document.value = None
        except (yaml.reader.ReaderError, yaml.MarkedYAMLError) as error:
            self.document.value = None
            line, sentence = _complaint(error, data)
            if any(b"${" in text for text in data.splitlines()[line - 1 : line]):
                sentence += "; put ${NAME} in quotes inside of [ ] and { }"
            self.document.problems.append(Problem(self.document.file, line, "", sentence))

    def begin(self, _event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self.stop("a second YAML document begins; put everything into one")

    def scalar(self, event: Any) -> None:
        text: str = event.value
        value: Any = text
        plain = event.implicit[0]
        if plain and (not text or text[0] in _SPECIAL_FIRST):
            value = _resolve(text)
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, Map):
            if not isinstance(value, str) and not self.holds_codes():
                self.report("YAML does not read this key as a text; put it in quotes", text)
            self.key(frame.value, text)
            frame.key = text
            return
        if event.tag not in _TAGS:
            self.report("a YAML tag (`!...`) has no meaning here; put a text that starts with `!` in quotes")
            value = UNREADABLE
        elif "$" in text:
            value = self.expanded(text)
        if event.anchor:
            self.anchors[event.anchor] = value
        self.add(value, 1)

    def holds_codes(self) -> bool:
        """Tell whether the keys of this mapping are a vendor's codes, which may be numbers."""
        return len(self.stack) > 1 and self.stack[-2].key in _CODES

    def expanded(self, text: str) -> Any:
        value, mistakes = expand(text, self.environ)
        for sentence in mistakes:
            self.report(sentence)
        return UNREADABLE if mistakes else value

    def key(self, into: Map, key: str) -> None:
        if key in into.lines:
            self.report(f"duplicate key, first on line {into.lines[key]}; keep one of them", key)
        else:
            into.lines[key] = self.line

    def open(self, event: Any) -> None:
        if self.stack and self.stack[-1].key is None and isinstance(self.stack[-1].value, Map):
            self.stop("a key must be a text, not a list or a mapping; put `{{ }}` and the like in quotes")
        if len(self.stack) >= _MAX_LEVELS:
            self.stop(f"nested more than {_MAX_LEVELS} levels deep")
        if event.tag not in _TAGS:
            self.report("a YAML tag (`!...`) has no meaning here")
        value = Map(self.line) if isinstance(event, yaml.MappingStartEvent) else Seq(self.line)
        self.stack.append(_Frame(value, event.anchor))

    def close(self, _event: Any) -> None:
        frame = self.stack.pop()
        for merged in frame.merges:
            self.merge(cast("Map", frame.value), merged)  # only mappings have `<<`
        if frame.anchor:
            self.anchors[frame.anchor] = frame.value
        self.line = frame.value.line
        self.add(frame.value, frame.value.size)

    def alias(self, event: Any) -> None:
        if self.stack and self.stack[-1].key is None and isinstance(self.stack[-1].value, Map):
            self.stop("a key must be a text, not an alias; put a text that starts with `*` in quotes")
        if event.anchor not in self.anchors:
            self.stop("alias to an anchor that is not defined above; put a text that starts with `*` in quotes")
        value = self.anchors[event.anchor]
        size = getattr(value, "size", 1)
        self.count(size)
        self.add(value, size)

    def count(self, values: int) -> None:
        self.aliased += values
        if self.aliased > _MAX_ALIASED_VALUES:
            self.stop(f"aliases repeat more than {_MAX_ALIASED_VALUES} values")

    def merge(self, into: Map, merged: Any) -> None:
        for source in merged if isinstance(merged, Seq) else [merged]:
            if not isinstance(source, Map):
                self.report("`<<` merges a mapping or a list of mappings, as in `<<: *defaults`")
                continue
            self.count(len(source))
            for key, value in source.items():
                if key not in into:
                    into[key] = value
                    into.lines[key] = source.lines[key]
                    into.size += getattr(value, "size", 1)

    def add(self, value: Any, size: int) -> None:
        if not self.stack:
            self.document.value = value
            return
        frame = self.stack[-1]
        container = frame.value
        if isinstance(container, Seq):
            container.append(value)
            container.lines.append(self.line)
            container.size += size
            return
        key, frame.key = frame.key, None
        if key == "<<" and isinstance(value, (Map, Seq)):
            frame.merges.append(value)
            container.lines.pop(key, None)
        elif key is not None and key not in container:
            container[key] = value
            container.size += size

    def report(self, message: str, key: str | None = None) -> None:
        self.document.problems.append(Problem(self.document.file, self.line, show(self.path(key)), message))

    def stop(self, message: str) -> None:
        self.report(message)
        raise _GiveUp

    def path(self, key: str | None) -> list[str | int]:
        steps: list[str | int] = []
        for frame in self.stack:
            if isinstance(frame.value, Seq):
                steps.append(len(frame.value))
            elif frame.key is not None:
                steps.append(frame.key)
        if key is not None:
            steps.append(key)
        return steps


@lru_cache(1024)  # thousands of accounts have the same few
def _resolve(text: str) -> Any:
    """Return a plain scalar as YAML 1.1 and 1.2 readers would; dates and base-60 numbers stay texts."""
    match = _SPECIAL.fullmatch(text)
    if match is None:
        return text
    kind = match.lastgroup
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    return None if kind == "null" else kind == "true"


def _complaint(error: yaml.reader.ReaderError | yaml.MarkedYAMLError, data: bytes) -> tuple[int, str]:
    """Return the line and the words of the parser's complaint."""
    if isinstance(error, yaml.reader.ReaderError):
        return data.count(b"\n", 0, int(error.position)) + 1, f"not YAML: {error.reason}"
    # What is no `key: value` is noticed only at the end of what follows.
    is_late = "could not find expected ':'" in str(error.problem)
    mark = error.context_mark if is_late else error.problem_mark or error.context_mark
    sentence = f"not YAML: {error.problem or error.context}"
    if error.context and error.problem:
        sentence += f" ({error.context})"
    sentence += next((hint for word, hint in _HINTS.items() if word in sentence), "")
    return mark.line + 1 if mark else 1, sentence
