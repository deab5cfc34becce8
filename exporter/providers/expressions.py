"""JMESPath expressions over a decoded response, each compiled once.

A plain path such as ``data.credits.total`` is walked without the library. That is faster, and it can tell a field that
was not sent from a block of the wrong type. No message holds a value of the response, because that might be a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import jmespath
from jmespath import exceptions, functions, lexer, visitor

MAX_CHARACTERS = 1024
"""Characters of an expression."""

_NAMES = 10
"""Fields of a response that a message names."""
_REFUSED = {
    "sum": "of nothing would be 0, which is a balance that alerts. Select the list and write `list: sum`",
    "avg": "has no use here. Select the list and write `list: sum`, `list: min` or `list: max`",
    "to_number": "takes texts that are no numbers. Leave it out, because a text with a JSON number counts as one",
}


class UnreadableField(Exception):
    """A response has something of the wrong type here. ``where`` is the vendor's path to it, where it is known."""

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why)
        self.where = where


class _Functions(functions.Functions):  # type: ignore[misc]  # the library has no types
    """The functions of JMESPath and ``items``, which makes a list of the entries of an object."""

    @functions.signature({"types": ["object", "null"]})  # type: ignore[untyped-decorator]  # the library has no types
    def _func_items(self, value: Mapping[str, object] | None) -> list[dict[str, object]] | None:
        return None if value is None else [{"key": key, "value": item} for key, item in value.items()]


# One for all, because a new one for each search costs more than the search. It keeps nothing of a document.
_INTERPRETER: Any = visitor.TreeInterpreter(visitor.Options(custom_functions=_Functions()))


class Expression:
    """A compiled expression."""

    __slots__ = ("_parsed", "path", "source")

    def __init__(self, source: str) -> None:
        """Raise ValueError with what is wrong and what would be right."""
        if len(source) > MAX_CHARACTERS:
            raise ValueError(f"is an expression of more than {MAX_CHARACTERS} characters")
        try:
            _check_comparisons(source)
            self._parsed: Any = jmespath.compile(source).parsed
            self.path = _plain_path(self._parsed)
            for node in _nodes(self._parsed):
                _check_function(node)
        except RecursionError:
            raise ValueError("is an expression that is nested too deeply") from None
        except exceptions.EmptyExpressionError:
            raise ValueError("is an empty expression. Write the path of a field, such as data.balance") from None
        except exceptions.LexerError as error:
            raise ValueError(_located(error.lexer_position, _hint(source))) from None
        except exceptions.ParseError as error:
            raise ValueError(_located(error.lex_position, _hint(source))) from None
        self.source = source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def of(self, document: object) -> object:
        """Return what the expression selects, None where that is absent. Raise UnreadableField."""
        if self.path is None:
            return self._searched(document)
        value = document
        for depth, name in enumerate(self.path):
            if value is None:
                return None
            if not isinstance(value, dict):
                raise UnreadableField(
                    f"must be an object, not {kind(value)}", ".".join(self.path[:depth]) or "(response)"
                )
            value = value.get(name)
        return value

    def is_sent(self, document: object) -> bool:
        """Return whether the field of a plain path is in the response, null or not. Other expressions count as sent."""
        value = document
        for name in self.path or ():
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        return True

    def why_absent(self, document: object, whole: str) -> str:
        """Return in words where a plain path ends in the whole, or nothing where that is not known."""
        value, walked = document, whole
        for name in self.path or ():
            if not isinstance(value, dict):
                break
            if name not in value:
                there = ", ".join([*value][:_NAMES]) + (", …" if len(value) > _NAMES else "")
                return f"{walked} has no {name}" + (f". It has {there}" if there else "")
            value, walked = value[name], name
        return f"{walked} is null" if self.path and value is None else ""

    def holds(self, document: object) -> bool:
        """Return whether the expression gives true, and nothing else."""
        try:
            return self.of(document) is True
        except UnreadableField:
            return False

    def _searched(self, document: object) -> object:
        try:
            return _INTERPRETER.visit(self._parsed, document)
        except exceptions.JMESPathTypeError as error:
            name = error.function_name
            raise UnreadableField(f"{name}() does not take {error.actual_type}") from None
        except (exceptions.JMESPathError, TypeError, ValueError, RecursionError, OverflowError, AttributeError):
            raise UnreadableField("the expression cannot be evaluated over this response") from None


def kind(value: object) -> str:
    """Return in words what a JSON value is, without the value."""
    names = {
        bool: "true or false",
        dict: "an object",
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _plain_path(node: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of a path that has names alone."""
    if node["type"] == "field":
        return (str(node["value"]),)
    if node["type"] != "subexpression":
        return None
    names: list[str] = []
    for child in node["children"]:
        path = _plain_path(child)
        if path is None:
            return None
        names += path
    return tuple(names)


def _nodes(node: object) -> Iterator[Mapping[str, Any]]:
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, Mapping):
            yield one
            todo += one.get("children", ())


def _check_function(node: Mapping[str, Any]) -> None:
    if node["type"] != "function_expression":
        return
    name, known = node["value"], _Functions.FUNCTION_TABLE
    if name in _REFUSED:
        raise ValueError(f"must not use {name}(), because it {_REFUSED[name]}")
    if name not in known:
        raise ValueError(f"uses an unknown function. Known are {', '.join(sorted({*known} - {*_REFUSED}))}")
    wanted, given = known[name]["signature"], len(node["children"])
    is_open = bool(wanted) and wanted[-1].get("variadic")
    if given < len(wanted) or (given > len(wanted) and not is_open):
        raise ValueError(f"gives {name}() {given} arguments, but it takes {len(wanted)}{' or more' if is_open else ''}")


_COMPARATORS = ("eq", "ne", "lt", "lte", "gt", "gte")
_WORDS = ("true", "false")  # a field named null is not there, so null compares as it is meant


def _check_comparisons(source: str) -> None:
    """Refuse what is meant as a literal and names a field, because such a comparison is never true."""
    tokens = [(token["type"], token["value"]) for token in lexer.Lexer().tokenize(source)]
    for (kind_before, before), (kind_after, after) in pairwise(tokens):
        if kind_before in _COMPARATORS and kind_after == "quoted_identifier":
            raise ValueError("compares with a field, because double quotes hold a name. Put a text in single quotes")
        word = after if kind_before in _COMPARATORS else before if kind_after in _COMPARATORS else None
        if word in _WORDS and "unquoted_identifier" in (kind_before, kind_after):
            raise ValueError(f"compares with a field named {word}. Put a literal in backquotes, as in ok == `{word}`")


_ARITHMETIC = re.compile(r"[\w)\]] *[*/+] *[\w(`]|[\w)\]] +- +[\w(`]")
_BARE_NUMBER = re.compile(r"[=<>]\s*-?[0-9]")


def _located(position: int, hint: str) -> str:
    return f"is not a JMESPath expression, the mistake is at character {position + 1}{hint}"


def _hint(source: str) -> str:
    if source.lstrip().startswith(("$", ".")):
        return ". A path begins with a name, as in data.balance"
    if _ARITHMETIC.search(source):
        return ". There is no arithmetic. `scale` multiplies, and `limit` and `used` are subtracted by themselves"
    if _BARE_NUMBER.search(source):
        return ". A number in a comparison stands in backquotes, as in code == `200`"
    if "-" in source and '"' not in source:
        return '. A name with a hyphen stands in double quotes, as in data."credits-left"'
    return ". A name with other characters than letters, digits and _ stands in double quotes"
