"""The response follows Accept and Accept-Encoding by RFC 9110, and no header causes an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder

from exporter.metrics.negotiation import gzip_accepted, negotiate

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

PARAMETERS = (
    """
    version=1.0.0,version=0.0.4, version=0.0.1 ,version=2.0.0,version=,version=1.0.0.0,version=1.1,version=1,
    version=10.0,q=0,q=0.5,escaping=dots,escaping=values,escaping=allow-utf-8 ,escaping=underscores,
    escaping=nonsense,charset=utf-8,version="1.0.0",x=";,x="\\",=",,=
""".replace("\n    ", "")
    .strip("\n")
    .split(",")
)

elements = st.builds(
    lambda media, parameters: ";".join([media, *parameters]),
    st.sampled_from(["application/openmetrics-text", "text/plain", " text/plain ", "*/*", "text/html", ""]),
    st.lists(
        st.sampled_from(PARAMETERS),
        max_size=4,
    ),
)


def test_prometheus_gets_openmetrics() -> None:
    assert negotiate(PROMETHEUS_2) == (
        True,
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
    )
    assert negotiate(PROMETHEUS_3) == (
        True,
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
    )


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text;version=0.0.1", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_content_types(accept: str, content_type: str) -> None:
    assert negotiate(accept) == (content_type.startswith("application"), content_type)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text;q=0, text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        ("text/plain;q=0, */*", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/*;q=0.4, application/*;q=0.3", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=2.0.0", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "text/plain;q=0.5, application/openmetrics-text;q=0.4, */*;q=0.9",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("*/*;q=0", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;q=x", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_the_format_with_the_highest_quality_wins(accept: str, content_type: str) -> None:
    assert negotiate(accept) == (content_type.startswith("application"), content_type)


@given(
    st.permutations(["application/openmetrics-text;version=1.0.0", "text/plain;version=0.0.4"]),
    st.lists(st.integers(0, 1000), min_size=2, max_size=2),
)
def test_the_order_of_the_header_does_not_count(ranges: list[str], weights: list[int]) -> None:
    accept = ",".join(f"{name};q={weight / 1000}" for name, weight in zip(ranges, weights, strict=True))
    of = dict(zip(ranges, weights, strict=True))
    open_weight, text_weight = of["application/openmetrics-text;version=1.0.0"], of["text/plain;version=0.0.4"]
    assert negotiate(accept)[0] is (open_weight > 0 and open_weight >= text_weight)


@settings(deadline=None)
@given(st.lists(elements, max_size=4).map(",".join))
def test_the_version_in_the_response_is_one_that_we_serve(accept: str) -> None:
    is_openmetrics, content_type = negotiate(accept)
    served = ("version=1.0.0",) if is_openmetrics else ("version=1.0.0", "version=0.0.4")
    assert next(part for part in content_type.split("; ") if part.startswith("version=")) in served


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=1.0.0;escaping=dots", "text/plain", ""])
def test_the_content_types_are_those_of_prometheus_client(accept: str) -> None:
    assert negotiate(accept)[1] == choose_encoder(accept)[1]


@pytest.mark.parametrize(
    "version",
    [
        "x",
        "1.x",
        "1..0",
        '"1.0.1"',
        "'1.0.0'",
        "1.0.0\r\nX: y",
        "1.0.0é",
        "١.٠.٠",
        "9" * 5000,
        "1." * 2000,
        "-1",
        "1_0",
        "nan",
        "∞",
    ],
)
@pytest.mark.parametrize("media", ["application/openmetrics-text", "text/plain"])
def test_an_invalid_version_is_ignored(media: str, version: str) -> None:
    assert negotiate(f"{media};version={version}") == (False, "text/plain; version=0.0.4; charset=utf-8")
    assert negotiate(f"{media};version={version}, {media};version=1.0.0")[1].startswith(f"{media}; version=1.0.0;")


@pytest.mark.parametrize(
    "accept",
    [
        'application/openmetrics-text;version="1.0.0";escaping="dots";q=0.6,text/plain;q=0.5',
        r'application/openmetrics-text;version="1.\0.0";escaping=dots,text/plain;q=0.5',
        'application/openmetrics-text;x="a,b;version=0.0.1\\";";version="1.0.0";escaping=dots,text/plain;q=0.5',
    ],
)
def test_a_quoted_value_is_the_same_as_an_unquoted_one(accept: str) -> None:
    assert negotiate(accept) == negotiate("application/openmetrics-text;version=1.0.0;escaping=dots")


@settings(deadline=None)
@given(st.text() | st.lists(elements | st.text(), max_size=5).map(",".join), st.text())
def test_every_accept_header_gets_a_valid_content_type(accept: str, accept_encoding: str) -> None:
    content_type = negotiate(accept)[1]
    assert content_type.isascii()
    assert content_type.isprintable()
    assert len(content_type) < 200
    assert gzip_accepted(accept_encoding) in (True, False)


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;Q=0.", False),
        ("gzip;q=0.001", True),
        ("identity", False),
        ("identity;q=0", False),
        ("br, zstd", False),
        ("gzipped", False),
        ("*", False),
        ("deflate;q=0, gzip", True),
        (";;;,,,=", False),
    ],
)
def test_gzip_is_sent_if_it_is_accepted(accept_encoding: str, accepted: bool) -> None:
    assert gzip_accepted(accept_encoding) is accepted
