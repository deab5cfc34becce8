"""Accounts that differ from another one in name and key alone, which are checked in a shorter way."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.config.accounts import Account
from exporter.config.load import load
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

KEY = secrets.token_hex(16)
REST = "provider: vidnavigator, max_requests_per_minute: 1, interval: 5m, labels: {team: video}"
FIRST = f"- {{name: first, api_key: {secrets.token_hex(16)}, {REST}}}\n"
UNLIKE = FIRST.replace("video", "audio")
SECONDS = (
    f"- {{name: second, api_key: {KEY}, {REST}}}",
    f"- {{{REST}, name: second, api_key: {KEY}}}",
    f"- {{name: second, api_key_file: a.key, {REST}}}",
    f"- {{name: second, api_key_file: missing.key, {REST}}}",
    f"- {{name: second, api_key_env: KEY, {REST}}}",
    f"- {{name: second, api_key_env: MISSING, {REST}}}",
    f"- {{name: second, api_key_env: 'no name', {REST}}}",
    f"- {{name: second, api_key: 'two words', {REST}}}",
    f"- {{name: second, api_key: {KEY}, api_key_env: KEY, {REST}}}",
    f"- {{name: second, api_key: '${{NONE}}', {REST}}}",
    f"- {{name: second, api_key: , {REST}}}",
    f"- {{name: second, {REST}}}",
    f"- {{name: first, api_key: {KEY}, {REST}}}",
    f"- {{name: 12, api_key: {KEY}, {REST}}}",
    f"- {{name: ' second', api_key: {KEY}, {REST}}}",
    f"- {{name: [second], api_key: {KEY}, {REST}}}",
    f"- {{api_key: {KEY}, {REST}}}",
    f"- {{name: second, api_key: {KEY}, {REST.replace(': 1,', ': true,')}}}",
    f"- {{name: second, api_key: {KEY}, {REST.replace(': 1,', ': 1.0,')}}}",
    f"- {{name: second, api_key: {KEY}, {REST.replace(': 1,', ': ${NONE},')}}}",
    f"- {{name: second, api_key: {KEY}, {REST}, colour: red}}",
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a.key").write_text(secrets.token_hex(16))
    (tmp_path / "a.key").chmod(0o644)
    return tmp_path


def outcome(directory: Path, accounts: str, strict: bool) -> tuple[Sequence[Account], Sequence[str]]:
    path = directory / "config.yaml"
    path.write_text("accounts:\n" + accounts)
    try:
        config = load(path, PROVIDERS, {"KEY": KEY}, strict=strict)
    except ConfigError as error:
        return (), [str(problem) for problem in error.problems]
    return config.accounts[1:], [str(warning) for warning in config.warnings]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("second", SECONDS)
def test_an_account_like_another_becomes_what_it_is_beside_one_unlike_it(
    directory: Path, second: str, strict: bool
) -> None:
    assert outcome(directory, FIRST + second, strict) == outcome(directory, UNLIKE + second, strict)


def test_what_is_said_of_one_account_is_said_of_each_that_is_like_it(directory: Path) -> None:
    short = REST.replace("5m", "5m, stale_after: 1m")
    accounts = "".join(f"- {{name: n{number}, api_key: {KEY}{number}, {short}}}\n" for number in range(3))
    said = outcome(directory, accounts, strict=False)[1]
    assert [sentence.split(": stale_after, 1m")[0] for sentence in said] == [
        f"{directory}/config.yaml:{2 + number}: accounts[{number}].stale_after" for number in range(3)
    ]


def test_accounts_like_each_other_in_two_folders_name_two_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "key").write_text(secrets.token_hex(16))
        (tmp_path / folder / "key").chmod(0o400)
        account = f"- {{name: {folder}, api_key_file: key, {REST}}}\n"
        (tmp_path / folder / "accounts.yaml").write_text(account)
    path = tmp_path / "config.yaml"
    path.write_text("account_files: ['*/accounts.yaml']\n")
    accounts = load(path, PROVIDERS, {}).accounts
    assert [account.key.where for account in accounts] == [f"{tmp_path}/a/key", f"{tmp_path}/b/key"]
