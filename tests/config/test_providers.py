"""Providers in the configuration. Each mistake is reported with file, line, field and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from exporter.config.accounts import Config
from exporter.config.load import json_schema, load
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

GOOD = """
providers:
  acme:
    base_url: https://api.acme.com
    auth: {header: Authorization, prefix: "Bearer "}
    variables: [project_id]
    interval: 15m
    max_requests_per_minute: 7
    unit: USD
    usage:
      path: /v1/projects/{project_id}/balance
      credits: {balance: amount}
    examples: [{response: {amount: 5}, expect: {credits_balance: 5, credits_purchased: absent}}]
accounts:
  - {name: a, provider: acme, api_key: abcdefgh12345678, variables: {project_id: p1}}
"""


def read(text: str, folder: Path, *, strict: bool = True) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return load(path, PROVIDERS, {}, strict=strict)


def mistakes(text: str, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text, folder)
    return [str(problem).removeprefix(f"{folder}/") for problem in refused.value.problems]


def test_an_account_inherits_address_interval_and_limit_of_its_provider(tmp_path: Path) -> None:
    config = read(GOOD, tmp_path)
    account = config.accounts[0]
    assert (account.base_url, account.interval, account.stale_after) == ("https://api.acme.com", 900, 2700)
    assert (account.max_requests_per_minute, account.variables) == (7, {"project_id": "p1"})
    assert config.providers["acme"].unit == "USD"


def test_a_setting_of_the_account_wins_over_its_providers(tmp_path: Path) -> None:
    own = GOOD.replace("api_key:", "interval: 1h, max_requests_per_minute: 50, api_key:")
    account = read(own, tmp_path).accounts[0]
    assert (account.interval, account.max_requests_per_minute) == (3600, 50)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("balance: amount", "balance: amount-left",
         "config.yaml:12: providers.*.usage.credits.balance: is not a JMESPath expression, the mistake is at "
         'character 7. A name with a hyphen stands in double quotes, as in data."credits-left"'),
        ("credits:", "success: code == 200\n      credits:",
         "config.yaml:12: providers.*.usage.success: is not a JMESPath expression, the mistake is at character 9. "
         "A number in a comparison stands in backquotes, as in code == `200`"),
        ('"Bearer "', "bearer",
         "config.yaml:5: providers.*.auth.prefix: has no space at its end, so the key would be a part of the word. "
         'Write "bearer "'),
        ("balance: amount", "balance: {value: 'a[].b', list: total}",
         "config.yaml:12: providers.*.usage.credits.balance: list: must be one of sum, min, max"),
        ("balance: amount", "balance: 'sum(a[].b)'",
         "config.yaml:12: providers.*.usage.credits.balance: must not use sum(), because it of nothing would be 0, "
         "which is a balance that alerts. Select the list and write `list: sum`"),
        ("balance: amount", "balance: {value: 'a || b', unlimited: [null]}",
         "config.yaml:12: providers.*.usage.credits.balance: unlimited: null needs a path of names alone, such as "
         "data.limit, because other expressions give null also for what is not sent"),
        ("balance: amount", "balance: {value: a, scale: '0.01'}",
         "config.yaml:12: providers.*.usage.credits.balance: scale: must be a number other than 0, such as 0.01"),
        ("balance: amount", "ballance: amount",
         "config.yaml:12: providers.*.usage.credits.*: unknown key; did you mean balance?"),
        ("{project_id}", "{project}",
         "config.yaml:10: providers.*.usage: uses a variable in braces that `variables` does not list. Add it there"),
        ("{project_id}", "{api_key}",
         "config.yaml:11: providers.*.usage.path: must not hold the key. Say under `auth` how the key is sent"),
        ("/v1/projects", "v1/projects",
         "config.yaml:11: providers.*.usage.path: must begin with one slash, as in /v1/usage"),
        ('{header: Authorization, prefix: "Bearer "}', "{query: key, header: a}",
         "config.yaml:5: providers.*.auth: must hold exactly one of header, basic and query"),
        ('prefix: "Bearer "}', "prefix: x}\n    headers: {authorization: y}",
         "config.yaml:6: providers.*.headers.*: is the header that carries the key. Leave it out"),
        ('prefix: "Bearer "}', "prefix: x}\n    headers: {Host: y}",
         "config.yaml:6: providers.*.headers.*: is a header that the connection sets by itself. Leave it out"),
        ("unit: USD", "unit: usd",
         "config.yaml:9: providers.*.unit: is money, whose code has capital letters. Write USD"),
        ("unit: USD", "errors: {statuses: {420: throttled}}",
         "config.yaml:9: providers.*.errors.statuses.*: must be one of auth, forbidden, payment_required, "
         "rate_limited, client_error, server_error, invalid_response"),
        ("base_url: https://api.acme.com", "base_url: https://api.acme.com?key=1",
         "config.yaml:4: providers.*.base_url: must end with the path. Leave out everything from `?` or `#` on"),
        ("credits_balance: 5", "credits_balance: 6",
         "config.yaml:13: providers.*.examples[0].expect.*: the example gives 5"),
        ("  acme:", "  videodb:",
         "config.yaml:3: providers.*: is a built-in provider, which cannot be replaced. Rename it"),
        ("variables: {project_id: p1}", "labels: {}",
         "config.yaml:15: accounts[0].variables: lacks a variable that the provider needs; its variables are those "
         "that it lists"),
        ("{project_id: p1}", "{project_id: p1, region: eu}",
         "config.yaml:15: accounts[0].variables.*: the provider has no such variable; its variables are those "
         "that it lists"),
        ("{project_id: p1}", "{project_id: ..}",
         "config.yaml:15: accounts[0].variables.*: must not be dots alone, which lead to another path"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place_and_a_remedy(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    assert old in GOOD
    told = mistakes(GOOD.replace(old, new, 1), tmp_path)
    assert sentence in told
    assert not [line for line in told if "unknown provider" in line and "videodb" not in new]


@pytest.mark.parametrize(
    "path",
    ["/../c/{project_id}", "/{project_id}/..", "/./{project_id}", "/{project_id}/%2e%2E/x", "/{project_id}/.%2e"],
)
def test_a_path_that_leaves_the_base_url_is_refused(path: str, tmp_path: Path) -> None:
    [told] = mistakes(re.sub("(?m)^      path: .*", f"      path: {path}", GOOD), tmp_path)
    assert told == (
        "config.yaml:11: providers.*.usage.path: must not have a part of dots alone, which leads to another path than "
        "the one that is written"
    )


def test_a_path_with_dots_in_a_name_is_taken(tmp_path: Path) -> None:
    path = "/v1.0/{project_id}/.well-known/..."
    assert read(re.sub("(?m)^      path: .*", f"      path: {path}", GOOD), tmp_path).accounts


def test_a_wrong_quota_of_a_further_request_is_reported_with_its_index_and_line(tmp_path: Path) -> None:
    text = GOOD.replace(
        "      credits: {balance: amount}\n",
        "      more:\n        plan:\n          path: /k\n          quotas:\n            - {name: a, usd: b}\n",
    ).replace("credits_balance: 5, ", "")
    assert mistakes(text, tmp_path) == [
        "config.yaml:16: providers.*.usage.more.plan.quotas[0].*: unknown key; did you mean used?"
    ]


def test_a_provider_that_reads_no_figure_is_a_warning_and_a_quota_without_one_a_mistake(tmp_path: Path) -> None:
    nothing = GOOD.replace("      credits: {balance: amount}\n", "").replace("    examples:", "    # examples:")
    [warning] = read(nothing, tmp_path).warnings
    assert "usage: reads no figure. Give at least one of credits, quotas, operations" in str(warning)
    bare = GOOD.replace("credits: {balance: amount}", "quotas: [{name: a, unit: b}]")
    [told] = [line for line in mistakes(bare, tmp_path) if "quotas[0]" in line]
    assert told.endswith("quotas[0]: has no figure. Give at least one, such as used, limit or remaining")


def test_a_query_does_not_give_the_parameter_that_carries_the_key(tmp_path: Path) -> None:
    text = GOOD.replace('{header: Authorization, prefix: "Bearer "}', "{query: k}").replace(
        "      credits:", "      query: {k: x, other: y}\n      credits:"
    )
    assert mistakes(text, tmp_path) == [
        "config.yaml:12: providers.*.usage.query.*: is the parameter that carries the key. Leave it out"
    ]


FURTHER = "      more: {%s: {path: /k, credits: {limit: a}}}\n    examples: [{more: %s, "


@pytest.mark.parametrize(
    ("name", "responses", "told"),
    [
        ("usage", "{}",
         ["config.yaml:13: providers.*.usage.more.usage: is the name of the first request, which this one would "
          "replace. Choose another name"]),
        ("plan", "{usage: {amount: 7}}",
         ["config.yaml:14: providers.*.examples[0].more.usage: is the name of the first request, which this one would "
          "replace. Choose another name"]),
        ("plan", "{plans: {a: 7}}",
         ["config.yaml:14: providers.*.examples[0].more.*: is the name of no request under `usage.more`"]),
        ("plan", "[{a: 7}]",
         ["config.yaml:14: providers.*.examples[0].more: must be a mapping (lines with `key: value`), not a list"]),
    ],
)  # fmt: skip
def test_a_further_request_or_response_replaces_no_other(
    name: str, responses: str, told: list[str], tmp_path: Path
) -> None:
    assert mistakes(GOOD.replace("    examples: [{", FURTHER % (name, responses)), tmp_path) == told


def test_a_provider_of_the_configuration_replaces_the_preset_of_its_name(tmp_path: Path) -> None:
    text = GOOD.replace("acme", "luma")
    assert read(text, tmp_path).providers["luma"].base_url == "https://api.luma.com"


def test_providers_that_no_account_uses_are_checked_too(tmp_path: Path) -> None:
    unused = "providers:\n  b: {}\naccounts:\n  - {name: a, provider: videodb, api_key: abcdefgh12345678}\n"
    assert [line.split(": ", 1)[1] for line in mistakes(unused, tmp_path)] == [
        "providers.*.base_url: is missing",
        "providers.*.auth: is missing",
        "providers.*.usage: is missing",
    ]


def test_the_schema_accepts_the_providers_that_the_program_accepts() -> None:
    check = jsonschema.Draft202012Validator(json_schema(PROVIDERS))
    document = yaml.safe_load(GOOD)
    assert list(check.iter_errors(document)) == []
    document["providers"]["acme"]["usage"].update(
        method="POST", json={"a": 1}, no_subscription="a", more={"key": {"path": "/k"}}, quotas=[{"name": "a"}]
    )
    document["providers"]["acme"]["usage"]["credits"]["limit"] = {"value": "a", "unlimited": [None], "scale": 0.01}
    assert list(check.iter_errors(document)) == []
    for wrong in ({"path": "v1"}, {"path": "/v1", "credits": {"ballance": "a"}}, {"path": "/v1", "plan": {"name": {}}}):
        document["providers"]["acme"]["usage"] = wrong
        assert not check.is_valid(document)
