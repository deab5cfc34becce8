"""A custom collector with prometheus_client, as one writes it in an afternoon. Run ``collector.py SAMPLES.json PORT``.

It makes the families again for each scrape, and the library's own server sends them.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


class Accounts:
    """The samples of a file, with name, type, help, labels and rows of each family."""

    def __init__(self, file: Path) -> None:
        self._families = json.loads(file.read_text())

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        for name, kind, text, labels, rows in self._families:
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, text, labels=labels)
            for values, value in rows:
                family.add_metric(values, value)
            yield family


if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(Accounts(Path(sys.argv[1])))
    start_http_server(int(sys.argv[2]), addr="127.0.0.1", registry=registry)
    threading.Event().wait()
