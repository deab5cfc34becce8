"""Models of the configuration, one for each block, with the rule and the description of each key.

The JSON Schema and ``docs/configuration.md`` are made from them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.config import JsonDict

from exporter.config.block import Block
from exporter.config.rules import (
    AMOUNT,
    COUNT,
    CREDITS,
    CURRENCY,
    DURATION,
    INTERVAL,
    KEPT,
    KEY,
    LABEL_NAME,
    LABEL_VALUE,
    NAME,
    RATE,
    RATIO,
    TAKEN_LABELS,
    TEXT,
    URL,
    VARIABLE,
    VARIABLE_NAME,
)
from exporter.config.state_schema import StateBlock
from exporter.config.thresholds import Level

_LABEL_NAMES: JsonDict = {
    "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$",
    "not": {"anyOf": [{"pattern": "^__"}, {"enum": [*sorted(TAKEN_LABELS)]}]},
}


class Poll(Block):
    """Defaults for every account."""

    interval: Annotated[float, INTERVAL] = Field(
        default=300.0,
        description="Time between two polls, at least `10s`. The vendors refresh their figures every 5 to 15 minutes.",
        json_schema_extra={"default": "5m"},
    )
    timeout: Annotated[float, DURATION] = Field(
        default=10.0,
        description="Longest time for a whole poll, with connection, slow body, retries and the waits between them. "
        "It must not be longer than the interval.",
        json_schema_extra={"default": "10s"},
    )
    concurrency: Annotated[int, COUNT] = Field(
        default=16,
        description="Polls at the same time for each provider and base URL. A vendor that hangs does not stop others.",
    )
    stale_after: Annotated[float | None, DURATION] = Field(
        default=None,
        description="Age at which the last good values of an account are withdrawn. A value shorter than the interval "
        "gets a warning.",
        json_schema_extra={"x-default": "three intervals"},
    )
    ca_file: Annotated[str | None, TEXT] = Field(
        default=None,
        description="PEM file of authorities that may sign the certificates of all APIs, beside the public ones.",
    )


class Credits(Block):
    """An alert fires when the balance is below a level. The warning is the higher one. A missing level is inherited."""

    warning: Annotated[Level | None, CREDITS] = Field(
        default=None,
        description="A number of credits, or a share of the monthly limit such as `20%`.",
        json_schema_extra={"x-default": "20%, or 20 credits if there is no limit"},
    )
    critical: Annotated[Level | None, CREDITS] = Field(
        default=None,
        description="As for the warning.",
        json_schema_extra={"x-default": "5%, or 5 credits if there is no limit"},
    )


class Storage(Block):
    """An alert fires when the used share of the storage reaches a level. The warning is the lower level."""

    warning: Annotated[Level | None, RATIO] = Field(
        default=None, description="Share of the limit from 0 to 1.", json_schema_extra={"x-default": "0.8"}
    )
    critical: Annotated[Level | None, RATIO] = Field(
        default=None, description="Share of the limit from 0 to 1.", json_schema_extra={"x-default": "0.95"}
    )


class Channels(Block):
    """An alert fires when the used share of the channels reaches a level. The warning is the lower level."""

    warning: Annotated[Level | None, RATIO] = Field(
        default=None, description="Share of the limit from 0 to 1.", json_schema_extra={"x-default": "0.8"}
    )
    critical: Annotated[Level | None, RATIO] = Field(
        default=None, description="Share of the limit from 0 to 1.", json_schema_extra={"x-default": "1.0"}
    )


class QuotasBlock(Block):
    """An alert fires when the used share of a named quota reaches a level. The warning is the lower level."""

    warning: Annotated[Level | None, RATIO] = Field(
        default=None, description="Share of the limit from 0 to 1.", json_schema_extra={"x-default": "0.8"}
    )
    critical: Annotated[Level | None, RATIO] = Field(
        default=None, description="Share of the limit from 0 to 1.", json_schema_extra={"x-default": "0.95"}
    )


class ThresholdsBlock(Block):
    """Levels at which alerts fire."""

    credits: Credits | None = Field(default=None, description="Levels for the balance.")
    storage: Storage | None = Field(default=None, description="Levels for the used storage.")
    channels: Channels | None = Field(default=None, description="Levels for the indexed channels.")
    quotas: QuotasBlock | None = Field(
        default=None, description="Levels for each named quota of a provider by configuration."
    )


class HistoryBlock(Block):
    """What the state, a file or a PostgreSQL database, keeps of each account's past. It is needed for reports."""

    hourly: Annotated[float, KEPT] = Field(
        default=8 * 86400.0,
        description="For how long the last reading of every hour (UTC) is kept. `0` keeps none.",
        json_schema_extra={"default": "8d"},
    )
    daily: Annotated[float, KEPT] = Field(
        default=400 * 86400.0,
        description="For how long the last reading of every day (UTC) is kept. `0` keeps none.",
        json_schema_extra={"default": "400d"},
    )


class PriceBlock(Block):
    """What one credit costs, or one of whatever the balance is counted in."""

    amount: Annotated[float, AMOUNT] = Field(description="Money for one credit, such as `0.10`.")
    currency: Annotated[str, CURRENCY] = Field(description="ISO 4217 code, such as `USD`.")


class AccountBlock(Block):
    """One account at a vendor. Provider and name identify it."""

    name: Annotated[str, NAME] = Field(description="Value of the `account` label. It must be unique for its provider.")
    provider: Annotated[str, TEXT] = Field(description="Name of the vendor, see below.")
    api_key_file: Annotated[str | None, TEXT] = Field(
        default=None,
        repr=False,
        description="File that holds the key and nothing else. It is read again at each poll. Give exactly one of "
        "`api_key_file`, `api_key_env` and `api_key`.",
    )
    api_key_env: Annotated[str | None, VARIABLE] = Field(
        default=None, repr=False, description="Name of an environment variable that holds the key."
    )
    api_key: Annotated[str | None, KEY] = Field(
        default=None, repr=False, description="The key itself. A file or a variable is safer."
    )
    base_url: Annotated[str | None, URL] = Field(
        default=None,
        description="Address of the API. Plain `http` gets a warning unless it is on this machine.",
        json_schema_extra={"x-default": "the provider's own"},
    )
    ca_file: Annotated[str | None, TEXT] = Field(
        default=None,
        description="PEM file with the authorities that may sign the API's certificate.",
        json_schema_extra={"x-default": "the public ones and `poll.ca_file`"},
    )
    max_requests_per_minute: Annotated[int, COUNT] = Field(
        default=50,
        description="Most requests with this key in any 60 seconds, retries included. Accounts with the same provider, "
        "base URL and key share one limit, the smallest of theirs.",
    )
    collect: list[Annotated[str, TEXT]] | None = Field(
        default=None,
        description="Parts to request from the vendor. `usage` must be one of them.",
        json_schema_extra={"default": ["usage"]},
    )
    credit_rates: dict[Annotated[str, TEXT], Annotated[float, RATE]] | None = Field(
        default=None,
        description="How many of an operation one credit buys. Overrides the published rates. VidNavigator only.",
        json_schema_extra={"x-default": "the published rates"},
    )
    max_operations: Annotated[int, COUNT] = Field(
        default=100,
        description="Most operations that are exported of one response. The rest is summed as `(other)`.",
    )
    interval: Annotated[float | None, INTERVAL] = Field(
        default=None, description="As `poll.interval`.", json_schema_extra={"x-default": "`poll.interval`"}
    )
    timeout: Annotated[float | None, DURATION] = Field(
        default=None, description="As `poll.timeout`.", json_schema_extra={"x-default": "`poll.timeout`"}
    )
    stale_after: Annotated[float | None, DURATION] = Field(
        default=None,
        description="As `poll.stale_after`.",
        json_schema_extra={"x-default": "`poll.stale_after`, or three intervals of this account"},
    )
    thresholds: ThresholdsBlock | None = Field(
        default=None, description="Levels of this account. They override the global levels one by one."
    )
    labels: dict[Annotated[str, LABEL_NAME], Annotated[str, LABEL_VALUE]] | None = Field(
        default=None,
        description="Labels to add to all series of the account. They are empty on accounts that do not set them.",
        json_schema_extra={"propertyNames": _LABEL_NAMES},
    )
    price: PriceBlock | None = Field(
        default=None,
        description="What one credit costs. Spend and balance are shown in money too.",
        json_schema_extra={"x-default": "the provider's `price`"},
    )
    variables: dict[Annotated[str, VARIABLE_NAME], Annotated[str, TEXT]] | None = Field(
        default=None, description="Values for the provider's `variables`, such as `{project_id: abc}`."
    )


class HeadBlock(Block):
    """The configuration file, in which each provider and each account is checked apart."""

    poll: Poll | None = Field(default=None, description="Defaults for every account.")
    thresholds: ThresholdsBlock | None = Field(
        default=None, description="Levels at which alerts fire, for accounts that do not set their own."
    )
    state: StateBlock | None = Field(default=None, description="Where data is kept over a restart.")
    history: HistoryBlock | None = Field(default=None, description="What the state keeps of each account's past.")
    providers: Any = None
    accounts: Any = None
    account_files: list[Annotated[str, TEXT]] | None = Field(
        default=None,
        description="Files with more accounts. Each file is a list as under `accounts`. Patterns such as "
        "`accounts.d/*.yaml` are relative to this file. `**` matches any number of directories.",
    )
