"""Write docs/configuration.md from the models of the configuration: python docs/generate_configuration.py"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from exporter.config import provider_schema, schema
from exporter.config.block import Block
from exporter.config.file_schema import ConfigFile
from exporter.config.rules import TAKEN_LABELS, Rule
from exporter.config.state_schema import StateBlock
from exporter.providers import PROVIDERS

TARGET = Path(__file__).parent / "configuration.md"

HEAD = """# Configuration

The configuration is one YAML file. `--config.file` names it. The exporter reads it at start and on reload. If the file
has mistakes, the exporter refuses the whole file and reports all of them at once.

```console
$ video-api-exporter check-config --config.file=config.yaml
config.yaml:7: accounts[0].*: unknown key; did you mean interval?
config.yaml:9: accounts[1]: no key: give one of api_key_file, api_key_env, api_key
```

A message repeats no word of the file, because a key may stand in the wrong place. It names the line, and the known keys
on the way to it. A `*` stands for any other name.

[`config.example.yaml`](https://github.com/video-api-exporter/video-api-exporter/blob/main/config.example.yaml)
shows every key in its place. This is the smallest useful file.

```yaml
accounts:
  - name: media-prod
    provider: vidnavigator
    api_key_file: /run/secrets/vidnavigator
```

Your editor can complete and check the file. Run `video-api-exporter config-schema > config.schema.json`, and name the
schema in the first line of the configuration.

```yaml
# yaml-language-server: $schema=config.schema.json
```
"""

NOTES = """## How values are written

**Durations** are written as in Prometheus. A duration is a number and a unit (`y`, `w`, `d`, `h`, `m`, `s`, `ms`), or
several of them from large to small, such as `30s`, `5m`, `1h30m`.

**Environment variables.** `${NAME}` is replaced in values and not in keys. It works in text and in the place of a
number. `$$` is a dollar. A variable that is not set is an error. Inside `[ ]` and `{ }`, YAML needs quotes around it,
as in `labels: {team: "${TEAM}"}`.

**Text that YAML reads as something else** is refused, because guessing could be wrong. Write `name: "12"` and
`team: "no"` in quotes. Duplicate keys, tags (`!secret`), a second document in the file, and text that is not UTF-8 are
refused too. Anchors, aliases and merge keys (`<<: *defaults`) work.

**Paths.** A relative path in `api_key_file`, `ca_file`, `state.path` or `state.url_file` is relative to the file that
it is written in. Patterns in `account_files` are relative to the main file. A pattern that matches nothing gets a
warning. A plain path that does not exist is an error. A file that two patterns match is read once. The main file is
never read as an account file.

## Keys

An account has exactly one of `api_key_file`, `api_key_env` and `api_key`. The exporter reads a key file again at each
poll, so a new key needs no reload. A new key in an environment variable needs a restart. The exporter ignores white
space around a key in a file or variable.

A key may be missing or empty, or have characters that an HTTP header cannot carry (line breaks, control or non-ASCII
characters). Then only that account fails, with the reason `credential`. The exporter warns of it at start, and
`check-config` reports it as an error. If such a key is written into the configuration as `api_key`, it is always an
error.

The exporter removes a byte order mark of UTF-8. A message says which it is if the file is UTF-16 or UTF-32 text, if the
key stands in quotes, or if something stands before it. That may be `NAME=`, `name: ` or `Bearer `. Messages name the
line and the field. They never repeat the path or the variable's name, because the key itself may stand there by
mistake.

The exporter warns of a key file that every user can read. It also warns if the file's group can read it and the
exporter's own user owns it. It warns of plain `http`, because the key would cross the network unencrypted, unless
`base_url` is on this machine.

## Certificates

One thing decides which authorities may sign an API's certificate. It is the first of these that is there:

1. `ca_file` of the account,
2. the variable `REQUESTS_CA_BUNDLE`,
3. the variable `CURL_CA_BUNDLE`,
4. the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` together,
5. the public authorities, as the Python package certifi has them.

`poll.ca_file` is for a company's own authority. It counts for all accounts that have no `ca_file`, beside what is named
by the variables or, without them, beside the public authorities.

A `ca_file` names one PEM file. The variables may name directories too, and then each PEM file in the directory
counts. What an account or a variable names takes the place of the public authorities. It may be an intermediate
authority or the API's own certificate. A file that is replaced is used from the next poll on.

A `ca_file` that cannot be used is an error. Variables that cannot be used fail the polls of their accounts with
the reason `connection`. They get a warning at start and are an error for `check-config`.

## Proxies

Requests go through the proxy that the environment names. `HTTPS_PROXY` counts for https, `HTTP_PROXY` for http,
and `ALL_PROXY` for both where the other one is not set. `NO_PROXY` lists what is reached directly: hosts with
everything below them, addresses, networks such as `10.0.0.0/8`, each with a port or without one, or `*`. A
lower-case variable wins over its upper-case one.

A proxy is written as `http://host:port`, with `user:password@` before the host where it wants a password. A
SOCKS proxy cannot be used. A variable that cannot be used fails the polls of its accounts with the reason
`connection`. It gets a warning at start and is an error for `check-config`. A variable that no account needs is
not looked at.

## Fields and expressions

[Providers](providers.md) shows how to write a provider. An *expression* is JMESPath over the decoded response, with
`items()` beside its functions. It has at most 1,024 characters. `sum()`, `avg()` and `to_number()` are refused, because
they guess. A *field* is an expression, or a block with these keys. A key at a field that does not take it is an error.

| key | fields | meaning |
| --- | --- | --- |
| `value` | all | The expression. |
| `scale` | number, ratio | The number is multiplied by it, as in `0.01` for cents. |
| `list` | number, ratio, time | `sum`, `min` or `max` of a list, which is rejected without it. Times have no `sum`. |
| `unlimited` | number | Values for no limit, such as `[unlimited, null, -1]`. It is `[unlimited]` by default. |
| `time` | time | How a time is written: `iso`, which is the default, `date`, `unix`, `unix-ms` or `http-date`. |

## Rules between values

- An account is identified by its provider and its name. Two accounts of different providers may have the same name. Two
  accounts of one provider may not.
- `timeout` must not be longer than `interval`. A `stale_after` that is shorter than `interval` gets a warning.
- Accounts that have the same provider, base URL and key share one limit. It is the smallest `max_requests_per_minute`
  among them. Their requests per minute must not exceed it in sum. Each account makes one request per interval, and one
  per hour for each further part in `collect`.
- The credit warning must not be below its critical level. A storage, channel or quota warning must not be above its
  critical level. The exporter checks this after it has merged the thresholds. It does not compare a number of credits
  with a percentage, because the result depends on the account's limit.
- No name, label, path of the state or other text that is shown may hold the key of an account of 8 characters or more.
  `base_url` and `variables` of an account and `headers`, `query` and `json` of a provider may, because they are sent.
- There must be at least one account.

"""


PROVIDER_BLOCKS: tuple[type[Block], ...] = (
    provider_schema.ProviderBlock,
    schema.PriceBlock,
    provider_schema.AuthBlock,
    provider_schema.ErrorsBlock,
    provider_schema.WaitBlock,
    provider_schema.UsageBlock,
    provider_schema.RequestBlock,
    provider_schema.FiguresBlock,
    provider_schema.OperationsBlock,
    provider_schema.QuotaBlock,
    provider_schema.AmountsBlock,
    provider_schema.PeriodBlock,
    provider_schema.PlanBlock,
    provider_schema.ExampleBlock,
)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def name_of(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Say in words what a field holds."""
    for rule in metadata:
        if isinstance(rule, Rule):
            return rule.words
    if isinstance(annotation, type) and issubclass(annotation, Block):
        heading = annotation.__name__.removesuffix("Block").lower()
        return f"[block](#{heading})"
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    if hasattr(annotation, "__metadata__"):
        return name_of(arguments[0], annotation.__metadata__)
    if get_origin(annotation) is list:
        inner = name_of(arguments[0])
        return f"list of {inner.replace('[block]', '[blocks]')}" if "block" in inner else f"list of {inner}s"
    if get_origin(annotation) is dict:
        return f"{name_of(arguments[0])}: {name_of(arguments[1])}"
    return name_of(arguments[0])


def default_of(field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if field.is_required():
        return "required"
    if "x-default" in extra:
        return str(extra["x-default"])
    default = extra.get("default", field.default)
    if isinstance(default, list):
        default = f"[{', '.join(map(str, default))}]"
    return "" if default is None else f"`{default}`"


def table(model: type[Block], title: str) -> str:
    rows = [
        f"### {title}\n",
        f"{model.__doc__}\n",
        "| key | value | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in model.model_fields.items():
        name = field.alias or name
        what = name_of(field.annotation, tuple(field.metadata))
        rows.append(f"| `{name}` | {cell(what)} | {cell(default_of(field))} | {cell(field.description or '')} |")
    return "\n".join(rows) + "\n\n"


def providers() -> str:
    rows = ["### Providers\n", "| `provider` | default `base_url` | `collect` |", "| --- | --- | --- |"]
    for name, provider in PROVIDERS.items():
        collect = ", ".join(f"`{value}`" for value in provider.collect)
        rows.append(f"| `{name}` | `{provider.base_url}` | {collect} |")
    return "\n".join(rows) + "\n\n"


def render() -> str:
    keys = "".join(
        (
            table(ConfigFile, "The file"),
            table(schema.Poll, "Poll"),
            table(schema.ThresholdsBlock, "Thresholds"),
            table(schema.Credits, "Credits"),
            table(schema.Storage, "Storage"),
            table(schema.Channels, "Channels"),
            table(schema.QuotasBlock, "Quotas"),
            table(StateBlock, "State"),
            table(schema.HistoryBlock, "History"),
            table(schema.AccountBlock, "Account"),
            providers(),
            *(table(model, model.__name__.removesuffix("Block")) for model in PROVIDER_BLOCKS),
        )
    )
    taken = ", ".join(f"`{name}`" for name in TAKEN_LABELS)
    labels = (
        "### Label names that are taken\n\n"
        "You cannot use names that begin with two underscores, nor these names, because the metrics, Prometheus or\n"
        f"its operator set them. {taken}.\n"
    )
    note = "<!-- Written by docs/generate_configuration.py from exporter/config/schema.py: change it there. -->\n\n"
    return note + HEAD + "\n" + NOTES + "## Every key\n\n" + keys + labels


def main() -> int:
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
