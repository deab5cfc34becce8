"""The price of a credit, from the account or from its provider."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from exporter.config.accounts import Config
from exporter.config.load import load
from exporter.providers import PROVIDERS
from exporter.providers.base import Price

PROVIDER = """
providers:
  acme:
    base_url: https://api.acme.example
    auth: {header: x-api-key}
    price: {amount: 0.25, currency: EUR}
    usage: {path: /v1}
accounts:
"""


def read(accounts: str, folder: Path, environ: dict[str, str] | None = None, head: str = PROVIDER) -> Config:
    path = folder / "config.yaml"
    path.write_text(head + textwrap.indent(textwrap.dedent(accounts).strip(), "  ") + "\n")
    return load(path, PROVIDERS, environ or {})


def test_an_accounts_own_price_wins_over_its_providers_and_without_both_there_is_none(tmp_path: Path) -> None:
    config = read(
        """
        - {name: own, provider: acme, api_key: k, price: {amount: 0.10, currency: USD}}
        - {name: inherits, provider: acme, api_key: k}
        - {name: none, provider: videodb, api_key: k}
        """,
        tmp_path,
    )
    assert [account.price for account in config.accounts] == [Price(0.10, "USD"), Price(0.25, "EUR"), None]


def test_amount_and_currency_may_come_from_the_environment(tmp_path: Path) -> None:
    account = '- {name: a, provider: acme, api_key: k, price: {amount: "${COST}", currency: "${MONEY}"}}'
    config = read(account, tmp_path, {"COST": "1e-3", "MONEY": "JPY"})
    assert config.accounts[0].price == Price(0.001, "JPY")


@pytest.mark.parametrize("empty", ["price:", "price: "])
def test_an_empty_price_counts_as_left_out(empty: str, tmp_path: Path) -> None:
    config = read(f"- name: a\n  provider: acme\n  api_key: k\n  {empty}", tmp_path)
    assert config.accounts[0].price == Price(0.25, "EUR")
