"""From YAML and environment to one frozen ``Config``, or every problem at once with file and line.

``yaml`` reads, ``schema`` says what may be written where; this module merges the defaults, checks what
keys and accounts have to do with each other, and makes the result. It knows no vendor: the table of providers
is handed to it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from exporter.config import schema, thresholds, yaml
from exporter.config.authorities import Authorities, authorities_for
from exporter.config.credentials import KEY_FIELDS, KeySource
from exporter.config.document import UNREADABLE, Document, Map, Place, Seq
from exporter.config.durations import format_duration, parse_duration
from exporter.config.key_budget import KeyUses
from exporter.config.proxies import proxy_for
from exporter.config.rules import is_loopback, kind
from exporter.config.thresholds import Level, Threshold, Thresholds
from exporter.errors import ConfigError, CredentialError, Problem

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

_BILLING_CALLS = 1 / 60
"""Requests a minute for each thing collected beside the usage: it is asked once an hour."""

_LEVELS = ("credits", "storage", "channels")
_STAND_INS = {"name": "?", "provider": "?"}

_Shared = TypeVar("_Shared")


class ProviderSpec(Protocol):
    """What the configuration must know of a provider."""

    @property
    def base_url(self) -> str:
        """Return where its API is."""

    @property
    def collect(self) -> tuple[str, ...]:
        """Return the values that ``collect`` may hold."""

    @property
    def credit_rates(self) -> Mapping[str, float]:
        """Return what one credit buys by the published rates; empty where credits are billed as such."""

    @property
    def quotas(self) -> tuple[str, ...]:
        """Return which of storage and channels it limits."""


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
    return schema.json_schema(providers, {name for spec in providers.values() for name in spec.collect})


@dataclass(frozen=True, slots=True)
class _Entry:
    """An account that is being checked."""

    place: Place
    raw: Map
    checked: schema.Checked[schema.Account]


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
        self.problems: dict[Problem, None] = {}  # in the order found, each once
        self.warnings: dict[Problem, None] = {}
        self.main = Place(Document(str(path)))
        self.head = schema.Checked(schema.Document())
        self.poll = schema.Poll()
        self.base = schema.Thresholds()
        self.accounts: dict[tuple[str, str], Place] = {}
        self.keys = KeyUses()
        self.levels_of: dict[schema.Thresholds | None, tuple[Thresholds, dict[str, str]]] = {}
        self.authorities: dict[Authorities, str | None] = {}
        self.warned: set[str] = set()
        self.reached: set[tuple[str, Path | None]] = set()
        self.shared: dict[Any, Any] = {}

    def run(self) -> Config:
        self.main = self.read(str(self.path))
        raw = self.main.document.value
        if not isinstance(raw, Map):
            self.expect("a mapping with `accounts:`", self.main)
            raise self.refusal()
        self.check_head(raw)
        accounts = [account for entry in self.entries(raw) if (account := self.account(entry)) is not None]
        for place, sentence in self.keys.excesses():
            self.problem(place, sentence)
        if not accounts and not self.problems:
            self.problem(self.main.at("accounts"), "is empty: list at least one, here or in account_files")
        if self.problems:
            raise self.refusal()
        state = self.head.model.state
        return Config(
            path=self.path,
            concurrency=self.poll.concurrency,
            state_path=Path(self.beside(self.main, state.path)) if state and state.path else None,
            accounts=tuple(accounts),
            label_names=tuple(sorted({name for account in accounts for name in account.labels})),
            warnings=self.in_order(self.warnings),
        )

    def read(self, file: str) -> Place:
        document = yaml.read(file, self.environ)
        self.files[file] = len(self.files)
        self.problems.update(dict.fromkeys(document.problems))
        return Place(document)

    def expect(self, what: str, place: Place) -> None:
        """Report a document that is something else, unless it could not be read at all."""
        value, problems = place.document.value, place.document.problems
        if value is None and not problems:
            self.problem(place, f"the file is empty; it must hold {what}")
        elif value is not None and value is not UNREADABLE:
            self.problem(place, f"must be {what}, not {kind(value)}")

    def check_head(self, raw: Map) -> None:
        """Check everything but the accounts."""
        head = {key: value for key, value in raw.items() if key != "accounts"}
        self.head = schema.check(schema.Document, head, {})
        for path, sentence in self.head.mistakes:
            self.problem(self.main.at(*path), sentence)
        self.poll = self.head.model.poll or self.poll
        self.base = self.head.model.thresholds or self.base
        self.times(None)
        self.levels(None)
        self.ca_file(None)

    def entries(self, raw: Map) -> Iterator[_Entry]:
        """Yield the accounts of the main file and of the account files."""
        listed = raw.get("accounts")
        if isinstance(listed, Seq):
            yield from self.items(self.main.at("accounts"), listed)
        elif listed is not None and listed is not UNREADABLE:
            self.problem(self.main.at("accounts"), f"must be a list (`- name: ...`), not {kind(listed)}")
        for file in self.account_files():
            place = self.read(file)
            if isinstance(place.document.value, Seq):
                yield from self.items(place, place.document.value)
            else:
                self.expect("a list of accounts (`- name: ...`; `[]` for none)", place)

    def items(self, listed_at: Place, listed: Seq) -> Iterator[_Entry]:
        for index, raw in enumerate(listed):
            place = listed_at.at(index)
            if isinstance(raw, Map):
                checked = schema.check(schema.Account, raw, _STAND_INS)
                for path, sentence in checked.mistakes:
                    self.problem(place.at(*path), sentence)
                yield _Entry(place, raw, checked)
            elif raw is not UNREADABLE:
                self.problem(place, f"must be a mapping (`name: ...`), not {kind(raw)}")

    def account_files(self) -> list[str]:
        """Return the files that ``account_files`` match, by pattern and name; none twice."""
        found: dict[str, str] = {os.path.realpath(self.path): ""}
        for index, pattern in enumerate(self.head.model.account_files or ()):
            below = os.path.join(glob.escape(os.path.dirname(self.path)), pattern)
            matches = sorted(glob.glob(below, recursive=True))
            place = self.main.at("account_files", index)
            if not matches and glob.has_magic(pattern):
                self.warn(place, "matches no file")
            elif not matches:
                self.problem(place, "there is no such file (a path is relative to the file it stands in)")
            for match in matches:
                if not os.path.isdir(match):
                    found.setdefault(os.path.realpath(match), match)
                elif not glob.has_magic(pattern):
                    self.problem(place, f"is a directory; write {os.path.join(pattern, '*.yaml')}")
        return [file for file in found.values() if file]

    def beside(self, place: Place, path: str) -> str:
        """Return a path, which is relative to the file it is written in, as an absolute one."""
        return os.path.abspath(os.path.join(os.path.dirname(place.document.file), path))

    def account(self, entry: _Entry) -> Account | None:
        """Return the account of an entry, or None where something about it is wrong."""
        model, before = entry.checked.model, len(self.problems)
        spec = self.provider(entry)
        key = self.key(entry)
        levels = self.levels(entry)
        interval, timeout, stale_after = self.times(entry)
        ca_file = self.ca_file(entry)
        if entry.checked.bad or spec is None or key is None or len(self.problems) > before:
            return None
        account = Account(
            provider=self.share(model.provider),
            name=model.name,
            key=key,
            base_url=self.share(model.base_url or spec.base_url.rstrip("/")),
            ca_file=ca_file,
            max_requests_per_minute=model.max_requests_per_minute,
            collect=self.share(tuple(dict.fromkeys(model.collect or ("usage",)))),
            credit_rates=self.share_mapping(model.credit_rates),
            max_operations=model.max_operations,
            interval=self.share(interval),
            timeout=self.share(timeout),
            stale_after=self.share(stale_after),
            thresholds=self.share(levels.of(spec.quotas)),
            labels=self.share_mapping(model.labels),
        )
        url = account.base_url
        if url.startswith("http://") and not is_loopback(url):
            self.warn_once(url, entry.place.at("base_url"), f"{url} has the key sent unencrypted; use https")
        self.surroundings(entry.place, url, ca_file)
        rate = 60 / account.interval + _BILLING_CALLS * (len(account.collect) - 1)
        limit = account.max_requests_per_minute
        self.keys.add(entry.place, account.provider, account.name, url, key, rate, limit)
        return account

    def provider(self, entry: _Entry) -> ProviderSpec | None:
        """Check that the provider exists, has what is asked of it, and no other account of that name."""
        model, checked, place = entry.checked.model, entry.checked, entry.place
        if checked.hits("provider"):
            return None
        spec = self.providers.get(model.provider)
        if spec is None:
            known = schema.unknown("provider", model.provider, self.providers)
            self.problem(place.at("provider"), known)
            return None
        if model.collect is not None:
            for index, name in enumerate(model.collect):
                if name not in spec.collect:
                    known = schema.unknown(f"thing to collect from {model.provider}:", name, spec.collect)
                    self.problem(place.at("collect", index), known)
            if "usage" not in model.collect:
                self.problem(place.at("collect"), "must hold usage: all else rests on it")
        if model.credit_rates and not spec.credit_rates:
            self.problem(place.at("credit_rates"), f"{model.provider} counts in credits itself; leave this out")
        if not checked.hits("name"):
            first = self.accounts.setdefault((model.provider, model.name), place)
            if first is not place:
                known_as = f"{model.provider}/{model.name}"
                where = f"{first.document.file}:{first.document.line(first.path)}"
                self.problem(place.at("name"), f"duplicate account {known_as}, first at {where}; rename one")
        return spec

    def key(self, entry: _Entry) -> KeySource | None:
        """Return where the key comes from; an unreadable one is a warning, with ``strict`` a problem."""
        model, place = entry.checked.model, entry.place
        if any(entry.checked.hits(name) for name in KEY_FIELDS):
            return None
        given = [name for name in entry.raw if name in KEY_FIELDS]
        if not given:
            self.problem(place, f"no key: give one of {', '.join(KEY_FIELDS)}")
            return None
        if len(given) > 1:
            both = " and ".join(given)
            self.problem(place.at(given[-1]), f"the key is given in more than one way: {both}; keep one")
            return None
        if model.api_key_file is not None:
            source = KeySource("file", self.beside(place, model.api_key_file))
        elif model.api_key_env is not None:
            source = KeySource("env", model.api_key_env, environ=self.environ)
        else:
            source = KeySource("literal", secret=model.api_key or "")
        key = self.keys.read(source)
        if isinstance(key, CredentialError):
            (self.problem if self.strict else self.warn)(place.at(given[0]), str(key))
        elif source.where not in self.warned:
            readable = source.warning()
            if readable:
                self.warn_once(source.where, place.at(given[0]), readable)
        return source

    def surroundings(self, place: Place, url: str, ca_file: Path | None) -> None:
        """Tell what is wrong with the variables that decide how a URL is reached; see ``key`` for ``strict``."""
        if (url, ca_file) in self.reached:
            return
        self.reached.add((url, ca_file))
        proxy = proxy_for(url, self.environ)
        for remark in proxy.remarks if proxy else ():
            self.warn_once(remark, place, remark)
        flaws = [proxy.flaw] if proxy and proxy.flaw else []
        authorities = authorities_for(None, self.environ)
        if authorities and ca_file is None and url.startswith("https:") and (flaw := self.flaw_of(authorities)):
            flaws.append(f"{authorities.named_by}: {flaw}")
        for flaw in flaws:
            if flaw not in self.warned:
                self.warned.add(flaw)
                (self.problem if self.strict else self.warn)(place, flaw)

    def flaw_of(self, authorities: Authorities) -> str | None:
        if authorities not in self.authorities:
            self.authorities[authorities] = authorities.flaw()
        return self.authorities[authorities]

    def levels(self, entry: _Entry | None) -> Thresholds:
        """Return the thresholds of an account (None: of the file), merged over what they inherit."""
        own = entry.checked.model.thresholds if entry else None
        known = self.levels_of.get(own)
        if known is None:
            merged = _merge(self.base, own)
            pairs = ((name, getattr(merged, name)) for name in _LEVELS)
            sentences = {name: thresholds.contradiction(pair, falling=name == "credits") for name, pair in pairs}
            known = self.levels_of[own] = merged, {name: text for name, text in sentences.items() if text}
        levels, contradictions = known
        for name, sentence in contradictions.items():
            if self.head.hits("thresholds", name) or (entry and entry.checked.hits("thresholds", name)):
                continue
            written = entry.raw.get("thresholds") if entry else None
            there = entry.place if entry and isinstance(written, Map) and name in written else self.main
            self.problem(there.at("thresholds", name), sentence)
        return levels

    def times(self, entry: _Entry | None) -> tuple[float, float, float]:
        """Return interval, timeout and staleness of an account (None: of the file), after comparing them."""
        own = None if entry is None else entry.checked.model
        interval = (own and own.interval) or self.poll.interval
        timeout = (own and own.timeout) or self.poll.timeout
        stale_after = (own and own.stale_after) or self.poll.stale_after or 3 * interval
        if timeout > interval and self.sure(entry, "timeout", "interval"):
            self.problem(
                self.written(entry, "timeout", "interval"),
                f"the timeout, {format_duration(timeout)}, is longer than the interval, "
                f"{format_duration(interval)}; a poll must end before the next one is due",
            )
        if stale_after < interval and self.sure(entry, "stale_after", "interval"):
            self.warn(
                self.written(entry, "stale_after", "interval"),
                f"stale_after, {format_duration(stale_after)}, is shorter than the interval, "
                f"{format_duration(interval)}; values are withdrawn between two polls",
            )
        return interval, timeout, stale_after

    def sure(self, entry: _Entry | None, *names: str) -> bool:
        """Tell whether these times are what the user wrote, and none stands for one that was refused."""
        for name in names:
            if entry is not None and entry.checked.hits(name):
                return False
            if (entry is None or name not in entry.raw) and self.head.hits("poll", name):
                return False
        return True

    def written(self, entry: _Entry | None, *names: str) -> Place:
        """Return where the first of these times is written: with the account, else under ``poll``."""
        for name in names:
            if entry is not None and name in entry.raw:
                return entry.place.at(name)
        return self.main.at("poll", names[0])

    def ca_file(self, entry: _Entry | None) -> Path | None:
        """Return the authorities' file of an account (None: of all), after a look into it."""
        own = entry.checked.model.ca_file if entry else None
        place = entry.place.at("ca_file") if entry and own else self.main.at("poll", "ca_file")
        written = own or self.poll.ca_file
        if written is None:
            return None
        path = Path(self.beside(place, written))
        flaw = self.flaw_of(Authorities("ca_file", (str(path),)))
        if flaw:
            self.problem(place, flaw)
        return self.share(path)

    def problem(self, place: Place, message: str) -> None:
        self.problems[place.problem(message)] = None

    def warn(self, place: Place, message: str) -> None:
        self.warnings[place.problem(message)] = None

    def warn_once(self, subject: str, place: Place, message: str) -> None:
        """Warn of a file or URL where it is named first: thousands of accounts may share it."""
        if subject not in self.warned:
            self.warned.add(subject)
            self.warn(place, message)

    def refusal(self) -> ConfigError:
        return ConfigError(self.in_order(self.problems))

    def in_order(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        return tuple(sorted(problems, key=lambda problem: (self.files[problem.file], problem.line or 0)))

    def share(self, value: _Shared) -> _Shared:
        """Return one object for all equal values: 10,000 accounts have few different ones."""
        result: _Shared = self.shared.setdefault((type(value), value), value)
        return result

    def share_mapping(self, value: Mapping[str, Any] | None) -> Mapping[str, Any]:
        items = tuple(value.items()) if value else ()
        result: Mapping[str, Any] = self.shared.setdefault(items, MappingProxyType(dict(items)))
        return result


def _merge(*blocks: schema.Thresholds | None) -> Thresholds:
    """Return the default thresholds with all levels that the blocks name in place, later blocks last."""
    pairs: dict[str, Threshold] = {}
    for name in _LEVELS:
        pair: Threshold = getattr(thresholds.DEFAULTS, name)
        for block in blocks:
            written = getattr(block, name, None)
            if written is not None:
                pair = Threshold(
                    warning=pair.warning if written.warning is None else written.warning,
                    critical=pair.critical if written.critical is None else written.critical,
                )
        pairs[name] = pair
    return Thresholds(**pairs)
