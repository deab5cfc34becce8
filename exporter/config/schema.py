"""What a user may write into the configuration: one model per block, each key with its rule and description.

The models are the source of the JSON Schema and of ``docs/configuration.md`` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from exporter.config.credentials import KEY_FIELDS
from exporter.config.document import UNREADABLE, Path, quote
from exporter.config.rules import (
    COUNT,
    CREDITS,
    DURATION,
    INTERVAL,
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
    kind,
)
from exporter.config.thresholds import Level

_LABEL_NAMES: JsonDict = {
    "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$",
    "not": {"anyOf": [{"pattern": "^__"}, {"enum": [*sorted(TAKEN_LABELS)]}]},
}


class Block(BaseModel):
    """A mapping whose keys are all known. A block or list that is empty in YAML is one that is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Poll(Block):
    """Defaults for every account."""

    interval: Annotated[float, INTERVAL] = Field(
        default=300.0,
        description="Time between two polls, `10s` at the least. The vendors refresh every 5 to 15 minutes.",
        json_schema_extra={"default": "5m"},
    )
    timeout: Annotated[float, DURATION] = Field(
        default=10.0,
        description="The longest that a whole poll may take: connection, slow body, retries and the waits "
        "between them. Not longer than the interval.",
        json_schema_extra={"default": "10s"},
    )
    concurrency: Annotated[int, COUNT] = Field(
        default=16,
        description="Polls at the same time for each provider and base URL, so that one hanging vendor stops no other.",
    )
    stale_after: Annotated[float | None, DURATION] = Field(
        default=None,
        description="The age at which an account's last good values are withdrawn. One that is shorter than the "
        "interval gets a warning.",
        json_schema_extra={"x-default": "three intervals"},
    )
    ca_file: Annotated[str | None, TEXT] = Field(
        default=None,
        description="PEM file of the authorities that may sign the certificates of all APIs.",
        json_schema_extra={"x-default": "the usual variables', else the public ones"},
    )


class Credits(Block):
    """Balance below which an alert fires; the warning is the higher one. What is left out is inherited."""

    warning: Annotated[Level | None, CREDITS] = Field(
        default=None,
        description="A number of credits, or a share of the monthly limit such as `20%`.",
        json_schema_extra={"x-default": "20%; 20 credits where there is no limit"},
    )
    critical: Annotated[Level | None, CREDITS] = Field(
        default=None,
        description="As for the warning. An amount and a share are not compared with each other.",
        json_schema_extra={"x-default": "5%; 5 credits where there is no limit"},
    )


class Storage(Block):
    """Used storage as a ratio of the limit, at which an alert fires; the warning is the lower one."""

    warning: Annotated[Level | None, RATIO] = Field(
        default=None, description="A ratio from 0 to 1.", json_schema_extra={"x-default": "0.8"}
    )
    critical: Annotated[Level | None, RATIO] = Field(
        default=None, description="A ratio from 0 to 1.", json_schema_extra={"x-default": "0.95"}
    )


class Channels(Block):
    """Indexed channels as a ratio of the limit, at which an alert fires; the warning is the lower one."""

    warning: Annotated[Level | None, RATIO] = Field(
        default=None, description="A ratio from 0 to 1.", json_schema_extra={"x-default": "0.8"}
    )
    critical: Annotated[Level | None, RATIO] = Field(
        default=None, description="A ratio from 0 to 1.", json_schema_extra={"x-default": "1.0"}
    )


class Thresholds(Block):
    """What the alerts compare with."""

    credits: Credits | None = Field(default=None, description="Of the balance.")
    storage: Storage | None = Field(default=None, description="Of the used storage.")
    channels: Channels | None = Field(default=None, description="Of the indexed channels.")


class State(Block):
    """What outlives the process."""

    path: Annotated[str | None, TEXT] = Field(
        default=None,
        description="The SQLite file for readings, counters and cool-downs. Its directory must be writable.",
        json_schema_extra={"x-default": "nothing outlives the process"},
    )


class Account(Block):
    """One account at a vendor. It is known by provider and name."""

    name: Annotated[str, NAME] = Field(description="The value of the `account` label. Unique within its provider.")
    provider: Annotated[str, TEXT] = Field(description="The vendor.")
    api_key_file: Annotated[str | None, TEXT] = Field(
        default=None,
        repr=False,
        description="A file that holds the key and nothing else; read again at each poll. Exactly one of "
        "`api_key_file`, `api_key_env` and `api_key` is given.",
    )
    api_key_env: Annotated[str | None, VARIABLE] = Field(
        default=None, repr=False, description="The name of an environment variable that holds the key."
    )
    api_key: Annotated[str | None, KEY] = Field(
        default=None, repr=False, description="The key itself. A file or variable is the better place for it."
    )
    base_url: Annotated[str | None, URL] = Field(
        default=None,
        description="Where the API is. Plain `http` is taken, with a warning unless it is on this machine.",
        json_schema_extra={"x-default": "the provider's own"},
    )
    ca_file: Annotated[str | None, TEXT] = Field(
        default=None,
        description="PEM file of the authorities that may sign the API's certificate.",
        json_schema_extra={"x-default": "`poll.ca_file`"},
    )
    max_requests_per_minute: Annotated[int, COUNT] = Field(
        default=50,
        description="The most requests with this key in any 60 seconds, retries included. Accounts with the "
        "same provider, base URL and key share it; the smallest of theirs counts.",
    )
    collect: list[Annotated[str, TEXT]] | None = Field(
        default=None,
        description="What to ask for; `usage` always is one.",
        json_schema_extra={"default": ["usage"]},
    )
    credit_rates: dict[Annotated[str, TEXT], Annotated[float, RATE]] | None = Field(
        default=None,
        description="VidNavigator: how many of an operation one credit buys, over the published rates.",
        json_schema_extra={"x-default": "the published rates"},
    )
    max_operations: Annotated[int, COUNT] = Field(
        default=100,
        description="The most operations exported for one answer; the rest is summed as `(other)`.",
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
        json_schema_extra={"x-default": "`poll.stale_after`, else three intervals of this account"},
    )
    thresholds: Thresholds | None = Field(default=None, description="Merged over the global ones, level by level.")
    labels: dict[Annotated[str, LABEL_NAME], Annotated[str, LABEL_VALUE]] | None = Field(
        default=None,
        description="More labels on all series of the account; empty on accounts that do not set them.",
        json_schema_extra={"propertyNames": _LABEL_NAMES},
    )


class Document(Block):
    """The whole configuration file."""

    poll: Poll | None = Field(default=None, description="Defaults for every account.")
    thresholds: Thresholds | None = Field(
        default=None, description="What the alerts compare with, for accounts that do not say otherwise."
    )
    state: State | None = Field(default=None, description="What outlives the process.")
    accounts: list[Account] | None = Field(default=None, description="The accounts to poll.")
    account_files: list[Annotated[str, TEXT]] | None = Field(
        default=None,
        description="Files with more accounts, each a list as under `accounts`. Patterns such as "
        "`accounts.d/*.yaml` are relative to this file; `**` stands for any number of directories.",
    )


_Model = TypeVar("_Model", bound=Block)


@dataclass(frozen=True, slots=True)
class Checked(Generic[_Model]):
    """What is right in a block, and its ``mistakes``: a path and a sentence each.

    ``bad`` holds the paths whose values are not what the user wrote, so that nothing further is said of them.
    """

    model: _Model
    mistakes: tuple[tuple[Path, str], ...] = ()
    bad: frozenset[Path] = frozenset()

    def hits(self, *path: str) -> bool:
        """Tell whether a value, something in it or something around it is bad."""
        return any(one[: len(path)] == path[: len(one)] for one in self.bad)


def check(model: type[_Model], raw: Mapping[str, Any], stand_ins: Mapping[str, Any]) -> Checked[_Model]:
    """Check a block against its model; ``stand_ins`` take the place of required keys that are wrong."""
    try:
        return Checked(model.model_validate(raw))
    except ValidationError as error:
        errors = error.errors(include_url=False)
    mistakes: list[tuple[Path, str]] = []
    bad: set[Path] = set()
    left: dict[str, Any] = dict(raw)
    for one in errors:
        if one["type"] == "extra_forbidden":
            *inside, name = one["loc"]
            meant = close(str(name), _keys(_block_at(model, inside)))
            if meant is not None:
                bad.add((*inside, meant))
    meant_paths = frozenset(bad)
    for one in errors:
        path = tuple(step for step in one["loc"] if step != "[key]")
        pruned = path[: next((i for i, step in enumerate(path) if isinstance(step, int)), len(path))]
        left = _without(left, pruned)
        bad.add(pruned)
        if one["input"] is UNREADABLE or (one["type"] == "missing" and path in meant_paths):
            continue
        mistakes.append((path, _sentence(model, one)))
    for name, value in stand_ins.items():
        left.setdefault(name, value)
    return Checked(model.model_validate(left), tuple(mistakes), frozenset(bad))


def _without(block: Mapping[str, Any], path: Path) -> dict[str, Any]:
    first, *rest = path
    inner = block.get(str(first))
    if rest and isinstance(inner, Mapping):
        return {**block, str(first): _without(inner, tuple(rest))}
    return {key: value for key, value in block.items() if key != first}


def _sentence(model: type[Block], error: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors in words that say what would be right."""
    what = error["type"]
    if what == "value_error":
        return str(error["ctx"]["error"])
    if what == "missing":
        return "is missing"
    if what == "extra_forbidden":
        *inside, name = error["loc"]
        return unknown("key", str(name), _keys(_block_at(model, inside)))
    found = kind(error["input"])
    if what == "list_type":
        return f"must be a list (`[a, b]`, or lines with `- `), not {found}"
    return f"must be a mapping (lines with `key: value`), not {found}"


def _keys(model: type[Block]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _block_at(model: type[Block], path: Iterable[str | int]) -> type[Block]:
    for step in path:
        for annotation in get_args(model.model_fields[str(step)].annotation):  # of ``Poll | None``
            if isinstance(annotation, type) and issubclass(annotation, Block):
                model = annotation
    return model


def close(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, if any comes close."""
    return next(iter(get_close_matches(name[:64], list(known), n=1)), None)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence on a name that is not among the known ones."""
    meant = close(name, known)
    end = f"did you mean {meant}?" if meant else f"known are {', '.join(sorted(known))}"
    return f"unknown {what} {quote(name)}; {end}"


def json_schema(providers: Iterable[str], collect: Iterable[str]) -> dict[str, Any]:
    """Return the JSON Schema of the file, with the names that only the table of providers knows."""
    result = as_json_schema(Document, "video-api-exporter")
    account = result["$defs"]["Account"]
    account["properties"]["provider"]["enum"] = sorted(providers)
    account["properties"]["collect"]["anyOf"][0]["items"]["enum"] = sorted(collect)
    account["oneOf"] = [{"required": [name]} for name in KEY_FIELDS]
    return result


def as_json_schema(model: type[Block], title: str) -> dict[str, Any]:
    """Return the JSON Schema of a file that a model describes."""
    result = model.model_json_schema()
    _tidy(result)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **result}


def _tidy(node: object) -> None:
    """Drop pydantic's titles and null defaults: they say nothing, and null is no value here."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] is None:
            del node["default"]
        node.pop("x-default", None)
        for item in node.values():
            _tidy(item)
