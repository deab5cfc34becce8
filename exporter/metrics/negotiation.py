"""Chooses format and encoding of a response by Accept and Accept-Encoding headers (RFC 9110, section 12.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import exposition as prometheus_text
from prometheus_client.openmetrics import exposition as openmetrics

_QUALITY = re.compile(r"[01](\.[0-9]*)?", re.ASCII)
_MARK = re.compile(r'\\.|[",;]', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPINGS = (openmetrics.ALLOWUTF8, openmetrics.DOTS, openmetrics.VALUES)


class _Format(NamedTuple):
    media: str
    version: str
    unnamed: bool
    """Whether a range that names no version, or a wildcard, means this one."""


_OPENMETRICS = _Format("application/openmetrics-text", "1.0.0", unnamed=True)
_TEXT_0 = _Format("text/plain", "0.0.4", unnamed=True)
_TEXT_1 = _Format("text/plain", "1.0.0", unnamed=False)
_FORMATS = (_OPENMETRICS, _TEXT_1, _TEXT_0)
"""Every format we serve."""


class _Range(NamedTuple):
    media: str
    parameters: Mapping[str, str]
    quality: float


class _Match(NamedTuple):
    """How well a range fits a format. A more specific range decides over a general one."""

    specificity: int
    quality: float
    parameters: Mapping[str, str]


def negotiate(accept: str) -> tuple[bool, str]:
    """Return whether the response to this Accept header is OpenMetrics, and its Content-Type.

    The acceptable format with the highest quality wins. A format that a range names goes before one that
    only ``*/*`` covers, because a browser and curl read text. If nothing fits, the response is text 0.0.4.
    The content types are those of prometheus_client's ``choose_encoder``. The escaping that the client asks
    for is named, but it changes nothing, because no name of ours has anything to escape.
    """
    ranges = tuple(_ranges(accept))
    fits = [(offered, match) for offered in _FORMATS if (match := _match(ranges, offered)) is not None]
    if not fits:
        return False, _content_type(_TEXT_0, {})
    chosen, match = max(fits, key=_preference)
    return chosen == _OPENMETRICS, _content_type(chosen, match.parameters)


def gzip_accepted(accept_encoding: str) -> bool:
    """Return whether this Accept-Encoding header names gzip, and not with a quality of 0."""
    return any(accepted.media == "gzip" and accepted.quality > 0 for accepted in _ranges(accept_encoding))


def _ranges(header: str) -> Iterator[_Range]:
    for element in _split(header.lower(), ","):
        media, *rest = (part.strip() for part in _split(element, ";"))
        pairs = [
            [_unquoted(side.strip()) for side in parameter.split("=", 1)] for parameter in rest if "=" in parameter
        ]
        parameters = dict(reversed([(name, value) for name, value in pairs]))  # the first of two counts
        yield _Range(media, parameters, _quality(parameters.pop("q", "1")))


def _split(text: str, separator: str) -> Iterator[str]:
    """Split a text at the separators that are not in a quoted string."""
    start, quoted = 0, False
    for mark in _MARK.finditer(text):
        if mark[0] == '"':
            quoted = not quoted
        elif mark[0] == separator and not quoted:
            yield text[start : mark.start()]
            start = mark.end()
    yield text[start:]


def _unquoted(text: str) -> str:
    """Return what a quoted string means, and any other text as it is."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return _ESCAPED.sub(r"\1", text[1:-1]) if quoted else text


def _quality(text: str) -> float:
    """Read a weight. A broken one counts as 1, because a scrape must not fail for it."""
    return min(float(text), 1.0) if _QUALITY.fullmatch(text) else 1.0


def _match(ranges: Iterable[_Range], offered: _Format) -> _Match | None:
    """Return the most specific range that covers this format, or None if no range accepts the format."""
    found = [match for accepted in ranges if (match := _fit(accepted, offered)) is not None]
    match = max(found, default=None, key=lambda match: (match.specificity, match.quality))
    return match if match is not None and match.quality > 0 else None


def _preference(fit: tuple[_Format, _Match]) -> tuple[float, bool, bool]:
    offered, match = fit
    named = match.specificity > 1
    # Among named formats OpenMetrics goes first, among those that a wildcard covers the plainest.
    return match.quality, named, offered == (_OPENMETRICS if named else _TEXT_0)


def _fit(range_: _Range, offered: _Format) -> _Match | None:
    if range_.media == offered.media:
        version = range_.parameters.get("version", "")
        if version == offered.version:
            return _Match(3, range_.quality, range_.parameters)
        return _Match(2, range_.quality, {}) if offered.unnamed and not version else None
    if not offered.unnamed:
        return None
    if range_.media == f"{offered.media.partition('/')[0]}/*":
        return _Match(1, range_.quality, {})
    return _Match(0, range_.quality, {}) if range_.media == "*/*" else None


def _content_type(chosen: _Format, parameters: Mapping[str, str]) -> str:
    if chosen == _TEXT_0:
        return prometheus_text.CONTENT_TYPE_PLAIN_0_0_4
    if not parameters:
        return openmetrics.CONTENT_TYPE_LATEST  # text 1.0.0 is served only where its version is named
    escaping = parameters.get("escaping", "")
    if escaping not in _ESCAPINGS:
        escaping = openmetrics.UNDERSCORES
    return f"{chosen.media}; version={chosen.version}; charset=utf-8; escaping={escaping}"
