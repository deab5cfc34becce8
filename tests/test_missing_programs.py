"""A test whose program is missing is skipped with its name, and fails in CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import pytest_runtest_setup

TESTS = Path(__file__).parent
HOW = "no-such-program is missing: get it with `scripts/tools no-such-program`"


def test_a_test_is_skipped_without_its_program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    request.node.add_marker(pytest.mark.needs("no-such-program"))
    with pytest.raises(pytest.skip.Exception, match=HOW):
        pytest_runtest_setup(request.node)


def test_in_ci_it_fails(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    request.node.add_marker(pytest.mark.needs("no-such-program"))
    with pytest.raises(pytest.fail.Exception, match=HOW):
        pytest_runtest_setup(request.node)


def test_make_test_brings_every_program_that_a_test_needs() -> None:
    marks = re.findall(r"mark\.needs\((.+)\)", "\n".join(path.read_text() for path in TESTS.rglob("test_*.py")))
    needed = {program for mark in marks for program in re.findall(r'"([\w-]+)"', mark)}
    [brought] = re.findall(r"(?m)^TEST_TOOLS := (.+)$", (TESTS.parent / "Makefile").read_text())
    assert needed - {"no-such-program"} == set(brought.split())
