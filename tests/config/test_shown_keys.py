"""A key that stands where any text may stand and is shown. The configuration is refused, and no message repeats it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from exporter.config.load import load
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

KEY = "sk" + secrets.token_hex(12)
SENTENCE = "holds the key of an account. Take it out, because logs and pages show this text, and replace the key"

PROVIDER: dict[str, Any] = {
    "base_url": "https://api.acme.example",
    "auth": {"header": "x-api-key"},
    "variables": ["project"],
    "headers": {"x-other": "1"},
    "usage": {"path": "/{project}", "credits": {"balance": "amount"}},
}
ACCOUNT = {"name": "media", "provider": "acme", "api_key_env": "KEY", "variables": {"project": "p1"}}
PLACES: list[tuple[dict[str, Any], str]] = [
    ({"accounts": [{**ACCOUNT, "name": KEY}]}, "accounts[0].name"),
    ({"accounts": [{**ACCOUNT, "name": f"media {KEY}"}]}, "accounts[0].name"),
    ({"accounts": [{**ACCOUNT, "labels": {"team": KEY}}]}, "accounts[0].labels.*"),
    ({"accounts": [{**ACCOUNT, "labels": {"query": f"a-{KEY}-b"}}]}, "accounts[0].labels.query"),
    ({"accounts": [{**ACCOUNT, "labels": {KEY: "video"}}]}, "accounts[0].labels.*"),
    ({"state": {"path": f"/var/lib/{KEY}/state.db"}}, "state.path"),
    ({"providers": {"acme": {**PROVIDER, "title": f"Acme {KEY}"}}}, "providers.*.title"),
    ({"providers": {"acme": {**PROVIDER, "unit": KEY}}}, "providers.*.unit"),
    ({"providers": {"acme": PROVIDER, KEY: PROVIDER}}, "providers.*"),
]


def refusal(folder: Path, **document: Any) -> str:
    """Return what is said of a configuration, and the empty string where it is accepted."""
    path = folder / "config.yaml"
    path.write_text(json.dumps({"providers": {"acme": PROVIDER}, "accounts": [ACCOUNT], **document}))
    try:
        load(path, PROVIDERS, {"KEY": KEY + "\n"})
    except ConfigError as error:
        return str(error).replace(f"{folder}/", "")
    return ""


@pytest.mark.parametrize(("document", "place"), PLACES)
def test_a_configuration_with_a_key_where_text_is_shown_is_refused_at_its_place(
    tmp_path: Path, document: dict[str, Any], place: str
) -> None:
    assert refusal(tmp_path) == ""
    said = refusal(tmp_path, **document)
    assert f"config.yaml:1: {place}: {SENTENCE}" in said.splitlines()
    assert KEY not in said


@pytest.mark.parametrize("field", ["api_key", "api_key_env", "api_key_file"])
def test_the_key_may_come_from_any_source_and_belong_to_another_account(tmp_path: Path, field: str) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o400)
    other = {"name": "other", "provider": "videodb"}
    other[field] = {"api_key": KEY, "api_key_env": "KEY", "api_key_file": "key"}[field]
    named = {"name": KEY, "provider": "videodb", "api_key": secrets.token_hex(16)}
    assert refusal(tmp_path, accounts=[named, other]) == f"config.yaml:1: accounts[0].name: {SENTENCE}"


def test_an_account_file_is_searched_too(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(f"- name: more\n  provider: videodb\n  api_key: {'k' * 20}\n- name: {KEY}\n")
    said = refusal(tmp_path, account_files=["more.yaml"])
    assert f"more.yaml:4: [1].name: {SENTENCE}" in said.splitlines()


@pytest.mark.parametrize(
    "document",
    [
        {"accounts": [{**ACCOUNT, "variables": {"project": KEY}}]},
        {"accounts": [{**ACCOUNT, "base_url": f"https://api.acme.example/{KEY}"}]},
        {"providers": {"acme": {**PROVIDER, "headers": {"x-other": KEY}}}},
    ],
)
def test_a_key_in_what_is_sent_to_the_vendor_is_accepted(tmp_path: Path, document: dict[str, Any]) -> None:
    assert refusal(tmp_path, **document) == ""


def test_a_key_of_few_characters_is_accepted_as_a_part_of_any_name(tmp_path: Path) -> None:
    assert refusal(tmp_path, accounts=[{"name": "media", "provider": "videodb", "api_key": "media"}]) == ""
