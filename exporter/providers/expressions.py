"""JMESPath expressions over a decoded response, each compiled once.

A plain path such as ``data.credits.total`` is walked without the library. That is faster, and it can tell a field that
was not sent from a block of the wrong type. No message holds a value of the response, because that might be a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import jmespath
from jmespath import exceptions, functions, lexer, visitor

MAX_CHARACTERS = 1024
"""Characters of an expression."""
MAX_GROWTH = 64
"""How many times an expression may select each part of a response."""
_MAX_JOINED = 1 << 20
"""Characters that ``join`` may make."""

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

    @functions.signature({"types": ["string", "number", "boolean", "null"]})  # type: ignore[untyped-decorator]  # the library has no types
    def _func_to_string(self, value: str | float | bool | None) -> str | None:
        # A list or an object is refused, because each further text of a text doubles its quotes.
        return value if value is None or isinstance(value, str) else json.dumps(value)

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]  # the library has no types
    def _func_join(self, between: str, texts: list[str]) -> str:
        if sum(map(len, texts)) + len(between) * len(texts) > _MAX_JOINED:
            raise ValueError("the text is too long")
        return between.join(texts)


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
            _growth(self._parsed)
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
            given = _WORDS_OF.get(error.actual_type, "this value")
            raise UnreadableField(f"gives {error.function_name}() {given}, which it does not take") from None
        except (exceptions.JMESPathError, TypeError, ValueError, RecursionError, OverflowError, AttributeError):
            raise UnreadableField("is an expression that cannot be evaluated over this response") from None


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


_WORDS_OF = {
    **dict.fromkeys(("string", "str"), "a text"),
    **dict.fromkeys(("number", "int", "float"), "a number"),
    **dict.fromkeys(("boolean", "bool"), "true or false"),
    **dict.fromkeys(("array", "list"), "a list"),
    **dict.fromkeys(("object", "dict"), "an object"),
    **dict.fromkeys(("null", "NoneType"), "null"),
}
"""What the library calls a value, which is Python's name where a list holds it, in words."""


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


def _growth(node: Mapping[str, Any]) -> int:
    """Return how many times a part of the input can be in the result. Raise ValueError where that may fill memory."""
    children = [child for child in node.get("children", ()) if isinstance(child, Mapping)]
    factors = [_growth(child) for child in children]
    match node["type"]:
        case "literal":
            growth = _values(node["value"])
        case "comparator" | "not_expression":
            growth = 1
        case "or_expression" | "and_expression":
            growth = max(factors)
        case "multi_select_list" | "multi_select_dict":
            growth = sum(factors)
        case "filter_projection":
            growth = factors[0] * factors[1]  # the third is the condition
        case "function_expression":
            growth = _of_function(node["value"], children, factors)
        case _:
            growth = prod(factors)
    if growth > MAX_GROWTH:
        raise ValueError(
            f"may repeat a part of the response more than {MAX_GROWTH} times. Leave out some of the lists and objects "
            "that it makes one of another"
        )
    return growth


def _of_function(name: str, children: Sequence[Mapping[str, Any]], factors: Sequence[int]) -> int:
    if name in _SCALARS:
        return 1
    if any(child["type"] == "expref" for child in children):
        return prod(factors)
    return sum(factors) * (2 if name == "items" else 1)


def _values(literal: object) -> int:
    """Return how many values a literal has, with those inside of it."""
    inside = literal.values() if isinstance(literal, dict) else literal if isinstance(literal, list) else ()
    return 1 + sum(map(_values, inside))


_SCALARS = ("contains", "ends_with", "length", "starts_with", "to_string", "type")
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
