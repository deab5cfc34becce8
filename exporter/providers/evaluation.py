"""Evaluates parsed JMESPath with functions that are made once for each expression.

The library's interpreter looks every node up again at each evaluation, which took 40 % of the CPU time of reading a
response. The nodes that definitions use become functions here. The interpreter of the library evaluates any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jmespath import functions, visitor

Evaluate = Callable[[Any], Any]
"""Returns what a part of an expression selects of a value. Raises what the library raises."""
Node = Mapping[str, Any]


class Functions(functions.Functions):  # type: ignore[misc]  # the library has no types
    """The functions of JMESPath and ``items``, which makes a list of the entries of an object."""

    @functions.signature({"types": ["object", "null"]})  # type: ignore[untyped-decorator]  # the library has no types
    def _func_items(self, value: Mapping[str, object] | None) -> list[dict[str, object]] | None:
        return None if value is None else [{"key": key, "value": item} for key, item in value.items()]


# One for all, because a new one for each search costs more than the search. It keeps nothing of a document.
_FUNCTIONS = Functions()
_INTERPRETER: Any = visitor.TreeInterpreter(visitor.Options(custom_functions=_FUNCTIONS))
_EQUAL: Callable[[object, object], bool] = _INTERPRETER.COMPARATOR_FUNC["eq"]


def evaluation(node: Node) -> Evaluate:
    """Return the function that evaluates a parsed expression."""
    make = _MAKERS.get(node["type"])
    return _interpreted(node) if make is None else make(node)


def _interpreted(node: Node) -> Evaluate:
    def interpreted(value: Any) -> Any:
        return _INTERPRETER.visit(node, value)

    return interpreted


def _is_false(value: Any) -> bool:
    """Return whether a value is null, false or empty. A 0 is none of these."""
    return not value and (value is False or not isinstance(value, (int, float)))


def _equal(left: Any, right: Any) -> bool:
    # Only numbers and flags need the library's care, because 1 is no true.
    return bool(left == right if type(left) is str or type(right) is str else _EQUAL(left, right))


def _field(node: Node) -> Evaluate:
    name = node["value"]

    def field(value: Any) -> Any:
        return value.get(name) if isinstance(value, dict) else None

    return field


def _chain(node: Node) -> Evaluate:
    steps = [evaluation(child) for child in node["children"]]
    if len(steps) == 2:
        first, second = steps
        return lambda value: second(first(value))

    def chain(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return chain


def _index(node: Node) -> Evaluate:
    position = node["value"]

    def index(value: Any) -> Any:
        if not isinstance(value, list):
            return None
        return value[position] if -len(value) <= position < len(value) else None

    return index


def _literal(node: Node) -> Evaluate:
    constant = node["value"]
    return lambda _value: constant


def _same(_node: Node) -> Evaluate:
    return lambda value: value


def _comparator(node: Node) -> Evaluate:
    if node["value"] not in ("eq", "ne"):
        return _interpreted(node)
    left, right = map(evaluation, node["children"])
    if node["value"] == "eq":
        return lambda value: _equal(left(value), right(value))
    return lambda value: not _equal(left(value), right(value))


def _or(node: Node) -> Evaluate:
    left, right = map(evaluation, node["children"])

    def either(value: Any) -> Any:
        found = left(value)
        return right(value) if _is_false(found) else found

    return either


def _and(node: Node) -> Evaluate:
    left, right = map(evaluation, node["children"])

    def both(value: Any) -> Any:
        found = left(value)
        return found if _is_false(found) else right(value)

    return both


def _select_list(node: Node) -> Evaluate:
    parts = [evaluation(child) for child in node["children"]]
    return lambda value: None if value is None else [part(value) for part in parts]


def _projection(node: Node) -> Evaluate:
    base, right = map(evaluation, node["children"])

    def projection(value: Any) -> Any:
        found = base(value)
        if not isinstance(found, list):
            return None
        return [item for item in map(right, found) if item is not None]

    return projection


def _filter(node: Node) -> Evaluate:
    base, right, condition = map(evaluation, node["children"])

    def filtered(value: Any) -> Any:
        found = base(value)
        if not isinstance(found, list):
            return None
        kept = [right(item) for item in found if not _is_false(condition(item))]
        return [item for item in kept if item is not None]

    return filtered


def _function(node: Node) -> Evaluate:
    name, known = node["value"], _FUNCTIONS.FUNCTION_TABLE.get(node["value"])
    arguments = [evaluation(child) for child in node["children"]]
    types = None if known is None else _types(known["signature"], len(arguments))
    if known is None or types is None:
        return lambda value: _FUNCTIONS.call_function(name, [argument(value) for argument in arguments])
    call = known["function"]

    def function(value: Any) -> Any:
        given = [argument(value) for argument in arguments]
        for one, allowed in zip(given, types, strict=True):
            if allowed and type(one).__name__ not in allowed:
                return _FUNCTIONS.call_function(name, given)  # which says what is wrong
        return call(_FUNCTIONS, *given)

    return function


def _types(signature: list[Mapping[str, Any]], count: int) -> list[frozenset[str]] | None:
    """Return the names of the Python types that each argument may have. None leaves the check to the library."""
    wanted = [part["types"] for part in signature]
    if signature and signature[-1].get("variadic"):
        wanted += wanted[-1:] * (count - len(wanted))
    if len(wanted) != count or any("-" in name or name == "expref" for names in wanted for name in names):
        return None
    return [frozenset(type_ for name in names for type_ in functions.REVERSE_TYPES_MAP[name]) for names in wanted]


_MAKERS: Mapping[str, Callable[[Node], Evaluate]] = {
    "field": _field,
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "index": _index,
    "literal": _literal,
    "current": _same,
    "identity": _same,
    "comparator": _comparator,
    "or_expression": _or,
    "and_expression": _and,
    "multi_select_list": _select_list,
    "projection": _projection,
    "filter_projection": _filter,
    "function_expression": _function,
}
