"""One YAML file as plain values that know their lines, with ``${NAME}`` replaced from the environment.

The parser's events are read one by one: composed nodes would cost more time and memory than everything else
at 10,000 accounts, and would follow hostile nesting and aliases without a bound. No message quotes a value
from the file, which might be a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from exporter.config.credentials import KEY_FIELDS
from exporter.errors import Problem
from exporter.runtime.files import read_file

_LARGEST_FILE = 256 * 1024 * 1024
_DEEPEST = 50
_MOST_ALIASED = 1_000_000

_SPECIAL = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>true|True|TRUE|yes|Yes|YES|on|On|ON)|(?P<false>false|False|FALSE|no|No|NO|off|Off|OFF)"
    r"|(?P<int>[-+]?[0-9]{1,300})"
    r"|(?P<float>[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,9})?)"
)
_SPECIAL_FIRST = frozenset("~nNtTyYoOfF+-.0123456789")
_DOLLAR = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_TAGS = {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

_HINTS = {
    "tab character": "; indent with spaces",
    "alias": "; put a text that begins with `*` in quotes",
    "anchor": "; put a text that begins with `&` in quotes",
    "tag": "; put a text that begins with `!` in quotes",
    "cannot start any token": "; put a text that begins with a special character in quotes",
    "mapping values are not allowed": "; put a text that holds a colon and a space in quotes",
}
"""What most often is behind the parser's complaints."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

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
class Place:
    """A path in a file."""

    document: Document
    path: Path = ()

    def at(self, *steps: str | int) -> Place:
        """Return a place further inside."""
        return Place(self.document, (*self.path, *steps))

    def problem(self, message: str) -> Problem:
        """Return a problem that is here, with its line."""
        return Problem(self.document.file, self.document.line(self.path), show(self.path), message)


def show(path: Sequence[str | int]) -> str:
    """Return a path as text: ``accounts[3].labels.team``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{quote(step)}" if text else quote(step)
    return text


def quote(key: str) -> str:
    """Return a key of a mapping as it can be printed on one line."""
    name, colon, _ = key.partition(":")
    if colon:
        # Without a space after the colon, YAML takes a value for a part of the key. It may be a secret.
        return f"{quote(name)}:..."
    short = key if len(key) <= 64 else key[:61] + "..."
    return short if re.fullmatch(r"[\w./-]+", short) else repr(short)


def expand(text: str, environ: Mapping[str, str], *, shown: bool = True) -> tuple[str, list[str]]:
    """Replace ``${NAME}`` and ``$$`` in a text; return it with a sentence for each thing that is wrong.

    No sentence names a variable where ``shown`` is false.
    """
    wrong: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1]
        if name is None:
            wrong.append("`${` begins the name of an environment variable, as in ${NAME}; write $$ for a dollar")
            return ""
        value = environ.get(name)
        variable = f"environment variable {name}" if shown else "the environment variable named here"
        if value is None:
            itself = f"$${{{name}}}" if shown else "$${...}"
            wrong.append(f"{variable} is not set; set it, or write {itself} for the text itself")
            return ""
        if not _is_utf8(value):
            wrong.append(f"{variable} is not valid UTF-8")
        return value

    return _DOLLAR.sub(replacement, text), wrong


def _is_utf8(text: str) -> bool:
    # os.environ hides bytes that are not UTF-8 in surrogates, which no answer of ours could be encoded with.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read(file: str, environ: Mapping[str, str]) -> Document:
    """Read a YAML file; whatever is wrong with it is in the document's ``problems``."""
    document = Document(file)
    try:
        data = read_file(file, _LARGEST_FILE)
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


class _Stop(Exception):
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
            for event in _events(data):
                handle = handlers.get(type(event))
                if handle is not None:
                    self.line = event.start_mark.line + 1
                    handle(event)
        except _Stop:
            self.document.value = None
        except _SyntaxProblem as error:
            self.document.value = None
            line, sentence = error.line(data), str(error)
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
            if plain and text == "<<":
                self.key("<<")
                return
            if not isinstance(value, str):
                self.report("YAML does not read this key as a text; put it in quotes", text)
            self.key(text)
            return
        if event.tag not in _TAGS:
            self.report("a YAML tag (`!...`) has no meaning here; put a text that starts with `!` in quotes")
            value = UNREADABLE
        elif "$" in text:
            # What stands in the braces may be the key itself.
            value, wrong = expand(text, self.environ, shown=frame is None or frame.key not in KEY_FIELDS)
            for sentence in wrong:
                self.report(sentence)
            if wrong:
                value = UNREADABLE
        if event.anchor:
            self.anchors[event.anchor] = value
        self.add(value)

    def key(self, key: str) -> None:
        frame = self.stack[-1]
        lines = cast("dict[str, int]", frame.value.lines)  # only mappings have keys
        if key in lines:
            self.report(f"duplicate key, first on line {lines[key]}; keep one of them", key)
        else:
            lines[key] = self.line
        frame.key = key

    def open(self, event: Any) -> None:
        if self.stack and self.stack[-1].key is None and isinstance(self.stack[-1].value, Map):
            self.stop("a key must be a text, not a list or a mapping; put `{{ }}` and the like in quotes")
        if len(self.stack) >= _DEEPEST:
            self.stop(f"nested more than {_DEEPEST} levels deep")
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
        self.add(frame.value)

    def alias(self, event: Any) -> None:
        if self.stack and self.stack[-1].key is None and isinstance(self.stack[-1].value, Map):
            self.stop("a key must be a text, not an alias; put a text that starts with `*` in quotes")
        if event.anchor not in self.anchors:
            self.stop("alias to an anchor that is not defined above; put a text that starts with `*` in quotes")
        value = self.anchors[event.anchor]
        self.count(getattr(value, "size", 1))
        self.add(value)

    def count(self, values: int) -> None:
        self.aliased += values
        if self.aliased > _MOST_ALIASED:
            self.stop(f"aliases repeat more than {_MOST_ALIASED} values")

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

    def add(self, value: Any) -> None:
        if not self.stack:
            self.document.value = value
            return
        frame = self.stack[-1]
        container = frame.value
        if isinstance(container, Seq):
            container.append(value)
            container.lines.append(self.line)
            container.size += getattr(value, "size", 1)
            return
        key, frame.key = frame.key, None
        if key == "<<" and isinstance(value, (Map, Seq)):
            frame.merges.append(value)
            container.lines.pop(key, None)
        elif key is not None and key not in container:
            container[key] = value
            container.size += getattr(value, "size", 1)

    def report(self, message: str, key: str | None = None) -> None:
        self.document.problems.append(Problem(self.document.file, self.line, show(self.path(key)), message))

    def stop(self, message: str) -> None:
        self.report(message)
        raise _Stop

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


class _SyntaxProblem(Exception):
    """The YAML parser's own complaint."""

    def __init__(self, sentence: str, line: int | None, offset: int) -> None:
        super().__init__(sentence)
        self._line = line
        self._offset = offset

    def line(self, data: bytes) -> int:
        return data.count(b"\n", 0, self._offset) + 1 if self._line is None else self._line


def _events(data: bytes) -> Iterator[Any]:
    try:
        next_event = _LOADER(data).get_event
        event = None
        while type(event) is not yaml.StreamEndEvent:
            event = next_event()
            yield event
    except yaml.reader.ReaderError as error:
        raise _SyntaxProblem(f"not YAML: {error.reason}", None, int(error.position)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sentence = f"not YAML: {error.problem or error.context}"
        if error.context and error.problem:
            sentence += f" ({error.context})"
        sentence += next((hint for word, hint in _HINTS.items() if word in sentence), "")
        raise _SyntaxProblem(sentence, mark.line + 1 if mark else 1, 0) from None
