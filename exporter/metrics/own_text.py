"""Writes the exporter's own metrics as prometheus_client does, but names and labels only when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_Names = list[tuple[str, list[tuple[str, dict[str, str]]]]]
"""Each family's name, with the names and labels of its samples."""


class OwnText:
    """The text of a registry. It keeps what it last wrote and fills in the values, while the samples are the same."""

    def __init__(self, registry: Collector, write: Callable[[Collector], bytes]) -> None:
        """Write as ``write`` does, which is a function of prometheus_client."""
        self._registry = registry
        self._write = write
        self._names: _Names | None = None
        self._template = ""

    def __call__(self) -> bytes:
        """Read the metrics and return their text."""
        metrics = list(self._registry.collect())
        names = [(metric.name, [(sample.name, sample.labels) for sample in metric.samples]) for metric in metrics]
        values = tuple(floatToGoString(sample.value) for metric in metrics for sample in metric.samples)
        if names == self._names:
            return (self._template % values).encode()
        text = self._write(_Collected(metrics))
        lines = text.decode().removesuffix("\n").split("\n")
        self._names, self._template = None, "".join(map(_without_value, lines))
        # prometheus_client may move samples or add to their lines. Its own text is sent then.
        count = sum(not line.startswith("#") for line in lines)
        if count == len(values) and (self._template % values).encode() == text:
            self._names = names
        return text


class _Collected(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _without_value(line: str) -> str:
    line = line.replace("%", "%%")
    return (line if line.startswith("#") else line.rpartition(" ")[0] + " %s") + "\n"
