"""The commands ``providers`` and ``try-provider``: what can be named, and what a recorded response becomes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from time import time

from exporter.config.providers import KnownProviders, providers_in, source_of
from exporter.config.shown_keys import keys_in
from exporter.errors import InvalidResponseError, PollError, UsageError
from exporter.providers import PROVIDERS
from exporter.providers.declaration import Declaration
from exporter.providers.examples import result_of, series_of
from exporter.providers.readers import FieldOutcome
from exporter.runtime.files import read_file, reason
from exporter.runtime.output import write
from exporter.runtime.redaction import Redactor, change_texts, escape
from exporter.transport.body import MAX_BODY_BYTES, decoded

_MAX_FIELDS = 500
"""Lines of fields that are printed."""


def show_providers(path: Path | None, name: str | None, environ: Mapping[str, str]) -> int:
    """Print every provider on a line, or the definition of one as YAML.

    Raise ConfigError where the configuration has a mistake, after what is right is printed.
    """
    known, own, report = providers_in(path, PROVIDERS, environ)
    if name is None:
        write(_table(known, own))
    elif known.get(name) is not None or not report.problems:
        write(_definition(known, path, name))
    if report.problems:
        raise report.refusal()
    return 0


def _table(known: KnownProviders, own: Collection[str]) -> str:
    lines = [("NAME", "KIND", "TITLE", "UNIT", "API")]
    for each in known.names():
        provider = known.get(each)
        if provider is not None and each not in known.unusable:
            lines.append((each, _kind(known, own, each), provider.title, provider.unit, provider.base_url))
    notes = [f"# {each} cannot be used: {sentence}\n" for each, sentence in known.unusable.items()]
    notes += [
        f"# {each} of a package is left out, because {_kind(known, own, each)} {each} has the name\n"
        for each in known.shadowed()
    ]
    return _columns(lines) + "".join(notes)


def _kind(known: KnownProviders, own: Collection[str], name: str) -> str:
    if name in PROVIDERS:
        return "built-in"
    return "configured" if name in own else "preset" if name in known.declarations else "package"


def _definition(known: KnownProviders, path: Path | None, name: str) -> str:
    provider = known.get(name)
    if provider is None:
        raise UsageError(f"providers: {known.unknown(name)}")
    if name in known.unusable:
        raise UsageError(f"providers: {name}: {known.unusable[name]}")
    if name not in known.declarations:
        collect = ", ".join(provider.collect)
        return f"# {name} ({provider.title}, {provider.base_url}) is code. It collects {collect}.\n"
    return source_of(path, name)


def try_provider(
    path: Path | None, name: str, responses: Sequence[str], status: int, environ: Mapping[str, str]
) -> int:
    """Print what each field of recorded responses becomes. Return 1 if the poll would fail."""
    known, _, report = providers_in(path, PROVIDERS, environ)
    if report.problems:
        raise report.refusal()
    if known.get(name) is None:
        raise UsageError(f"try-provider: {known.unknown(name)}")
    if name not in known.declarations:
        raise UsageError(f"try-provider: {name} is code. Only providers that are written as YAML can be tried")
    declaration = known.declarations[name]
    redactor = Redactor(() if path is None else keys_in(str(path), environ))
    documents = _documents(name, declaration, responses, status, redactor)
    if missing := [request for request in declaration.requests if request not in documents]:
        write(f"# without a response to {', '.join(missing)}: add --response {missing[0]}=FILE\n")
    outcomes: list[FieldOutcome] = []
    result = result_of(declaration, documents, status, outcomes, time())
    if isinstance(result, PollError):
        write(f"the poll fails with the reason {result.reason}: {escape(str(result))[:300]}\n")
        return 1
    lines = [("FIELD", "RESULT"), *((outcome.name, _result(outcome)) for outcome in outcomes[:_MAX_FIELDS])]
    if not result.subscribed:
        lines.append(("no_subscription", "true, so there is no plan"))
    series = [_sample(*sample) for sample in series_of(result)]
    write(_columns(lines) + "\n" + "".join(f"video_api_{line}\n" for line in series))
    return 0


def _documents(
    name: str, declaration: Declaration, responses: Sequence[str], status: int, redactor: Redactor
) -> dict[str, object]:
    documents: dict[str, object] = {}
    for response in responses:
        request, _, file = response.rpartition("=")
        if (request or "usage") not in declaration.requests:
            raise UsageError(
                f"try-provider: --response names an unknown request. {name} has {', '.join(declaration.requests)}"
            )
        if (request or "usage") in documents:
            raise UsageError(f"try-provider: --response is given twice for the request {request or 'usage'}")
        is_refusal = request in ("", "usage") and not 200 <= status < 300
        documents[request or "usage"] = _document(request or "usage", file, redactor, is_refusal)
    return documents


def _document(request: str, file: str, redactor: Redactor, is_refusal: bool) -> object:
    """Return the decoded response without keys. A refusal that is no JSON is None, as in a poll."""
    try:
        return _without_keys(decoded(read_file(file, MAX_BODY_BYTES)), redactor)
    except OSError as error:
        raise UsageError(f"try-provider: the response to {request} cannot be read: {reason(error)}") from None
    except InvalidResponseError as error:
        if is_refusal:
            return None
        raise UsageError(f"try-provider: {error}. The file must hold the body of the response to {request}") from None


def _without_keys(document: object, redactor: Redactor) -> object:
    try:
        return change_texts(document, redactor.redact)
    except RecursionError:
        raise InvalidResponseError("the response is nested too deeply") from None


def _result(outcome: FieldOutcome) -> str:
    if outcome.rejected:
        return f"rejected, because it {outcome.rejected}"
    if outcome.value is None:
        return f"absent, because {escape(outcome.absent)}" if outcome.absent else "absent"
    if isinstance(outcome.value, float) and not isinstance(outcome.value, bool):
        return _number(outcome.value)
    return escape(str(outcome.value)).lower() if isinstance(outcome.value, bool) else escape(str(outcome.value))


def _number(value: float) -> str:
    return "unlimited" if value == inf else f"{value:.15g}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{escape(text)}"' for label, text in labels.items())
    return f"{name}{'{' + inside + '}' if inside else ''} {'+Inf' if value == inf else f'{value:.15g}'}"


def _columns(lines: Sequence[tuple[str, ...]]) -> str:
    return "".join(line + "\n" for line in _padded(lines))


def _padded(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
