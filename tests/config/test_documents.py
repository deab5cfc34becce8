"""The example, the JSON Schema and the documentation agree with the models."""

from __future__ import annotations

import importlib.util
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
import yaml

from exporter.config import schema
from exporter.config.block import Block
from exporter.config.file_schema import ConfigFile
from exporter.config.load import json_schema, load
from exporter.config.rules import TAKEN_LABELS
from exporter.config.state_schema import StateBlock
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"
BLOCKS = (
    ConfigFile,
    schema.Poll,
    schema.ThresholdsBlock,
    schema.Credits,
    schema.Storage,
    schema.Channels,
    StateBlock,
    schema.AccountBlock,
)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KEYS = [pytest.param(block, name, id=f"{block.__name__}-{name}") for block in BLOCKS for name in block.model_fields]


def test_the_example_is_a_good_configuration_with_an_account_for_each_provider() -> None:
    config = load(EXAMPLE, PROVIDERS, {"VIDEODB_API_KEY": secrets.token_hex(16)})
    assert {account.provider for account in config.accounts} == set(PROVIDERS)
    assert [warning.path for warning in config.warnings] == ["accounts[0].api_key_file"]


def test_the_example_names_its_schema_first() -> None:
    first = EXAMPLE.read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"# yaml-language-server: \$schema=\S+", first)


@pytest.mark.parametrize(("block", "key"), KEYS)
def test_the_example_shows_every_key(block: str, key: str) -> None:
    assert re.search(rf"(^|[ {{]){key}:", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_documentation_is_what_the_generator_writes() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert text == generator().render(), "run: python docs/generate_configuration.py"


@pytest.mark.parametrize(("block", "key"), KEYS)
def test_every_key_is_documented_with_a_description(block: type[Block], key: str) -> None:
    field = block.model_fields[key]
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert field.description
    assert re.search(rf"^\| `{key}` \| .* \| {re.escape(field.description)} \|$", text, re.MULTILINE)


@pytest.mark.parametrize("name", TAKEN_LABELS)
def test_every_reserved_label_name_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split("that are taken")[1]


def test_the_schema_is_valid_and_accepts_the_example() -> None:
    document = json_schema(PROVIDERS)
    jsonschema.Draft202012Validator.check_schema(document)
    jsonschema.validate(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")), document)


def test_the_schema_has_no_field_that_only_the_library_needs() -> None:
    def nodes(node: object) -> Iterator[dict[str, object]]:
        if isinstance(node, dict):
            yield node
            for value in node.values():
                yield from nodes(value)

    document = json_schema(PROVIDERS)
    assert document.pop("title") == "video-api-exporter"
    for node in nodes(document):
        assert not isinstance(node.get("title"), str)
        assert "x-default" not in node
        assert node.get("default", "there") is not None


def account(**changes: object) -> dict[str, object]:
    return {"accounts": [{"name": "a", "provider": "videodb", "api_key_env": "KEY", **changes}]}


@pytest.mark.parametrize(
    ("document", "good"),
    [
        (account(), True),
        (account(interval="1h30m"), True),
        (account(max_operations=1, max_requests_per_minute="1", interval="1h"), True),
        (account(interval="${INTERVAL}"), True),
        (account(labels=None), True),
        (account(max_operations="${N}"), True),
        (account(thresholds={"credits": {"warning": "20%", "critical": 5}}), True),
        ({**account(), "colour": 1}, False),
        (account(colour=1), False),
        (account(provider="youtube"), False),
        (account(api_key_file="key"), False),
        ({"accounts": [{"name": "a", "provider": "videodb"}]}, False),
        (account(collect=["usage", "invoice"]), False),
        (account(interval=300), False),
        (account(interval="5 minutes"), False),
        (account(max_operations=0), False),
        (account(max_operations=1.5), False),
        (account(thresholds={"credits": {"warning": -1}}), False),
        (account(thresholds={"storage": {"warning": 80}}), False),
        (account(labels={"team": 1}), False),
        (account(labels={"job": "a"}), False),
        (account(labels={"__team": "a"}), False),
        (account(labels={"te-am": "a"}), False),
        (account(base_url="ftp://example.com"), False),
        (account(credit_rates={"a": 0}), False),
    ],
)
def test_the_schema_refuses_what_the_program_refuses(document: object, good: bool, tmp_path: Path) -> None:
    assert jsonschema.Draft202012Validator(json_schema(PROVIDERS)).is_valid(document) == good
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    environ = {"KEY": secrets.token_hex(16), "INTERVAL": "1m", "N": "5"}
    if good:
        load(path, PROVIDERS, environ)
    else:
        with pytest.raises(ConfigError):
            load(path, PROVIDERS, environ)
