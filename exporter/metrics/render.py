"""Writes samples as text. Each is one line with labels sorted by name, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prometheus_client.utils import floatToGoString

from exporter.metrics.family import Family

Sample = tuple[Sequence[str], float]
"""The values of a family's own labels, and the value."""


class Renderer:
    """Writes the samples of one account. It escapes the account's labels once for all families."""

    __slots__ = ("_braces", "_labels")

    def __init__(self, names: Sequence[str], values: Sequence[str]) -> None:
        """Take the labels that every family has, which are provider, account and the configured ones.

        Raises ValueError if names and values differ in number or a value is not a string.
        """
        if len(names) != len(values):
            raise ValueError(f"{len(values)} label values for the labels {', '.join(names)}")
        self._labels = {name: escape(value).replace("%", "%%") for name, value in zip(names, values, strict=True)}
        self._braces = _template(self._labels) % ()

    def __call__(self, family: Family, samples: Sequence[Sample]) -> bytes:
        """Return the lines of one family's samples with labels sorted by name, or b"" without samples.

        Raises ValueError for a sample that would make the whole page invalid. That is a value that is
        NaN or not a number, a wrong number of labels, a label that is not a string, or the same labels twice.
        """
        if not samples:
            return b""
        name, own = family.name, family.labels
        template = _template({**self._labels, **{label: f"%({label})s" for label in own}}) if own else ""
        lines: dict[str, str] = {}
        for labels, value in samples:
            if len(labels) != len(own):
                raise ValueError(f"{name}: {len(labels)} label values for {', '.join(own) or 'no labels'}")
            braces = template % dict(zip(own, map(escape, labels), strict=True)) if own else self._braces
            if braces in lines:
                raise ValueError(f"{name}: two samples with the labels {braces}")
            lines[braces] = f"{name}{braces}{_number(name, value)}\n"
        # JSON can carry a lone surrogate, which cannot be encoded as UTF-8.
        return "".join(lines.values()).encode("utf-8", "replace")


def _template(labels: Mapping[str, str]) -> str:
    return "{" + ",".join([f'{name}="{labels[name]}"' for name in sorted(labels)]) + "} "


def escape(value: str) -> str:
    """Return a label value or a help text as it is written between quotes. Raises ValueError if it is not a string."""
    if not isinstance(value, str):
        raise ValueError(f"a label value must be a string, not {value!r}")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(name: str, value: object) -> str:
    if isinstance(value, float) and -1e6 < value < 1e6:  # most values, and Go formats them as Python does
        return repr(value)
    try:
        number = float(value) if isinstance(value, (float, int)) else math.nan
    except OverflowError:
        number = math.nan
    if number != number:
        raise ValueError(f"{name}: the value must be a number, not {value!r}")
    text: str = floatToGoString(number)
    return text
