"""Checks a block of a configuration file against its model, and says of each mistake what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import ValidationError

from exporter.config.block import Block
from exporter.config.document import UNREADABLE, Path
from exporter.config.rules import kind

_Model = TypeVar("_Model", bound=Block)


@dataclass(frozen=True, slots=True)
class Checked(Generic[_Model]):
    """The correct part of a block, and its ``mistakes`` as pairs of path and message.

    ``bad`` has the paths whose values are not what the user wrote. No further mistake is reported for them.
    """

    model: _Model
    mistakes: tuple[tuple[Path, str], ...] = ()
    bad: frozenset[Path] = frozenset()

    def hits(self, *path: str) -> bool:
        """Return whether a value, a value inside it or a block around it is bad."""
        return bool(self.bad) and any(one[: len(path)] == path[: len(one)] for one in self.bad)


def check(model: type[_Model], raw: Mapping[str, Any], stand_ins: Mapping[str, Any]) -> Checked[_Model]:
    """Check a block against its model. ``stand_ins`` replace required keys that are wrong."""
    try:
        return Checked(model.model_validate(raw))
    except ValidationError as error:
        errors = error.errors(include_url=False)
    mistakes: list[tuple[Path, str]] = []
    bad: set[Path] = set()
    left: dict[str, Any] = dict(raw)
    for one in errors:
        if one["type"] == "extra_forbidden":
            *inside, name = one["loc"]
            if meant := close(str(name), _keys(_block_at(model, inside))):
                bad.add((*inside, meant))
    meant_paths = frozenset(bad)
    for one in errors:
        path = tuple(step for step in one["loc"] if step != "[key]")
        pruned = _goes(model, path[: next((i for i, step in enumerate(path) if isinstance(step, int)), len(path))])
        left = _without(left, pruned)
        bad.add(pruned)
        if one["input"] is UNREADABLE or (one["type"] == "missing" and path in meant_paths):
            continue
        mistakes.append((path, _sentence(model, one)))
    for name, value in stand_ins.items():
        left.setdefault(name, value)
    return Checked(model.model_validate(left), tuple(mistakes), frozenset(bad))


def read(model: type[_Model], raw: Mapping[str, Any]) -> tuple[_Model | None, list[tuple[Path, str]]]:
    """Return a block that is whole, or None with its mistakes as pairs of path and message."""
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    mistakes: list[tuple[Path, str]] = []
    for one in errors:
        if one["input"] is not UNREADABLE:
            path = tuple(step for step in one["loc"] if step != "[key]")
            mistakes.append((path, _sentence(model, one)))
    return None, mistakes


def _goes(model: type[Block], path: Path) -> Path:
    """Return what has to go with a bad value: the whole block, where the key is required in it."""
    *inside, name = path
    field = _block_at(model, inside).model_fields.get(str(name)) if inside else None
    return _goes(model, tuple(inside)) if field is not None and field.is_required() else path


def _without(block: Mapping[str, Any], path: Path) -> dict[str, Any]:
    first, *rest = path
    inner = block.get(str(first))
    if rest and isinstance(inner, Mapping):
        return {**block, str(first): _without(inner, tuple(rest))}
    return {key: value for key, value in block.items() if key != first}


def _sentence(model: type[Block], error: Mapping[str, Any]) -> str:
    """Return a message for one of pydantic's errors that says what would be right."""
    what = error["type"]
    if what == "value_error":
        return str(error["ctx"]["error"])
    if what == "missing":
        return "is missing"
    if what == "extra_forbidden":
        *inside, name = error["loc"]
        return unknown("key", str(name), _keys(_block_at(model, inside)))
    found = kind(error["input"])
    if what == "list_type":
        return f"must be a list (`[a, b]`, or lines with `- `), not {found}"
    return f"must be a mapping (lines with `key: value`), not {found}"


def _keys(model: type[Block]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _block_at(model: type[Block], path: Iterable[str | int]) -> type[Block]:
    is_chosen = False  # by the user, as a name of a mapping. It may equal a key of a block
    for step in path:
        field = None if is_chosen else model.model_fields.get(str(step))
        is_chosen = field is not None and _is_mapping(field.annotation)
        if field is not None:  # else it is such a name, or an index
            model = next(_blocks(field.annotation), model)
    return model


def _is_mapping(annotation: object) -> bool:
    return get_origin(annotation) is dict or any(_is_mapping(inner) for inner in get_args(annotation))


def _blocks(annotation: object) -> Iterator[type[Block]]:
    """Yield the models in an annotation such as ``Poll | None`` or ``list[Poll]``."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
    for inner in get_args(annotation):
        yield from _blocks(inner)


def close(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar, or None."""
    names = {one.lower(): one for one in known}
    return next((names[found] for found in get_close_matches(name[:64].lower(), list(names), n=1)), None)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return a message for an unknown name, which it does not repeat."""
    name, colon, _ = name.partition(":")  # without a space after it, YAML takes the value for a part of the key
    meant = close(name, known)
    if meant is None:
        return f"unknown {what}; known are {', '.join(sorted(known))}"
    return f"unknown {what}; did you mean {meant}{', with a space after the colon' * bool(colon)}?"
