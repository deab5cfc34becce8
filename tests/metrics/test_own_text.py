"""The exporter's own metrics are byte for byte what prometheus_client writes, however they change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.metrics.own_text import OwnText
from exporter.metrics.self_metrics import SelfMetrics

LABELS = st.sampled_from(["a", "", "100 %s of it", 'a "b" \\ {}', "two\nlines", "# no comment", "%", "é\u2028\r"])
VALUES = st.floats() | st.integers(-5, 5)
STEPS = st.lists(st.tuples(st.sampled_from(["gauge", "counter", "duration", "clear", "family"]), LABELS, VALUES))


@pytest.mark.parametrize("write", [generate_latest, generate_openmetrics])
@given(STEPS)
def test_text_is_prometheus_clients_after_any_change(
    write: Callable[[Collector], bytes], steps: list[tuple[str, str, float]]
) -> None:
    SelfMetrics("", "", 0, 1)  # leaves out creation times, which differ between two readings
    registry = CollectorRegistry()
    gauge = Gauge("one", "Help of 100 %s.", ("label",), registry=registry)
    counter = Counter("two", "Help.", ("label",), registry=registry)
    duration = Histogram("three_seconds", "Help.", ("label",), registry=registry)
    text = OwnText(registry, write)
    for number, (step, label, value) in enumerate(steps):
        if step == "gauge":
            gauge.labels(label).set(value)
        elif step == "counter":
            counter.labels(label).inc(abs(value))
        elif step == "duration":
            duration.labels(label).observe(value)
        elif step == "clear":
            gauge.clear()
        else:
            Gauge(f"four_{number}", "Help.", registry=registry).set(value)
        assert text() == write(registry)


def test_names_and_labels_are_written_once() -> None:
    written: list[bytes] = []

    def write(registry: Collector) -> bytes:
        written.append(generate_latest(registry))
        return written[-1]

    registry = CollectorRegistry()
    gauge = Gauge("one", "Help.", ("label",), registry=registry)
    text = OwnText(registry, write)
    for value in range(3):
        gauge.labels("a").set(value)
        assert text().endswith(b'one{label="a"} %d.0\n' % value)
    assert len(written) == 1
