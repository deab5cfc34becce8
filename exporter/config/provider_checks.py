"""Reads a block of ``providers:``, and says what is wrong between its values and which options have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from exporter.config import checking
from exporter.config.block import Block
from exporter.config.declarations import declaration_of, quota_name, requests_of
from exporter.config.document import UNREADABLE, Location, Map, Path
from exporter.config.provider_schema import ProviderBlock, RequestBlock
from exporter.config.report import Report
from exporter.config.rules import kind
from exporter.providers.declaration import Declaration
from exporter.providers.examples import differences
from exporter.providers.templates import variables_of

_FIGURES = ("credits", "quotas", "operations", "storage", "channels", "period", "plan")
_BLOCKS = ("credits", "storage", "channels", "period", "usage_period", "plan", "generated_at")
"""What one request alone can give, figure by figure for the credits."""


def declaration_at(name: str, location: Location, raw: object, report: Report) -> Declaration | None:
    """Return the declaration that a value is, None with a report of every mistake in it."""
    block = _block(location, raw, report)
    if block is None:
        return None
    if not any(map(_reads_something, requests_of(block).values())):
        report.warn(location.at("usage"), f"reads no figure. Give at least one of {', '.join(_FIGURES)}")
    declaration = declaration_of(name, block)
    if report.is_strict:
        for position, example in enumerate(block.examples or ()):
            documents = {"usage": example.response, **(example.more or {})}
            expect = location.at("examples", position, "expect")
            for where, sentence in differences(declaration, documents, example.status or 200, example.expect):
                report.problem(expect.at(*where), sentence)
    return declaration


def _block(location: Location, raw: object, report: Report) -> ProviderBlock | None:
    if not isinstance(raw, Map):
        if raw is not UNREADABLE and not location.document.problems:
            report.problem(location, f"must be a mapping (`base_url: ...`), not {kind(raw)}")
        return None
    block, mistakes = checking.read(ProviderBlock, raw)
    if block is not None:
        mistakes = list(_contradictions(block))
    for path, sentence in mistakes:
        report.problem(location.at(*path), sentence)
    return None if mistakes else block


def _reads_something(request: RequestBlock) -> bool:
    """Return whether a request reads any figure."""
    return any(_given(getattr(request, name)) for name in _FIGURES)


def _given(block: object) -> bool:
    """Return whether a block of figures has any."""
    return bool(block.model_fields_set) if isinstance(block, Block) else bool(block)


def _contradictions(block: ProviderBlock) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong between values that are right by themselves."""
    yield from _of_auth(block)
    for name, value in (block.headers or {}).items():
        yield from _undeclared(block, value.variables, "headers", name)
    yield from _of_errors(block)
    requests = {_place(name): request for name, request in requests_of(block).items()}
    for place, request in requests.items():
        yield from _of_request(block, request, *place)
        yield from _of_figures(request, *place)
    yield from _of_credits(requests)
    yield from _twice(requests)
    yield from _unused(block)
    for position, example in enumerate(block.examples or ()):
        for name in set(example.more or ()) - set(block.usage.more or ()):
            yield ("examples", position, "more", name), "is the name of no request under `usage.more`"


def _place(name: str) -> tuple[str, ...]:
    return ("usage",) if name == "usage" else ("usage", "more", name)


def _of_auth(block: ProviderBlock) -> Iterator[tuple[Path, str]]:
    auth = block.auth
    if sum(value is not None for value in (auth.header, auth.basic, auth.query)) != 1:
        yield ("auth",), "must hold exactly one of header, basic and query"
    if auth.prefix is not None and auth.header is None:
        yield ("auth", "prefix"), "belongs to `header`, which is not given"
    seen, own = set(), (auth.header or ("Authorization" if auth.basic else "")).lower()
    for name in block.headers or {}:
        if name.lower() == own:
            yield ("headers", name), "is the header that carries the key. Leave it out"
        elif name.lower() in seen:
            yield ("headers", name), "stands here twice, because small and large letters are the same in it"
        seen.add(name.lower())
    if auth.basic is not None:
        yield from _undeclared(block, auth.basic.variables, "auth", "basic")


def _of_errors(block: ProviderBlock) -> Iterator[tuple[Path, str]]:
    errors = block.errors
    if errors is None:
        return
    if errors.reasons and errors.code is None:
        yield ("errors", "reasons"), "belongs to `code`, which is not given"
    wait = errors.wait
    if wait is not None and (wait.path is None) == (wait.header is None):
        yield ("errors", "wait"), "must hold exactly one of path and header"


def _of_request(block: ProviderBlock, request: RequestBlock, *where: str) -> Iterator[tuple[Path, str]]:
    for position, entry in enumerate(request.quotas or ()):
        try:
            quota_name(entry)
        except ValueError as error:
            yield (*where, "quotas", position, "name"), str(error)
            return
        if not entry.model_fields_set - {"name", "unit", "each"}:
            yield (*where, "quotas", position), "has no figure. Give at least one, such as used, limit or remaining"
    if block.auth.query in (request.query or {}):
        yield (*where, "query", str(block.auth.query)), "is the parameter that carries the key. Leave it out"
    if request.json_ is not None and request.method != "POST":
        yield (*where, "json"), "is sent with `method: POST` alone. Add it"
    yield from _undeclared(block, _variables(request), *where)


def _of_figures(request: RequestBlock, *where: str) -> Iterator[tuple[Path, str]]:
    """Yield the blocks of figures of a request that would have no effect."""
    for name in _BLOCKS:
        block = getattr(request, name)
        if isinstance(block, Block) and not _given(block):
            yield (*where, name), f"is empty. Give at least one of {', '.join(type(block).model_fields)}"
    if request.plan is not None and request.plan.model_fields_set == {"interval"}:
        yield (*where, "plan"), "makes no plan of an interval alone. Give at least one more, such as name or status"
    operations = request.operations
    if operations is not None and operations.credit_rates and operations.unit is None:
        yield (
            (*where, "operations", "credit_rates"),
            "belongs to operations with a `unit` of their own. Without one `used` is in the provider's unit already",
        )


def _of_credits(requests: Mapping[tuple[str, ...], RequestBlock]) -> Iterator[tuple[Path, str]]:
    """Yield the figures of the headline unit that no other figure needs. The requests count together."""
    given = {name: place for place, request in requests.items() for name in _credits(request)}
    if "granted" in given and ("used" not in given or "limit" in given):
        yield (*given["granted"], "credits", "granted"), "needs `used`, and stands in place of `limit`"
    if "window" in given and not given.keys() & {"balance", "limit", "remaining", "granted"}:
        yield (
            (*given["window"], "credits", "window"),
            "keeps a balance out of the ledger, and there is none. Leave it out",
        )


def _credits(request: RequestBlock) -> Iterable[str]:
    return () if request.credits is None else request.credits.model_fields_set


def _twice(requests: Mapping[tuple[str, ...], RequestBlock]) -> Iterator[tuple[Path, str]]:
    """Yield the figures of further requests that an earlier request gives already."""
    known: set[Path] = set()
    for place, request in requests.items():
        single = [(name,) for name in _BLOCKS[1:] if getattr(request, name) is not None]
        figures: list[Path] = [*single, *(("credits", name) for name in _credits(request))]
        for figure in figures:
            if figure in known:
                yield (*place, *figure), "is given by another request already, and only one can give it"
        known.update(figures)


def _variables(request: RequestBlock) -> frozenset[str]:
    in_query = (template.variables for template in (request.query or {}).values())
    return request.path.variables.union(variables_of(request.json_), *in_query)


def _unused(block: ProviderBlock) -> Iterator[tuple[Path, str]]:
    basic = block.auth.basic.variables if block.auth.basic else frozenset()
    headers = (value.variables for value in (block.headers or {}).values())
    used = basic.union(*headers, *map(_variables, requests_of(block).values()))
    for position, name in enumerate(block.variables or ()):
        if name not in used:
            yield ("variables", position), "is used nowhere. Write it in braces where it belongs, or leave it out"
        elif name in (block.variables or ())[:position]:
            yield ("variables", position), "stands here twice"


def _undeclared(block: ProviderBlock, used: Iterable[str], *where: str) -> Iterator[tuple[Path, str]]:
    if set(used) - set(block.variables or ()):
        yield where, "uses a variable in braces that `variables` does not list. Add it there"
