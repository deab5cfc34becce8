"""A key in place of a path or of a variable's name is never repeated."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config.accounts import Config
from exporter.config.load import load
from exporter.config.schema import AccountBlock
from exporter.errors import ConfigError, CredentialError
from exporter.providers import PROVIDERS

UNHURRIED = settings(deadline=None, max_examples=200)  # a busy machine is no failure

keys = st.text("abcXYZ0189", min_size=16, max_size=40)
slips = st.sampled_from(
    [
        '"api_key_file": "{key}"',
        '"api_key_file": "keys/{key}"',
        '"api_key_file": "{key}\\n"',
        '"api_key_file": ["{key}"]',
        '"api_key_file": {{"{key}": 1}}',
        '"api_key_file": "\\ud800{key}"',
        '"api_key_file": "${{sk_{key}}}"',
        '"api_key_env": "sk_live_{key}"',
        '"api_key_env": "sk-live-{key}"',
        '"api_key_env": "${{sk_{key}}}"',
        '"api_key": "${{sk_{key}}}"',
        '"api_key": "${{{key}"',
        '"api_key": "{key} "',
        '"api_key": ["{key}"]',
        '"api_key": "{key}", "api_key_file": "{key}"',
        "api_key:{key}",
        "api_key_file:sk-live-{key}",
        '"api_key_file": "{key}", "colour": "red"',
        '"base_url": "https://user:{key}@api.example", "api_key_env": "KEY"',
        '"base_url": "https://{key}@[", "api_key_env": "KEY"',
    ]
)
rest = st.sampled_from(["", ', "interval": "1s"', ', "max_requests_per_minute": 1, "interval": "10s"'])


def told(text: str, strict: bool) -> tuple[Config | None, str]:
    """Return everything that is said of a configuration: problems, warnings, reprs and what its polls would say."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            config = load(path, PROVIDERS, {"KEY": "k"}, strict=strict)
        except ConfigError as error:
            return None, str(error) + repr(error) + repr(error.__cause__) + repr(error.__context__)
        said = [repr(config), *map(str, config.warnings)]
        for account in config.accounts:
            with pytest.raises(CredentialError) as caught:
                account.key.read()
            said.append(str(caught.value) + repr(caught.value))
        return config, "\n".join(said)


@UNHURRIED
@given(keys, slips, rest, st.booleans())
@example("k" * 300, '"api_key_file": "{key}"', "", False)
def test_a_key_in_the_wrong_place_is_never_repeated(key: str, slip: str, more: str, strict: bool) -> None:
    text = f'accounts: [{{"name": "a", "provider": "videodb", {slip.format(key=key)}{more}}}]'
    assert key not in told(text, strict)[1]


@pytest.mark.parametrize("field", ["api_key_file", "api_key_env"])
def test_the_line_and_the_field_are_named_instead(field: str) -> None:
    config, said = told(f"accounts:\n- name: a\n  provider: videodb\n  {field}: sk_live_4242\n", strict=False)
    assert config is not None
    assert f"config.yaml:4: accounts[0].{field}: " in said
    assert "4242" not in said


def test_a_checked_account_shows_no_key_source() -> None:
    values: Mapping[str, str] = {"api_key_file": "sk4242", "api_key_env": "sk4242", "api_key": "sk4242"}
    assert "sk4242" not in repr(AccountBlock(name="a", provider="videodb", **values))  # type: ignore[arg-type]  # all texts


def test_a_traceback_of_an_unreadable_key_shows_no_path(caplog: pytest.LogCaptureFixture) -> None:
    text = json.dumps({"accounts": [{"name": "a", "provider": "videodb", "api_key_file": "sk4242"}]})
    config, _ = told(text, strict=False)
    assert config is not None
    try:
        config.accounts[0].key.read()
    except CredentialError:
        logging.getLogger("test").exception("failed")
    assert "sk4242" not in caplog.text
