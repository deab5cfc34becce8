"""Reads providers that tests write as YAML, as the configuration does."""

from __future__ import annotations

import textwrap
from pathlib import Path

from exporter.config import yaml
from exporter.config.document import Location
from exporter.config.providers import KnownProviders
from exporter.config.report import Report
from exporter.providers.base import ParseOptions
from exporter.providers.declaration import Declaration
from exporter.providers.declared_usage import usage_of
from exporter.readings import Usage

HEAD = """
base_url: https://api.example.com
auth: {header: x-api-key}
"""


def declaration(text: str, folder: Path) -> Declaration:
    """Return the declaration of a provider; raise ConfigError."""
    file = folder / "provider.yaml"
    file.write_text("providers:\n  p:\n" + textwrap.indent(textwrap.dedent(text), "    "))
    document, report = yaml.read(str(file), {}), Report(strict=True)
    report.read(document)
    known = KnownProviders({}, report)
    known.read(Location(document).at("providers"), document.value["providers"])
    if report.problems:
        raise report.refusal()
    return known.declarations["p"]


def usage(text: str, response: object, folder: Path, **options: object) -> Usage:
    """Return what a `usage` block makes of a response."""
    whole = HEAD + "usage:\n  path: /v1\n" + textwrap.indent(textwrap.dedent(text), "  ")
    return usage_of(declaration(whole, folder), {"usage": response}, ParseOptions(**options))  # type: ignore[arg-type]  # a test names what it changes
