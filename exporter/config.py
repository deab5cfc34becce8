"""From YAML and environment to one frozen ``Config``, or every problem at once with file and line.

``yamlfile`` reads, ``schema`` says what each key may hold; this module merges the defaults, checks what keys and
accounts have to do with each other, and makes the result. It knows no vendor: the table of providers is handed to it.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from exporter import schema, thresholds, yamlfile
from exporter.credentials import KeySource
from exporter.durations import format_duration, parse_duration
from exporter.errors import ConfigError, CredentialError, Problem
from exporter.thresholds import Level, Threshold, Thresholds
from exporter.yamlfile import UNREADABLE, Map, Seq

__all__ = [
    "Account",
    "Config",
    "KeySource",
    "Level",
    "ProviderSpec",
    "Threshold",
    "Thresholds",
    "format_duration",
    "json_schema",
    "load",
    "parse_duration",
]

_HOURLY = 1 / 60
"""Requests a minute for everything collected beside the usage: VideoDB's billing is asked once an hour."""

_LEVELS = ("credits", "storage", "channels")

_Path = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=schema.Block)
_Shared = TypeVar("_Shared")


class ProviderSpec(Protocol):
    """What the configuration must know of a provider."""

    @property
    def base_url(self) -> str:
        """Return where its API is."""

    @property
    def collect(self) -> tuple[str, ...]:
        """Return the values that ``collect`` may hold."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account with all defaults filled in; times in seconds."""

    provider: str
    name: str
    key: KeySource
    base_url: str
    ca_file: Path | None
    max_requests_per_minute: int
    collect: tuple[str, ...]
    credit_rates: Mapping[str, float]
    max_operations: int
    interval: float
    timeout: float
    stale_after: float
    thresholds: Thresholds
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. ``warnings`` are what should be changed but stops nothing."""

    path: Path
    concurrency: int
    state_path: Path | None
    accounts: tuple[Account, ...]
    label_names: tuple[str, ...]
    warnings: tuple[Problem, ...]


def load(
    path: Path, providers: Mapping[str, ProviderSpec], environ: Mapping[str, str], *, strict: bool = False
) -> Config:
    """Return the configuration in a file; raise ConfigError with all of its problems.

    A key that cannot be read or sent is a warning (its account alone will fail), with ``strict`` a problem.
    """
    return _Loading(path, providers, environ, strict).run()


def json_schema(providers: Mapping[str, ProviderSpec]) -> dict[str, Any]:
    """Return the configuration's JSON Schema, for editors."""
    result = schema.Document.model_json_schema()
    _tidy(result)
    account = result["$defs"]["Account"]
    account["properties"]["provider"]["enum"] = sorted(providers)
    account["properties"]["collect"]["items"]["enum"] = sorted(
        {name for p in providers.values() for name in p.collect}
    )
    account["oneOf"] = [{"required": [name]} for name in schema.KEY_FIELDS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "video-api-exporter",
        **result,
    }


def _tidy(node: Any) -> None:
    """Drop the titles and null defaults that pydantic adds: they say nothing, and null is no value here."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    elif isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] is None:
            del node["default"]
        node.pop("x-default", None)
        for item in node.values():
            _tidy(item)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An account that is being checked: where it stands and which of its keys are known to be wrong."""

    document: yamlfile.Document
    path: _Path
    raw: Map
    model: schema.Account
    bad: frozenset[str]


@dataclass(slots=True)
class _KeyUse:
    """What the accounts that share a key ask of it, in requests a minute."""

    rate: float = 0
    limit: int = 1 << 62
    accounts: int = 0
    entry: _Entry | None = None


class _Loading:
    """One run over a configuration: gathers problems and never stops at the first."""

    def __init__(
        self, path: Path, providers: Mapping[str, ProviderSpec], environ: Mapping[str, str], strict: bool
    ) -> None:
        self.path = path
        self.providers = providers
        self.environ = environ
        self.strict = strict
        self.files: dict[str, int] = {}
        self.problems: dict[Problem, None] = {}  # ordered, each once
        self.warnings: dict[Problem, None] = {}
        self.main = yamlfile.Document(str(path))
        self.head = schema.Document()
        self.bad_head: frozenset[str] = frozenset()
        self.seen: dict[tuple[str, str], Problem] = {}
        self.keys: dict[KeySource, str | CredentialError] = {}
        self.key_uses: dict[tuple[str, str, str], _KeyUse] = {}
        self.merged: dict[schema.Thresholds, Thresholds] = {}
        self.contradicting: dict[Thresholds, list[tuple[str, str]]] = {}
        self.authorities: dict[str, str | None] = {}
        self.plain: set[str] = set()
        self.shared: dict[Any, Any] = {}

    def run(self) -> Config:
        self.main = self.read(str(self.path))
        raw = self.main.value
        if not isinstance(raw, Map):
            self.expect("a mapping with `accounts:`", self.main)
            raise self.refusal()
        self.check_head(raw)
        accounts = [account for entry in self.entries(raw) if (account := self.account(entry)) is not None]
        self.check_rates()
        if not self.seen and not self.problems:
            self.problem(
                self.main, ("accounts",), "no accounts: list one at least, under accounts or in account_files"
            )
        if self.problems:
            raise self.refusal()
        state = self.head.state.path
        return Config(
            path=self.path,
            concurrency=self.head.poll.concurrency,
            state_path=None if state is None else Path(self.beside(self.main, state)),
            accounts=tuple(accounts),
            label_names=tuple(sorted({name for account in accounts for name in account.labels})),
            warnings=self.in_order(self.warnings),
        )

    def read(self, file: str) -> yamlfile.Document:
        document = yamlfile.read(file, self.environ)
        self.files[file] = len(self.files)
        self.problems.update(dict.fromkeys(document.problems))
        return document

    def expect(self, what: str, document: yamlfile.Document) -> None:
        """Report a document whose value is not what belongs there, unless its problem is known."""
        if not document.problems:
            found = (
                "the file is empty"
                if document.value is None
                else f"must be {what}, not {schema.kind(document.value)}"
            )
            self.problem(
                document, (), found if document.value is not None else f"{found}; it must hold {what}"
            )

    def entries(self, raw: Map) -> Iterable[_Entry]:
        """Yield the accounts of the main file and of the account files."""
        listed = raw.get("accounts")
        if isinstance(listed, Seq):
            yield from self.items(self.main, ("accounts",), listed)
        elif listed is not None and listed is not UNREADABLE:
            self.problem(
                self.main, ("accounts",), f"must be a list (`- name: ...`), not {schema.kind(listed)}"
            )
        for file in self.account_files():
            document = self.read(file)
            if isinstance(document.value, Seq):
                yield from self.items(document, (), document.value)
            else:
                self.expect("a list of accounts (`- name: ...`; `[]` for none)", document)

    def items(self, document: yamlfile.Document, path: _Path, listed: Seq) -> Iterable[_Entry]:
        for index, raw in enumerate(listed):
            where = (*path, index)
            if isinstance(raw, Map):
                model, bad = self.validate(
                    schema.Account, raw, document, where, {"name": "?", "provider": "?"}
                )
                yield _Entry(document, where, raw, model, bad)
            elif raw is not UNREADABLE:
                self.problem(document, where, f"must be a mapping (`name: ...`), not {schema.kind(raw)}")

    def account_files(self) -> list[str]:
        """Return the files that the patterns of ``account_files`` match, sorted within each, each once."""
        found: dict[str, str] = {os.path.realpath(self.main.file): ""}
        for index, pattern in enumerate(self.head.account_files):
            matches = sorted(
                glob.glob(os.path.join(os.path.dirname(self.main.file), pattern), recursive=True)
            )
            if not matches:
                where = ("account_files", index)
                if glob.has_magic(pattern):
                    self.warn(self.main, where, "matches no file")
                else:
                    self.problem(
                        self.main, where, "there is no such file (the path is relative to this file)"
                    )
            for match in matches:
                if not os.path.isdir(match):
                    found.setdefault(os.path.realpath(match), match)
        return [file for file in found.values() if file]

    def beside(self, document: yamlfile.Document, path: str) -> str:
        """Return a path, which is relative to the file it is written in, as an absolute one."""
        return os.path.abspath(os.path.join(os.path.dirname(document.file), path))

    def check_head(self, raw: Map) -> None:
        """Validate everything but the accounts."""
        head = Map(raw.line)
        for key, value in raw.items():
            if key != "accounts":
                head[key] = value
        self.head, self.bad_head = self.validate(schema.Document, head, self.main, (), {})
        self.times(None)
        self.levels(None)

    def validate(
        self,
        model: type[_Model],
        raw: Map,
        document: yamlfile.Document,
        path: _Path,
        stand_ins: Mapping[str, str],
    ) -> tuple[_Model, frozenset[str]]:
        """Return what is right in a block, and the names of its keys that are not; report those."""
        try:
            return model.model_validate(raw), frozenset()
        except ValidationError as error:
            errors = error.errors(include_url=False)
        left: dict[str, Any] = {**stand_ins, **raw}
        bad: set[str] = set()
        unknown = {
            str(e["loc"][-1]): _suggestion(model, e["loc"]) for e in errors if e["type"] == "extra_forbidden"
        }
        for one in errors:
            where = tuple(step for step in one["loc"] if step != "[key]")
            first = str(where[0])
            bad.add(first)
            if first in stand_ins:
                left[first] = stand_ins[first]
            else:
                left.pop(first, None)
            if one["input"] is UNREADABLE or (one["type"] == "missing" and first in unknown.values()):
                continue
            self.problem(document, (*path, *where), _sentence(model, one))
        bad.update(filter(None, unknown.values()))
        return model.model_validate(left), frozenset(bad)

    def account(self, entry: _Entry) -> Account | None:
        """Return the account of an entry, or None where something about it is wrong."""
        model, bad = entry.model, entry.bad
        before = len(self.problems)
        spec = self.check_identity(entry)
        key = self.key(entry)
        levels = self.levels(entry)
        interval, timeout, stale_after = self.times(entry)
        ca_file = self.ca_file(entry)
        if bad or spec is None or key is None or len(self.problems) > before:
            return None
        account = Account(
            provider=self.share(model.provider),
            name=model.name,
            key=key,
            base_url=self.share(model.base_url or spec.base_url.rstrip("/")),
            ca_file=ca_file,
            max_requests_per_minute=model.max_requests_per_minute,
            collect=self.share(tuple(dict.fromkeys(model.collect))),
            credit_rates=self.share_mapping(model.credit_rates),
            max_operations=model.max_operations,
            interval=self.share(interval),
            timeout=self.share(timeout),
            stale_after=self.share(stale_after),
            thresholds=levels,
            labels=self.share_mapping(model.labels),
        )
        self.check_transport(entry, account.base_url)
        self.count_key(entry, account)
        return account

    def check_identity(self, entry: _Entry) -> ProviderSpec | None:
        """Check that the provider exists, knows what is asked of it, and has no other account of that name."""
        model, bad = entry.model, entry.bad
        if "provider" in bad:
            return None
        spec = self.providers.get(model.provider)
        if spec is None:
            self.problem(
                entry.document,
                (*entry.path, "provider"),
                _unknown("provider", model.provider, self.providers),
            )
            return None
        if "collect" not in bad:
            for index, name in enumerate(model.collect):
                if name not in spec.collect:
                    where = (*entry.path, "collect", index)
                    self.problem(entry.document, where, _unknown("value", name, spec.collect))
            if "usage" not in model.collect:
                self.problem(
                    entry.document,
                    (*entry.path, "collect"),
                    "must hold `usage`, which everything else rests on",
                )
        if "name" not in bad:
            here = Problem(entry.document.file, entry.raw.line, "", "")
            first = self.seen.setdefault((model.provider, model.name), here)
            if first is not here:
                self.problem(
                    entry.document,
                    (*entry.path, "name"),
                    f"duplicate account {model.provider}/{model.name}, first at {first.file}:{first.line}; "
                    "an account is known by provider and name",
                )
        return spec

    def key(self, entry: _Entry) -> KeySource | None:
        """Return where the key comes from; a key that cannot be read is a warning, or with ``strict`` a problem."""
        model = entry.model
        given = [name for name in schema.KEY_FIELDS if name in entry.raw]
        if entry.bad.intersection(schema.KEY_FIELDS):
            return None
        if not given:
            names = ", ".join(schema.KEY_FIELDS)
            self.problem(entry.document, entry.path, f"no key: give one of {names}")
            return None
        if len(given) > 1:
            where = (*entry.path, max(given, key=lambda name: entry.raw.lines[name]))
            self.problem(
                entry.document, where, f"a key is given in two ways ({', '.join(given)}); keep one of them"
            )
            return None
        if model.api_key_file is not None:
            source = KeySource("file", self.beside(entry.document, model.api_key_file))
        elif model.api_key_env is not None:
            source = KeySource("env", model.api_key_env, environ=self.environ)
        else:
            source = KeySource("literal", secret=model.api_key or "")
        where = (*entry.path, given[0])
        key = self.resolve(source)
        if isinstance(key, CredentialError):
            (self.problem if self.strict else self.warn)(entry.document, where, str(key))
        return source

    def resolve(self, source: KeySource) -> str | CredentialError:
        """Return the key as it is now, each source read once."""
        key = self.keys.get(source)
        if key is None:
            try:
                key = source.read()
            except CredentialError as error:
                key = error
            self.keys[source] = key
        return key

    def levels(self, entry: _Entry | None) -> Thresholds:
        """Return the thresholds of an account (None: those of the file), merged over what they inherit."""
        own = self.head.thresholds if entry is None else entry.model.thresholds
        if own not in self.merged:
            self.merged[own] = _merge(thresholds.DEFAULTS, self.head.thresholds, own)
        levels = self.merged[own]
        if self.bad_head.intersection({"thresholds"}) or (entry is not None and "thresholds" in entry.bad):
            return levels
        written = None if entry is None else entry.raw.get("thresholds")
        for name, sentence in self.contradictions(levels):
            if entry is not None and isinstance(written, Map) and name in written:
                self.problem(entry.document, (*entry.path, "thresholds", name), sentence)
            else:
                self.problem(self.main, ("thresholds", name), sentence)
        return levels

    def contradictions(self, levels: Thresholds) -> list[tuple[str, str]]:
        found = self.contradicting.get(levels)
        if found is None:
            pairs = {
                name: thresholds.contradiction(getattr(levels, name), falling=name == "credits")
                for name in _LEVELS
            }
            found = self.contradicting[levels] = [
                (name, sentence) for name, sentence in pairs.items() if sentence
            ]
        return found

    def times(self, entry: _Entry | None) -> tuple[float, float, float]:
        """Return interval, timeout and age of staleness of an account (None: of the file), and compare them."""
        poll = self.head.poll
        own = None if entry is None else entry.model
        interval = (own and own.interval) or poll.interval
        timeout = (own and own.timeout) or poll.timeout
        stale_after = (own and own.stale_after) or poll.stale_after or 3 * interval
        if timeout > interval and self.sure(entry, "timeout", "interval"):
            self.problem(
                *self.written(entry, "timeout", "interval"),
                f"the timeout of {format_duration(timeout)} is longer than the interval of {format_duration(interval)}; "
                "a poll must end before the next one is due",
            )
        if stale_after < interval and self.sure(entry, "stale_after", "interval"):
            self.problem(
                *self.written(entry, "stale_after", "interval"),
                f"stale_after, {format_duration(stale_after)}, is shorter than the interval of "
                f"{format_duration(interval)}; values would be withdrawn between two polls",
            )
        return interval, timeout, stale_after

    def sure(self, entry: _Entry | None, *names: str) -> bool:
        """Tell whether these times are what the user wrote: none stands for one that was refused."""
        return all(
            name not in entry.bad and (name in entry.raw or "poll" not in self.bad_head)
            if entry is not None
            else "poll" not in self.bad_head
            for name in names
        )

    def written(self, entry: _Entry | None, *names: str) -> tuple[yamlfile.Document, _Path]:
        """Return where the first of these times is written: with the account, else under ``poll``."""
        for name in names:
            if entry is not None and name in entry.raw:
                return entry.document, (*entry.path, name)
        poll = self.main.value.get("poll") or {}
        return self.main, ("poll", next((name for name in names if name in poll), names[0]))

    def ca_file(self, entry: _Entry) -> Path | None:
        """Return the authorities' file, after a look into it."""
        if entry.model.ca_file is None:
            return None
        path = self.beside(entry.document, entry.model.ca_file)
        if path not in self.authorities:
            self.authorities[path] = _flaw_of_authorities(path)
        wrong = self.authorities[path]
        if wrong:
            self.problem(entry.document, (*entry.path, "ca_file"), wrong)
        return self.share(Path(path))

    def check_transport(self, entry: _Entry, base_url: str) -> None:
        """Warn, once for each URL, where the key would cross a network in clear."""
        if base_url.startswith("http://") and base_url not in self.plain and not _is_loopback(base_url):
            self.plain.add(base_url)
            where = (*entry.path, "base_url")
            self.warn(
                entry.document, where, f"{base_url} sends the key unencrypted over the network; use https"
            )

    def count_key(self, entry: _Entry, account: Account) -> None:
        """Add what an account asks of its key; ``check_rates`` compares the sums."""
        key = self.resolve(account.key)
        identity = f"key:{key}" if isinstance(key, str) else account.key.identity
        rate = 60 / account.interval + _HOURLY * (len(account.collect) - 1)
        use = self.key_uses.setdefault((account.provider, account.base_url, identity), _KeyUse())
        use.rate += rate
        use.accounts += 1
        if account.max_requests_per_minute < use.limit:
            use.limit = account.max_requests_per_minute
            use.entry = entry

    def check_rates(self) -> None:
        """Refuse keys that are asked for more than the smallest limit among their accounts."""
        for use in self.key_uses.values():
            if use.rate > use.limit + 1e-9 and use.entry is not None:
                accounts = (
                    "this account asks"
                    if use.accounts == 1
                    else f"the {use.accounts} accounts with this key ask"
                )
                self.problem(
                    use.entry.document,
                    (*use.entry.path, "max_requests_per_minute"),
                    f"{accounts} for {use.rate:.4g} requests a minute in sum and at most {use.limit} are allowed (the "
                    "smallest max_requests_per_minute among them); lengthen the intervals or use more keys",
                )

    def problem(self, document: yamlfile.Document, path: _Path, message: str) -> None:
        self.problems[document.problem(path, message)] = None

    def warn(self, document: yamlfile.Document, path: _Path, message: str) -> None:
        self.warnings[document.problem(path, message)] = None

    def refusal(self) -> ConfigError:
        return ConfigError(self.in_order(self.problems))

    def in_order(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        return tuple(sorted(problems, key=lambda problem: (self.files[problem.file], problem.line or 0)))

    def share(self, value: _Shared) -> _Shared:
        """Return one object for all equal values: 10,000 accounts have few different ones."""
        result: _Shared = self.shared.setdefault((type(value), value), value)
        return result

    def share_mapping(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        items = tuple(value.items())
        if items not in self.shared:
            self.shared[items] = MappingProxyType(dict(items))
        result: Mapping[str, Any] = self.shared[items]
        return result


def _merge(defaults: Thresholds, *blocks: schema.Thresholds) -> Thresholds:
    """Return the defaults with each level that a block names put in its place, later blocks last."""
    pairs = []
    for name in _LEVELS:
        pair: Threshold = getattr(defaults, name)
        for block in blocks:
            written = getattr(block, name)
            pair = Threshold(
                warning=pair.warning if written.warning is None else written.warning,
                critical=pair.critical if written.critical is None else written.critical,
            )
        pairs.append(pair)
    return Thresholds(*pairs)


def _sentence(model: type[schema.Block], error: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors in words that say what would be right."""
    kind = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        block = _block_at(model, error["loc"][:-1])
        return _unknown("key", str(error["loc"][-1]), block.model_fields)
    found = schema.kind(error["input"])
    if kind == "list_type":
        return f"must be a list (`[a, b]`, or lines with `- `), not {found}"
    return f"must be a mapping (lines with `key: value`), not {found}"


def _suggestion(model: type[schema.Block], location: tuple[str | int, ...]) -> str | None:
    """Return the key that an unknown one was probably meant to be."""
    return _close(str(location[-1]), _block_at(model, location[:-1]).model_fields)


def _block_at(model: type[schema.Block], location: Iterable[str | int]) -> type[schema.Block]:
    for step in location:
        annotation = model.model_fields[str(step)].annotation
        if isinstance(annotation, type) and issubclass(annotation, schema.Block):
            model = annotation
    return model


def _close(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name[:64], list(known), n=1)), None)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence on a name that is not among the known ones."""
    close = _close(name, known)
    end = f"did you mean {close}?" if close else f"known are {', '.join(sorted(known))}"
    return f"unknown {what} {yamlfile.quote(name)}; {end}"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return (
        host in ("localhost", "::1")
        or host.endswith(".localhost")
        or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
    )


def _flaw_of_authorities(path: str) -> str | None:
    import ssl  # here, since few configurations name a file and check-config must answer at once

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    return None
