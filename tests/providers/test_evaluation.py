"""Expressions give what the library's own interpreter gives, or fail as it fails."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath import exceptions, visitor

from exporter.providers.evaluation import Functions, evaluation

INTERPRETER: Any = visitor.TreeInterpreter(visitor.Options(custom_functions=Functions()))
DOCUMENTS = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 0.0, -1, 2.5, "", "a", "1", "text"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return larger expressions made of smaller ones."""
    comparators = st.sampled_from(["==", "!=", "<", ">=", "||", "&&"])
    functions = st.sampled_from(
        [
            "type",
            "length",
            "keys",
            "values",
            "items",
            "to_array",
            "to_string",
            "not_null",
            "max",
            "sort",
            "reverse",
            "abs",
        ]
    )
    return st.one_of(
        st.builds("({} {} {})".format, inner, comparators, inner),
        st.builds("{}.{}".format, inner, st.sampled_from(["a", "b", "*", "[a, b]", "{x: a, y: @}"])),
        st.builds("{}{}".format, inner, st.sampled_from(["[0]", "[-1]", "[5]", "[]", "[*]", "[*].a", "[:2]", "[?a]"])),
        st.builds("{}[?{}]".format, inner, inner),
        st.builds("{} | {}".format, inner, inner),
        st.builds("!{}".format, inner),
        st.builds("{}({})".format, functions, inner),
        st.builds("{}({}, {})".format, st.sampled_from(["contains", "starts_with", "join", "not_null"]), inner, inner),
        st.builds("{}(&{}, {})".format, st.sampled_from(["map", "sort_by"]), inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
    )


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "c", "@", "'a'", "''", "`0`", "`1`", "`true`", "`null`", "`[]`", "'1'"]),
    joined,
    max_leaves=6,
)


def outcome(evaluate: Any, document: object) -> str:
    """Return what an evaluation gives, with the type of each value, or the class of its error."""
    try:
        return repr(evaluate(document))
    except (exceptions.JMESPathError, TypeError, ValueError, AttributeError) as error:
        return type(error).__name__


@settings(max_examples=500, deadline=None)
@given(expression=EXPRESSIONS, document=DOCUMENTS)
def test_any_expression_over_any_response_gives_what_the_library_gives(expression: str, document: object) -> None:
    try:
        parsed = jmespath.compile(expression).parsed
    except exceptions.JMESPathError:
        return
    assert outcome(evaluation(parsed), document) == outcome(lambda it: INTERPRETER.visit(parsed, it), document)


@pytest.mark.parametrize(
    ("expression", "document", "value"),
    [
        ("a == `1`", {"a": True}, False),
        ("a == `true`", {"a": 1}, False),
        ("a || 'none'", {"a": 0}, 0),
        ("a && 'some'", {"a": []}, []),
        ("[?a != `0`].a", [{"a": False}, {"a": 0}, {}], [False]),
        ("a[1]", {"a": "text"}, None),
        ("items(a)[0].value", {"a": {"k": 5}}, 5),
    ],
)
def test_what_python_would_mix_up_stays_apart(expression: str, document: object, value: object) -> None:
    assert repr(evaluation(jmespath.compile(expression).parsed)(document)) == repr(value)
