"""The providers that accounts may name: built-in ones, those of the configuration, presets, and those of packages.

A preset is a YAML file in the package. It is read when an account names it. A provider of the configuration replaces
the preset of its name. A name that none of these has is looked up in other packages.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path as FilePath

from exporter.config import checking, provider_schema, yaml
from exporter.config.block import Block
from exporter.config.document import UNREADABLE, Location, Map, Path
from exporter.config.provider_schema import ProviderBlock, RequestBlock
from exporter.config.report import Report
from exporter.config.rules import kind
from exporter.providers import declaration as declared
from exporter.providers import packages
from exporter.providers.base import Price, Provider
from exporter.providers.declaration import Declaration
from exporter.providers.declared import provider_of
from exporter.providers.examples import differences
from exporter.providers.expressions import Expression
from exporter.providers.readers import ResponseField

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
PRESETS = FilePath(__file__).parent.parent / "providers" / "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    if not PRESETS.is_dir():
        return ()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in PRESETS.iterdir() if file.name.endswith(".yaml")))


def providers_in(
    path: FilePath | None, built_in: Mapping[str, Provider], environ: Mapping[str, str]
) -> tuple[KnownProviders, frozenset[str]]:
    """Return the providers of a configuration file with the names that it defines itself. Raise ConfigError."""
    report = Report(strict=False)
    known = KnownProviders(built_in, report)
    if path is not None:
        document = yaml.read(str(path), environ)
        report.read(document)
        if isinstance(document.value, Map):
            known.read(Location(document).at("providers"), document.value.get("providers"))
    if report.problems:
        raise report.refusal()
    return known, frozenset(known.declarations)


def source_of(path: FilePath | None, name: str) -> str:
    """Return the lines that define a provider, from the configuration file or else from the preset."""
    if path is not None:
        document = yaml.read(str(path), {})
        lines = path.read_text(encoding="utf-8").splitlines()
        where = ("providers", name)
        block = document.value.get("providers") if isinstance(document.value, Map) else None
        if isinstance(block, Map) and name in block:
            first = document.line(where) - 1
            depth = _indent(lines[first])
            rest = itertools.takewhile(lambda line: not line.strip() or _indent(line) > depth, lines[first + 1 :])
            return textwrap.dedent("\n".join([lines[first], *rest])).rstrip() + "\n"
    text = PRESETS.joinpath(name + ".yaml").read_text(encoding="utf-8")
    return f"{name}:\n" + textwrap.indent(text, "  ")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class KnownProviders:
    """Looks providers up, and reports what is wrong with those that are written as data."""

    def __init__(self, built_in: Mapping[str, Provider], report: Report) -> None:
        self._built_in = built_in
        self._report = report
        self._presets = preset_names()
        self._own: dict[str, Location] = {}
        self.known: dict[str, Provider | None] = dict(built_in)
        self.declarations: dict[str, Declaration] = {}
        self.unusable: dict[str, str] = {}
        """Why a provider that a package brings cannot be used, by its name."""
        self._packaged: Mapping[str, list[EntryPoint]] | None = None

    def read(self, location: Location, raw: object) -> None:
        """Take the block ``providers`` of a configuration."""
        if not isinstance(raw, Map):
            if raw is not None and raw is not UNREADABLE:
                self._report.problem(location, f"must be a mapping (`name:` with a block below), not {kind(raw)}")
            return
        for name, block in raw.items():
            if name in self._built_in:
                self._report.problem(location.at(name), "is a built-in provider, which cannot be replaced. Rename it")
            elif not _NAME.fullmatch(name):
                self._report.problem(location.at(name), "must be a name of letters, digits, `_`, `.` and `-`")
            else:
                self._own[name] = location.at(name)
                self._take(name, location.at(name), block)

    def is_own(self, name: str) -> bool:
        """Return whether the configuration defines the provider itself."""
        return name in self._own

    def unknown(self, name: str) -> str:
        """Return a message for a name that no provider has. It repeats no name that the author chose."""
        meant = checking.close(name, self.names())
        if meant in self._own:
            return f"unknown provider; did you mean the one at {self._own[meant].place}?"
        names = [meant] if meant else self._built_in
        return checking.unknown("provider", name, names) + ("" if meant else ", and what the command `providers` lists")

    def names(self) -> Iterable[str]:
        """Return every name that an account may give."""
        return sorted({*self.known, *self._presets, *self.packaged})

    def get(self, name: str) -> Provider | None:
        """Return a provider, None where there is none or where its mistakes are reported."""
        if name not in self.known and name in self._presets:
            document = yaml.read(str(PRESETS.joinpath(name + ".yaml")), {})
            self._report.read(document)
            self._take(name, Location(document), document.value)
        elif name not in self.known and name in self.packaged:
            try:
                self.known[name] = packages.loaded(self.packaged[name])
            except packages.UnusablePackageError as error:
                self.unusable[name] = str(error)
                self.known[name] = packages.unusable(name, str(error))
        return self.known.get(name)

    @property
    def packaged(self) -> Mapping[str, list[EntryPoint]]:
        """Return the entry points of other packages by name. The first look takes some milliseconds."""
        if self._packaged is None:
            self._packaged = packages.packaged()
        return self._packaged

    def shadowed(self) -> Iterable[str]:
        """Return the names that packages bring in vain, because something else has them."""
        return sorted(name for name in self.packaged if name in {*self._built_in, *self.declarations, *self._presets})

    def is_broken(self, name: str) -> bool:
        """Return whether the provider is there, and wrong."""
        return name in self.known and self.known[name] is None

    def usable(self) -> Mapping[str, Provider]:
        """Return the providers that were looked up."""
        return {name: provider for name, provider in self.known.items() if provider is not None}

    def _take(self, name: str, location: Location, raw: object) -> None:
        self.known[name] = None
        block = self._block(location, raw)
        if block is None:
            return
        if not any(_reads_something(request) for request in (block.usage, *(block.usage.more or {}).values())):
            self._report.warn(location.at("usage"), f"reads no figure. Give at least one of {', '.join(_FIGURES)}")
        declaration = declaration_of(name, block)
        self.declarations[name] = declaration
        self.known[name] = provider_of(declaration)
        if self._report.is_strict:
            for position, example in enumerate(block.examples or ()):
                documents = {"usage": example.response, **(example.more or {})}
                expect = location.at("examples", position, "expect")
                for where, sentence in differences(declaration, documents, example.status or 200, example.expect):
                    self._report.problem(expect.at(*where), sentence)

    def _block(self, location: Location, raw: object) -> ProviderBlock | None:
        """Return what is written, None with a report of every mistake in it."""
        if not isinstance(raw, Map):
            if raw is not UNREADABLE and not location.document.problems:
                self._report.problem(location, f"must be a mapping (`base_url: ...`), not {kind(raw)}")
            return None
        block, mistakes = checking.read(ProviderBlock, raw)
        if block is not None:
            mistakes = list(_contradictions(block))
        for path, sentence in mistakes:
            self._report.problem(location.at(*path), sentence)
        return None if mistakes else block


def _contradictions(block: ProviderBlock) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong between values that are right by themselves."""
    yield from _of_auth(block)
    for name, value in (block.headers or {}).items():
        yield from _undeclared(block, value.variables, "headers", name)
    wait = block.errors.wait if block.errors else None
    if wait is not None and (wait.path is None) == (wait.header is None):
        yield ("errors", "wait"), "must hold exactly one of path and header"
    yield from _of_request(block, block.usage, "usage")
    for name, more in (block.usage.more or {}).items():
        yield from _of_request(block, more, "usage", "more", name)
    for position, example in enumerate(block.examples or ()):
        for name in set(example.more or ()) - set(block.usage.more or ()):
            yield ("examples", position, "more", name), "is the name of no request under `usage.more`"


_FIGURES = ("credits", "quotas", "operations", "storage", "channels", "period", "plan")


def _reads_something(request: RequestBlock) -> bool:
    return any(_given(getattr(request, name)) for name in _FIGURES)


def _given(block: object) -> bool:
    """Return whether a block of figures has any."""
    return bool(block.model_fields_set) if isinstance(block, Block) else bool(block)


def _of_auth(block: ProviderBlock) -> Iterator[tuple[Path, str]]:
    auth = block.auth
    if sum(value is not None for value in (auth.header, auth.basic, auth.query)) != 1:
        yield ("auth",), "must hold exactly one of header, basic and query"
    if auth.prefix is not None and auth.header is None:
        yield ("auth", "prefix"), "belongs to `header`, which is not given"
    own = (auth.header or ("Authorization" if auth.basic else "")).lower()
    for name in block.headers or {}:
        if name.lower() == own:
            yield ("headers", name), "is the header that carries the key. Leave it out"
    if auth.basic is not None:
        yield from _undeclared(block, auth.basic.variables, "auth", "basic")


def _of_request(block: ProviderBlock, request: RequestBlock, *where: str) -> Iterator[tuple[Path, str]]:
    for position, entry in enumerate(request.quotas or ()):
        try:
            _quota_name(entry)
        except ValueError as error:
            yield (*where, "quotas", position, "name"), str(error)
            return
        if not entry.model_fields_set - {"name", "unit", "each"}:
            yield (*where, "quotas", position), "has no figure. Give at least one, such as used, limit or remaining"
    if block.auth.query in (request.query or {}):
        yield (*where, "query", str(block.auth.query)), "is the parameter that carries the key. Leave it out"
    if request.json_ is not None and request.method != "POST":
        yield (*where, "json"), "is sent with `method: POST` alone. Add it"
    yield from _undeclared(block, _request_rule(request, block).variables, *where)


def _undeclared(block: ProviderBlock, used: Iterable[str], *where: str) -> Iterator[tuple[Path, str]]:
    if set(used) - set(block.variables or ()):
        yield where, "uses a variable in braces that `variables` does not list. Add it there"


def declaration_of(name: str, block: ProviderBlock) -> Declaration:
    """Return the declaration that a block of the configuration is."""
    auth, errors = block.auth, block.errors or provider_schema.ErrorsBlock()
    wait = errors.wait
    operations = block.usage.operations
    return Declaration(
        title=block.title or name,
        base_url=block.base_url,
        auth=declared.AuthRule(auth.header or "", auth.prefix or "", auth.basic, auth.query or ""),
        requests={"usage": _request_rule(block.usage, block)}
        | {key: _request_rule(more, block) for key, more in (block.usage.more or {}).items()},
        variables=tuple(dict.fromkeys(block.variables or ())),
        headers=block.headers or {},
        unit=block.unit or "credits",
        errors=declared.ErrorRules(
            errors.code,
            errors.message,
            errors.reasons or {},
            errors.statuses or {},
            None if wait is None else declared.WaitRule(wait.path, wait.header or "", wait.time or "seconds"),
        ),
        credit_rates=(operations.credit_rates if operations else None) or {},
        interval=block.interval,
        max_requests_per_minute=block.max_requests_per_minute,
        price=price_of(block.price),
    )


def price_of(block: provider_schema.PriceBlock | None) -> Price | None:
    """Return what one credit costs, None where it is not given."""
    return None if block is None else Price(block.amount, block.currency)


def _request_rule(request: RequestBlock, block: ProviderBlock) -> declared.RequestRule:
    credits = request.credits or provider_schema.FiguresBlock()
    operations, plan = request.operations, request.plan or provider_schema.PlanBlock()
    none, statuses = request.no_subscription or (None, (404,))
    return declared.RequestRule(
        path=request.path,
        query=request.query or {},
        body=request.json_ if request.json_ is not None or request.method != "POST" else {},
        success=request.success,
        no_subscription=none,
        no_subscription_statuses=statuses,
        credits=declared.CreditRules(
            **{name: getattr(credits, name) for name in type(credits).model_fields if name != "window"},
            rolling=credits.window is not None,
        ),
        operations=None
        if operations is None
        else declared.OperationRules(operations.each, operations.name, operations.used, operations.unit),
        quotas=tuple(_quota(entry, block.unit or "credits") for entry in request.quotas or ()),
        storage=_amounts(request.storage),
        channels=_amounts(request.channels),
        period=_span(request.period),
        usage_period=_span(request.usage_period),
        plan=declared.PlanRule(**{name: getattr(plan, name) for name in type(plan).model_fields}),
        generated_at=request.generated_at,
    )


def _quota(entry: provider_schema.QuotaBlock, unit: str) -> declared.QuotaRule:
    return declared.QuotaRule(
        _quota_name(entry),
        unit if entry.unit is None else entry.unit,
        declared.AmountRules(entry.used, entry.limit, entry.remaining, entry.ratio),
        entry.resets_at,
        entry.expires_at,
        entry.each,
    )


def _quota_name(entry: provider_schema.QuotaBlock) -> str | ResponseField:
    """Return the name, which is a field where there is one for each item. Raise ValueError."""
    return (
        entry.name if entry.each is None or not isinstance(entry.name, str) else ResponseField(Expression(entry.name))
    )


def _amounts(block: provider_schema.AmountsBlock | None) -> declared.AmountRules | None:
    return None if block is None else declared.AmountRules(block.used, block.limit, block.remaining, block.ratio)


def _span(block: provider_schema.PeriodBlock | None) -> declared.SpanRule:
    return declared.SpanRule() if block is None else declared.SpanRule(block.start, block.end)
