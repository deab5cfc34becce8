"""Any content of the web configuration gives a configuration or a list of problems."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ConfigError, Problem
from exporter.web import config_schema
from exporter.web.config import load

UNHURRIED = settings(deadline=None)  # a busy machine is no failure

BLOCKS = (
    config_schema.WebFile,
    config_schema.Tls,
    config_schema.Http,
    config_schema.Headers,
    config_schema.Rate,
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["1s", "0", "TLS13", "X25519", "web.yml", ".", "${SET}", "${NO}", "RequireAndVerifyClientCert"])
    | st.sampled_from(["TLS_AES_128_GCM_SHA256", "x" * 300, "$2b$04$" + "a" * 53])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
)
names = st.sampled_from(sorted({field.alias or name for block in BLOCKS for name, field in block.model_fields.items()}))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | scalars, inner, max_size=4),
    max_leaves=12,
)


def check(document: object) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "web.yml"
        path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        problems: tuple[Problem, ...] = ()
        try:
            load(path, {"SET": "TLS12"})
        except ConfigError as error:
            problems = tuple(error.problems)
            assert problems
        for problem in problems:
            assert problem.file == str(path)
            assert problem.line is not None
            assert "\n" not in str(problem)


@UNHURRIED
@given(st.dictionaries(names, values, max_size=5))
def test_any_values_under_the_keys_of_the_file(document: dict[str, object]) -> None:
    check(document)


@UNHURRIED
@given(st.sampled_from(sorted(config_schema.WebFile.model_fields)), st.dictionaries(names, values, max_size=5))
def test_any_values_under_the_keys_of_a_block(block: str, inside: dict[str, object]) -> None:
    check({block: inside})


@UNHURRIED
@given(st.dictionaries(names, values, max_size=5))
def test_any_values_as_headers(headers: dict[str, object]) -> None:
    check({"http_server_config": {"headers": headers}})
