"""The providers that accounts may name: built-in ones, those of the configuration, presets, and those of packages.

A preset is a YAML file in the package. It is read when an account names it. A provider of the configuration replaces
the preset of its name. A name that none of these has is looked up in other packages.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config import checking, yaml
from exporter.config.document import UNREADABLE, Location, Map
from exporter.config.report import Report
from exporter.config.rules import kind
from exporter.config.schema import PriceBlock
from exporter.providers import packages
from exporter.providers.base import Price, Provider

if TYPE_CHECKING:
    from exporter.providers.declaration import Declaration

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
PRESETS = Path(__file__).parent.parent / "providers" / "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    if not PRESETS.is_dir():
        return ()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in PRESETS.iterdir() if file.name.endswith(".yaml")))


def providers_in(
    path: Path | None, built_in: Mapping[str, Provider], environ: Mapping[str, str]
) -> tuple[KnownProviders, frozenset[str], Report]:
    """Return the providers of a configuration file, the names that it defines itself, and what is wrong in it."""
    report = Report(strict=False)
    known = KnownProviders(built_in, report)
    if path is not None:
        document = yaml.read(str(path), environ)
        report.read(document)
        if isinstance(document.value, Map):
            known.read(Location(document).at("providers"), document.value.get("providers"))
    return known, frozenset(known.declarations), report


def source_of(path: Path | None, name: str) -> str:
    """Return the lines that define a provider, from the configuration file or else from the preset."""
    if path is not None:
        document = yaml.read(str(path), {})
        where = ("providers", name)
        block = document.value.get("providers") if isinstance(document.value, Map) else None
        if isinstance(block, Map) and name in block:
            lines = path.read_text(encoding="utf-8").splitlines()
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
        # Most configurations have no provider that is data, and a start must not wait for the models of one.
        from exporter.config.provider_checks import declaration_at
        from exporter.providers.declared import provider_of

        self.known[name] = None
        declaration = declaration_at(name, location, raw, self._report)
        if declaration is not None:
            self.declarations[name] = declaration
            self.known[name] = provider_of(declaration)


def price_of(block: PriceBlock | None) -> Price | None:
    """Return what one credit costs, None where it is not given."""
    return None if block is None else Price(block.amount, block.currency)
