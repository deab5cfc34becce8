"""The text of samples equals that of prometheus_client. Invalid samples are refused when they are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.account_id import AccountId
from exporter.metrics.family import Family
from exporter.metrics.page import Exposition
from exporter.metrics.render import Renderer
from exporter.runtime.clock import SystemClock

Sample = tuple[tuple[str, ...], float]
Known = dict[tuple[AccountId, str], list[Sample]]
Case = tuple[list[Family], str, list[AccountId], Known]
NAMES = ("provider", "account", "team")
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "",
        "\n",
        '"',
        "\\",
        "\\n",
        '\\"',
        "a\\",
        "%s",
        "%(operation)s",
        "{}",
        "é",
        "🎬",
        "\x00",
        "\r",
        "\u2028",
        "x" * 300,
    ]
)
numbers = (
    st.floats(allow_nan=False)
    | st.sampled_from([0.0, -0.0, 1e6, 999999.5, -1e6, 1e15, 1e16, 1e21, 5e-324, 1e-7, float("inf"), float("-inf")])
    | st.integers(-(2**70), 2**70)
)
OPERATION = Family("video_api_used", "gauge", "h", ("operation", "unit"), lambda view: ())
PLAIN = Family("video_api_up", "gauge", "h", (), lambda view: ())


@st.composite
def families(draw: st.DrawFn) -> Case:
    """Some families, and for some accounts the samples of each."""
    # These sort around provider, account and team, and around each other with and without a digit.
    labels = st.lists(st.sampled_from(["a", "a1", "operation", "Z", "_x", "unit", "team_2"]), unique=True, max_size=3)
    made = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["gauge", "counter"]))
        name = f"video_api_family_{number}" + ("_total" if kind == "counter" else draw(st.sampled_from(["", "_bytes"])))
        made.append(Family(name, kind, draw(text), tuple(draw(labels)), lambda view: ()))
    accounts = draw(st.lists(st.tuples(text, text), min_size=1, max_size=4, unique=True))
    samples = {
        (account, family.name): draw(
            st.lists(
                st.tuples(
                    st.tuples(*[text for _ in family.labels]),
                    numbers.map(abs) if family.type == "counter" else numbers,
                ),
                max_size=3 if family.labels else 1,
                unique_by=lambda sample: sample[0],
            )
        )
        for account in accounts
        for family in made
    }
    return made, draw(text), accounts, samples


class Reference:
    """A collector of the same samples."""

    def __init__(self, made: list[Family], team: str, accounts: list[AccountId], samples: Known) -> None:
        self.made, self.team, self.accounts, self.samples = made, team, accounts, samples

    def collect(self) -> Iterator[Metric]:
        for family in self.made:
            kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=NAMES + family.labels)
            for account in self.accounts:
                for labels, value in self.samples[account, family.name]:
                    metric.add_metric((*account, self.team, *labels), value)
            if metric.samples:
                yield metric


def facts(metrics: Iterable[Metric]) -> list[tuple[str, str, list[tuple[str, dict[str, str], float]]]]:
    """Return what the parsers keep as it is; HELP they trim."""
    return [(m.name, m.type, [(s.name, s.labels, float(s.value)) for s in m.samples]) for m in metrics]


@given(families())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
def test_page_is_byte_for_byte_prometheus_clients_and_reads_back_the_same(case: Case) -> None:
    made, team, accounts, samples = case
    page = Exposition(made, CollectorRegistry(), SystemClock())
    page.reset(accounts)
    for account in accounts:
        render = Renderer(NAMES, (*account, team))
        page.put(account, [render(family, samples[account, family.name]) for family in made])
    reference = Reference(made, team, accounts, samples)
    plain = page.body("", "").data
    openmetrics = page.body("application/openmetrics-text", "").data
    assert plain == generate_latest(reference)
    assert openmetrics == generate_openmetrics(reference)
    # The counter's name in plain text has its suffix, which the library's parser takes off.
    assert facts(parse_openmetrics(openmetrics.decode())) == facts(reference.collect())
    assert [m[2] for m in facts(parse_text(plain.decode()))] == [m[2] for m in facts(reference.collect())]


def test_lone_surrogates_in_labels_do_not_break_the_line() -> None:
    line = Renderer(("account",), ("a\ud800b",))(OPERATION, [(("\udfff", "u"), 1.0)])
    assert line.decode() == 'video_api_used{account="a?b",operation="?",unit="u"} 1.0\n'


def test_a_family_without_samples_has_no_text() -> None:
    assert Renderer(("account",), ("a",))(PLAIN, ()) == b""


@pytest.mark.parametrize("value", [None, float("nan"), "1", b"1", 10**400, [], {}])
def test_a_value_must_be_a_number(value: Any) -> None:
    with pytest.raises(ValueError, match="video_api_up: the value must be a number, not"):
        Renderer(("account",), ("a",))(PLAIN, [((), value)])


@pytest.mark.parametrize("labels", [(), ("one",), ("one", "two", "three")])
def test_too_many_or_too_few_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"video_api_used: {len(labels)} label values for operation, unit"):
        Renderer(("account",), ("a",))(OPERATION, [(labels, 1.0)])


def test_a_label_is_refused_on_a_family_without_labels() -> None:
    with pytest.raises(ValueError, match="1 label values for no labels"):
        Renderer(("account",), ("a",))(PLAIN, [(("one",), 1.0)])


@pytest.mark.parametrize("label", [None, 1, b"a"])
def test_a_label_value_must_be_a_string(label: Any) -> None:
    with pytest.raises(ValueError, match="a label value must be a string"):
        Renderer(("account",), ("a",))(OPERATION, [((label, "u"), 1.0)])
    with pytest.raises(ValueError, match="a label value must be a string"):
        Renderer(("account",), (label,))


def test_the_same_labels_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="two samples with the labels"):
        Renderer(("account",), ("a",))(OPERATION, [(("x", "u"), 1.0), (("x", "u"), 2.0)])
    with pytest.raises(ValueError, match="two samples with the labels"):
        Renderer(("account",), ("a",))(PLAIN, [((), 1.0), ((), 1.0)])


def test_an_account_without_a_value_for_each_label_name_is_refused() -> None:
    with pytest.raises(ValueError, match="1 label values for the labels provider, account"):
        Renderer(("provider", "account"), ("videodb",))
