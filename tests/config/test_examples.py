"""The examples of a provider. Those of every preset hold, and each difference is reported with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.config.load import load
from exporter.config.providers import preset_names, source_of
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

ACCOUNT = "accounts: [{name: a, provider: videodb, api_key: abcdefgh12345678}]\n"


@pytest.mark.parametrize("name", preset_names())
def test_the_program_makes_of_a_presets_examples_what_they_expect(tmp_path: Path, name: str) -> None:
    # As a provider of the configuration, because then it is checked with its examples, whoever uses it.
    path = tmp_path / "config.yaml"
    path.write_text("providers:\n  " + source_of(None, name).replace("\n", "\n  ").rstrip() + "\n" + ACCOUNT)
    assert len(load(path, PROVIDERS, {}, strict=True).accounts) == 1


@pytest.mark.parametrize("name", preset_names())
def test_an_example_of_a_preset_that_expects_another_value_is_reported(tmp_path: Path, name: str) -> None:
    definition = yaml.safe_load(source_of(None, name))
    for example in definition[name]["examples"]:
        example["expect"] = {**example["expect"], "credits_balance": 123456789.25}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"providers": definition}) + ACCOUNT)
    with pytest.raises(ConfigError, match=r"examples\[0\]"):
        load(path, PROVIDERS, {}, strict=True)


RESPONSE = "{left: 5, cap: null, pots: [{n: a, u: 1, l: 4, r: 1774692000}, {n: b, u: 2, l: 4, r: 1774692000}], s: 7}"
PROVIDER = f"""providers:
  acme:
    base_url: https://api.acme.example
    auth: {{header: X-Key}}
    usage:
      path: /v1
      credits: {{balance: left, limit: {{value: cap, unlimited: [null]}}}}
      storage: {{used: s, limit: s}}
      quotas:
        - {{each: pots, name: n, unit: u, used: u, limit: l, resets_at: {{value: r, time: unix}}}}
    examples:
      - response: {RESPONSE}
        expect: EXPECT
"""


@pytest.mark.parametrize(
    ("expect", "sentence"),
    [
        ("5", "must be a mapping"),
        ("{failure: auth}", "expect.*: the example gives a good response"),
        ("{'credits balance': 5}", "is not the name of a metric"),
        ("{credits_balance: absent}", "the example gives 5, not absent"),
        ("{credits_balance: lots}", "must be a number, unlimited, or absent"),
        ("{credits_purchased: 1}", "expect.*: the example gives no such value. It gives credits_balance"),
        ("{quota_used: 1}", "the example gives several values, not one"),
        ("{credits_monthly_limit: 80}", "the example gives inf"),
    ],
)
def test_a_difference_from_an_example_is_reported_in_one_sentence(tmp_path: Path, expect: str, sentence: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(PROVIDER.replace("EXPECT", expect) + ACCOUNT)
    with pytest.raises(ConfigError) as refused:
        load(path, PROVIDERS, {}, strict=True)
    assert sentence in str(refused.value)


def test_an_example_may_expect_quotas_resets_storage_and_unlimited(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    expect = (
        "{credits_balance: 5, credits_monthly_limit: unlimited, storage_used_bytes: 7, storage_used_ratio: 1, "
        "'quota_used{quota=\"b\"}': 2, 'quota_reset_timestamp_seconds{quota=\"a\"}': 1774692000, "
        "credits_purchased: absent}"
    )
    path.write_text(PROVIDER.replace("EXPECT", expect) + ACCOUNT)
    assert load(path, PROVIDERS, {}, strict=True).accounts[0].name == "a"
