"""Rules for the code beside the import contracts in pyproject.toml."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "exporter"

# More than these needs a reason on the line where it begins: `# long because ...` or `# wide because ...`.
LINES = {"module": 350, "class": 200, "function": 45}
PARAMETERS = 7
REASON = re.compile(r"# (long|wide) because (\S+ ){4,}\S+\.$")


def too_big(name: str, source: str) -> Iterator[tuple[str, int]]:
    """Yield what is over a limit without a reason, and its size."""
    lines = source.splitlines()
    if len(lines) > LINES["module"] and not reason(lines[0], "long"):
        yield name, len(lines)
    yield from too_big_inside(ast.parse(source), lines, name + " ")


def too_big_inside(node: ast.AST, lines: list[str], prefix: str) -> Iterator[tuple[str, int]]:
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from too_big_inside(inner, lines, prefix)
            continue
        first, length = lines[inner.lineno - 1], (inner.end_lineno or 0) - inner.lineno + 1
        kind = "class" if isinstance(inner, ast.ClassDef) else "function"
        if length > LINES[kind] and not reason(first, "long"):
            yield prefix + inner.name, length
        if not isinstance(inner, ast.ClassDef) and parameters(inner) > PARAMETERS and not reason(first, "wide"):
            yield f"{prefix}{inner.name} parameters", parameters(inner)
        yield from too_big_inside(inner, lines, f"{prefix}{inner.name}.")


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    named = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def reason(line: str, word: str) -> bool:
    found = REASON.search(line)
    return found is not None and found[1] == word


def test_every_module_class_and_function_over_the_limit_has_a_reason() -> None:
    found: dict[str, int] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(too_big(str(path.relative_to(PACKAGE)), path.read_text()))
    assert found == {}


def a_class(lines: int, comment: str = "") -> str:
    return f"class A:{comment}\n" + "    x = 1\n" * (lines - 1)


def a_method(lines: int, comment: str = "", arguments: int = 1) -> str:
    names = ", ".join(["self", *(f"a{number}" for number in range(arguments))])
    return f"class A:\n    def f({names}):{comment}\n" + "        x = 1\n" * (lines - 1)


def test_a_limit_is_exceeded_by_the_first_line_over_it() -> None:
    assert list(too_big("m", "x = 1\n" * 350)) == []
    assert list(too_big("m", "x = 1\n" * 351)) == [("m", 351)]
    assert list(too_big("m", a_class(200))) == []
    assert list(too_big("m", a_class(201))) == [("m A", 201)]
    assert list(too_big("m", a_method(45, arguments=7))) == []
    assert list(too_big("m", a_method(46, arguments=8))) == [("m A.f", 46), ("m A.f parameters", 8)]


def test_only_a_sentence_that_begins_with_because_is_a_reason() -> None:
    long, wide = "  # long because all of it is one table.", "  # wide because each is a field of the response."
    assert list(too_big("m", long.strip() + "\n" + "x = 1\n" * 351)) == []
    assert list(too_big("m", a_class(201, long))) == []
    assert list(too_big("m", a_method(46, long))) == []
    assert list(too_big("m", a_method(9, wide, 8))) == []
    for none in (wide, "  # long", "  # long because.", "  # long because of it.", long.rstrip(".")):
        assert list(too_big("m", a_class(201, none))) == [("m A", 201)]


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_a_vendor_is_named_only_in_providers_and_the_demo() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ("providers", "demo"):
            continue
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & {"videodb", "vidnavigator"}, path


MEASURE = re.compile(r"(^|_)(AGE|DEADLINE|DELAY|DURATION|LARGEST|LIFETIME|LONGEST|PAUSE|TIMEOUT|WAIT)(_|$)")
UNIT = re.compile(r"(^|_)(BYTES|CHARACTERS|DAYS|HOURS|MINUTES|MS|SECONDS)(_|$)")


def unnamed_units(source: str) -> list[str]:
    """Return the numbers of a module that measure a time or a size and do not name the unit."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        parts = [one for one in ast.walk(node.value) if isinstance(one, ast.expr) and not isinstance(one, ast.BinOp)]
        if not all(isinstance(one, ast.Constant) and isinstance(one.value, (int, float)) for one in parts):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        found += [one.id.upper() for one in targets if isinstance(one, ast.Name)]
    return [name for name in found if MEASURE.search(name) and not UNIT.search(name)]


def test_a_number_that_measures_a_time_or_a_size_names_its_unit() -> None:
    assert unnamed_units("TIMEOUT = 5.0\nclass A:\n    max_age: float = 2 * 60\n") == ["TIMEOUT", "MAX_AGE"]
    assert unnamed_units("TIMEOUT_SECONDS = 5.0\nMAX_AGES = 3\nPAUSE = Rule('x', 1)\nWAIT = 'a text'\n") == []
    assert {path.name: found for path in PACKAGE.rglob("*.py") if (found := unnamed_units(path.read_text()))} == {}
