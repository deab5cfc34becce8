"""From YAML and environment to one frozen ``Config``, or every problem at once with file and line.

``yaml`` reads, ``schema`` says what may be written where, ``account_rules`` checks one account and ``account_set``
all of them together. The configuration knows no vendor, because the table of providers is handed to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from exporter.config import checking, schema, yaml
from exporter.config.account_files import account_files
from exporter.config.account_rules import AccountRules, Entry, Head, key_source
from exporter.config.account_set import AccountSet
from exporter.config.accounts import Account, Config
from exporter.config.credentials import KEY_FIELDS
from exporter.config.document import UNREADABLE, Location, Map, Seq
from exporter.config.providers import KnownProviders, preset_names, price_of
from exporter.config.report import Report
from exporter.config.rules import kind, rule_of
from exporter.config.state_rules import state_source
from exporter.providers.base import Provider
from exporter.providers.packages import packaged
from exporter.readings import Kept

_APART = ("accounts", "providers")
"""Blocks that are checked one by one."""
_STAND_INS = {"name": "?", "provider": "?"}

_OWN = {name: rule_of(schema.AccountBlock, name) for name in ("name", *KEY_FIELDS)}
"""The keys in which no two accounts are alike, with their rules."""
_COMMON = [name for name in Account._fields if name not in ("name", "key")]

_Shared = TypeVar("_Shared")


def load(path: Path, providers: Mapping[str, Provider], environ: Mapping[str, str], *, strict: bool = False) -> Config:
    """Return the configuration in a file; raise ConfigError with all of its problems.

    A key that cannot be read or sent is a warning (its account alone will fail), with ``strict`` a problem.
    """
    report = Report(strict)
    main = _read(str(path), environ, report)
    raw = main.document.value
    if not isinstance(raw, Map):
        _expect("a mapping with `accounts:`", main, report)
        raise report.refusal()
    head = _check_head(main, raw, report)
    known = KnownProviders(providers, report)
    known.read(main.at("providers"), raw.get("providers"))
    accounts = list(_Accounts(head, known, environ, report).all(raw))
    if not accounts and not report.problems:
        report.problem(main.at("accounts"), "is empty: list at least one, here or in account_files")
    state = state_source(head, environ, report)
    if report.problems:
        raise report.refusal()
    history = head.checked.model.history
    return Config(
        path=path,
        concurrency=head.poll.concurrency,
        state=state,
        accounts=tuple(accounts),
        providers=known.usable(),
        label_names=tuple(sorted({name for account in accounts for name in account.labels})),
        warnings=report.warnings(),
        history=Kept(history.hourly, history.daily) if history else Kept(),
        own_providers=repr(raw.get("providers")),
    )


def json_schema(providers: Mapping[str, Provider]) -> dict[str, Any]:
    """Return the configuration's JSON Schema, for editors."""
    from exporter.config.json_schema import json_schema as as_json_schema  # with models that no start needs

    names = sorted({*providers, *preset_names(), *packaged()})
    return as_json_schema(names, {name for spec in providers.values() for name in spec.collect})


def _read(file: str, environ: Mapping[str, str], report: Report) -> Location:
    document = yaml.read(file, environ)
    report.read(document)
    return Location(document)


def _expect(what: str, location: Location, report: Report) -> None:
    """Report a document that is something else, unless it could not be read at all."""
    value, problems = location.document.value, location.document.problems
    if value is None and not problems:
        report.problem(location, f"the file is empty; it must hold {what}")
    elif value is not None and value is not UNREADABLE:
        report.problem(location, f"must be {what}, not {kind(value)}")


def _check_head(main: Location, raw: Map, report: Report) -> Head:
    checked = checking.check(schema.HeadBlock, {key: value for key, value in raw.items() if key not in _APART}, {})
    for path, sentence in checked.mistakes:
        report.problem(main.at(*path), sentence)
    return Head(main, checked)


class _Accounts:
    """The accounts of the main file and of the account files."""

    def __init__(self, head: Head, known: KnownProviders, environ: Mapping[str, str], report: Report) -> None:
        self._head = head
        self._environ = environ
        self._report = report
        self._rules = AccountRules(head, known, environ, report)
        self._set = AccountSet(environ, report, self._rules.problem_of)
        self._shared: dict[Any, Any] = {}
        self._files = [head.location]
        self._makers: dict[str, Callable[..., Account]] = {}
        """What makes an account of a name and a key, by all else that is written of an account."""
        self._common_ca_file: Path | None = None

    def all(self, raw: Map) -> Iterator[Account]:
        """Yield every account that is right; report what is wrong with the others."""
        self._rules.times(None)
        self._rules.levels(None)
        self._common_ca_file = self._rules.ca_file(None)
        for location, block in self._blocks(raw):
            account = self._account(location, block)
            if account is not None:
                self._set.add(location, account, self._rules.requests_of(account))
                yield account
        self._set.finish(self._files)

    def _blocks(self, raw: Map) -> Iterator[tuple[Location, Map]]:
        main, listed = self._head.location, raw.get("accounts")
        if isinstance(listed, Seq):
            yield from self._items(main.at("accounts"), listed)
        elif listed is not None and listed is not UNREADABLE:
            self._report.problem(main.at("accounts"), f"must be a list (`- name: ...`), not {kind(listed)}")
        for file in account_files(self._head.checked.model.account_files or (), main, self._report):
            location = _read(file, self._environ, self._report)
            self._files.append(location)
            if isinstance(location.document.value, Seq):
                yield from self._items(location, location.document.value)
            else:
                _expect("a list of accounts (`- name: ...`; `[]` for none)", location, self._report)

    def _items(self, listed_at: Location, listed: Seq) -> Iterator[tuple[Location, Map]]:
        for index, raw in enumerate(listed):
            location = listed_at.at(index)
            if isinstance(raw, Map):
                yield location, raw
            elif raw is not UNREADABLE:
                self._report.problem(location, f"must be a mapping (`name: ...`), not {kind(raw)}")

    def _account(self, location: Location, raw: Map) -> Account | None:
        """Return the account that is written, or None where something about it is wrong."""
        # A text, in which true, 1 and 1.0 differ. A path is relative to the folder.
        rest = repr({name: raw[name] for name in raw if name not in _OWN}) + os.path.dirname(location.document.file)
        account = self._like_another(rest, location, raw)
        if account is None:
            remarks = self._report.remarks
            account = self._checked(location, raw)
            if account is not None and self._report.remarks == remarks:
                common = {name: getattr(account, name) for name in _COMMON}
                self._makers[rest] = partial(Account, **common)
        return account

    def _like_another(self, rest: str, location: Location, raw: Map) -> Account | None:
        """Return the account if there is nothing to say of it, and another one differs in name and key alone.

        Most accounts have such another one. The check of one by its model takes four times as long.
        """
        make, fields = self._makers.get(rest), [name for name in KEY_FIELDS if name in raw]
        if make is None or len(fields) != 1:
            return None
        try:
            name, value = (str(_OWN[field].check(raw.get(field))) for field in ("name", *fields))
        except ValueError:
            return None
        account = make(name=name, key=key_source(location, fields[0], value, self._environ))
        problems = self._report.problems
        self._set.claim_name(location, account.id)
        self._set.read_key(location, fields[0], account.key)
        return account if self._report.problems == problems else None

    def _checked(self, location: Location, raw: Map) -> Account | None:
        entry = Entry(location, raw, checking.check(schema.AccountBlock, raw, _STAND_INS))
        for path, sentence in entry.checked.mistakes:
            self._report.problem(location.at(*path), sentence)
        model, before = entry.checked.model, self._report.problems
        spec = self._rules.provider(entry)
        if spec is not None and not entry.checked.hits("name"):
            self._set.claim_name(location, (model.provider, model.name))
        key = self._rules.key(entry)
        if key is not None:
            self._set.read_key(location, next(name for name in raw if name in KEY_FIELDS), key)
        levels = self._rules.levels(entry, spec.quotas if spec else ())
        times = self._rules.times(entry, spec)
        variables = self._rules.variables(entry, spec)
        ca_file = self._rules.ca_file(entry)
        if entry.checked.bad or spec is None or key is None or self._report.problems > before:
            return None
        return Account(
            provider=self._share(model.provider),
            name=model.name,
            key=key,
            base_url=self._share(model.base_url or spec.base_url.rstrip("/")),
            ca_file=self._share(ca_file),
            common_ca_file=self._common_ca_file,
            max_requests_per_minute=self._rules.per_minute(entry, spec),
            collect=self._share(tuple(dict.fromkeys(model.collect or ("usage",)))),
            credit_rates=self._share_mapping(model.credit_rates),
            max_operations=model.max_operations,
            interval=times.interval,
            timeout=times.timeout,
            stale_after=times.stale_after,
            thresholds=levels,
            labels=self._share_mapping(model.labels),
            variables=self._share_mapping(variables),
            price=self._share(price_of(model.price) or spec.price),
        )

    def _share(self, value: _Shared) -> _Shared:
        """Return one object for all equal values: 10,000 accounts have few different ones."""
        if value is None:
            return value
        result: _Shared = self._shared.setdefault((type(value), value), value)
        return result

    def _share_mapping(self, value: Mapping[str, Any] | None) -> Mapping[str, Any]:
        items = tuple(value.items()) if value else ()
        result: Mapping[str, Any] = self._shared.setdefault(items, MappingProxyType(dict(items)))
        return result
