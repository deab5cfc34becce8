"""The tests that docs/reliability.md and SECURITY.md name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/reliability.md", "SECURITY.md")


@pytest.fixture(scope="module")
def defined() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"^\s*(?:def |class )?(test_\w+|Test\w+)(?: =|[(:])", text, re.MULTILINE))


def code_of(document: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", (ROOT / document).read_text())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document: str, defined: set[str]) -> None:
    named = {code for code in code_of(document) if re.fullmatch(r"test_\w+|Test\w+", code)}
    assert named - defined == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_file_that_is_named_exists(document: str) -> None:
    paths = {code for code in code_of(document) if code.startswith("tests/")}
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_table_names_many_tests(defined: set[str]) -> None:
    assert len(set(code_of("docs/reliability.md")) & defined) > 50
