"""Providers that other Python packages bring, by the entry point group ``video_api_exporter.providers``.

A look-up reads the metadata of every installed package, so it is made for an unknown name and for a list alone.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from exporter.errors import InternalError
from exporter.providers.base import Endpoint, Get, ParseOptions, Provider
from exporter.readings import Usage
from exporter.runtime.redaction import escape

GROUP = "video_api_exporter.providers"
_NOWHERE = "https://unusable.invalid"


class UnusablePackageError(Exception):
    """A package brings no provider that can be used. The message says which package, why, and what to do."""


def packaged() -> dict[str, list[EntryPoint]]:
    """Return the entry points of all packages by name. Nothing is imported."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def loaded(points: list[EntryPoint]) -> Provider:
    """Return the provider of a name. Raise UnusablePackageError."""
    point, *others = points
    if others:
        names = " and ".join(sorted(_package(each) for each in points))
        raise UnusablePackageError(f"the packages {names} both bring {point.name}. Uninstall one of them")
    try:
        provider = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  what a stranger's module does while it is imported is open
        words = escape(f"{type(error).__name__}: {error}")[:200]
        raise UnusablePackageError(f"{point.value} of {_package(point)} cannot be imported ({words})") from None
    if not isinstance(provider, Provider):
        kind = type(provider).__name__
        raise UnusablePackageError(
            f"{point.value} of {_package(point)} is a {kind}, and must be an exporter.providers.base.Provider"
        )
    if "usage" not in provider.endpoints:
        raise UnusablePackageError(
            f"{point.value} of {_package(point)} has no endpoint usage, which every poll requests"
        )
    return provider


def unusable(name: str, sentence: str) -> Provider:
    """Return a provider whose polls all fail with this sentence, so that the other accounts are polled."""

    def fetch(_get: Get, _options: ParseOptions) -> Usage:
        raise InternalError(sentence)

    return Provider(name, _NOWHERE, "", {"usage": Endpoint(fetch)})


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
