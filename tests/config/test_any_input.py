"""Any content of a file gives a configuration or a list of problems."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import schema
from exporter.config.file_schema import ConfigFile
from exporter.config.load import load
from exporter.errors import ConfigError, Problem
from exporter.providers import PROVIDERS

UNHURRIED = settings(deadline=None)  # a busy machine is no failure
ENVIRON = {"KEY": secrets.token_hex(16)}
GOOD = {"name": "media", "provider": "vidnavigator", "api_key_env": "KEY"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["5m", "20%", "usage", "${KEY}", "${NO}", "https://a.example", "x" * 300])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
)
BLOCKS = (ConfigFile, schema.AccountBlock, schema.Credits)
names = st.sampled_from(sorted({name for block in BLOCKS for name in block.model_fields}))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | scalars, inner, max_size=4),
    max_leaves=8,
)


def check(data: bytes) -> None:
    """Load a file; a refusal must place each problem in it, on a line that it has."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.yaml"
        path.write_bytes(data)
        problems: tuple[Problem, ...] = ()
        try:
            config = load(path, PROVIDERS, ENVIRON)
        except ConfigError as error:
            problems = error.problems
        assert problems or config.accounts
        for problem in problems:
            assert problem.file == str(path)
            assert problem.line is not None
            assert 1 <= problem.line <= len(data.splitlines()) + data.count(b"\xe2") + data.count(b"\x85") + 1
            assert "\n" not in str(problem)


@UNHURRIED
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    check(data)


@UNHURRIED
@given(st.text("abk: -[]{},&*!|>'\"%@`#?\n\t~$<0", max_size=60))
def test_any_text_of_yaml_signs(text: str) -> None:
    check(b"accounts:\n" + text.encode())


@UNHURRIED
@given(st.dictionaries(names, values, max_size=5))
def test_any_values_under_the_keys_of_an_account(account: dict[str, object]) -> None:
    check(yaml.safe_dump({"accounts": [{**GOOD, **account}]}).encode())


@UNHURRIED
@given(st.dictionaries(names, values, max_size=5))
def test_any_values_under_the_keys_of_the_file(document: dict[str, object]) -> None:
    check(yaml.safe_dump({"accounts": [GOOD], **document}, allow_unicode=True).encode())
