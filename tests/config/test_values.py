"""Durations, variables in texts, and thresholds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config.durations import format_duration, parse_duration
from exporter.config.environment import expand
from exporter.config.load import load
from exporter.config.thresholds import DEFAULTS, Level, Threshold, contradiction
from exporter.providers import PROVIDERS
from exporter.readings import Kept

UNHURRIED = settings(deadline=None)  # a busy machine is no failure
MILLISECONDS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


@UNHURRIED
@given(
    st.lists(
        st.tuples(st.sampled_from(list(MILLISECONDS)), st.integers(0, 999)),
        min_size=1,
        unique_by=lambda part: part[0],
    )
)
def test_a_duration_is_the_sum_of_its_parts_from_large_to_small(parts: list[tuple[str, int]]) -> None:
    ordered = sorted(parts, key=lambda part: -MILLISECONDS[part[0]])
    text = "".join(f"{count}{unit}" for unit, count in ordered)
    assert parse_duration(text) == sum(MILLISECONDS[unit] * count for unit, count in parts) / 1000
    if len(parts) > 1:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration("".join(f"{count}{unit}" for unit, count in reversed(ordered)))


@UNHURRIED
@given(st.integers(0, 10**12))
@example(86_400_000 * 365)
@example(86_400_000 * 8)
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (90, "1m30s"),
        (3600, "1h"),
        (86400 * 8, "8d"),
        (86400 * 14, "2w"),
        (86400 * 365, "1y"),
    ],
)
def test_durations_are_formatted_as_prometheus_does(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", " 5m", "5m\n", "-5m", "+5m", "1.5h", "5M", "1s1s", "٣s", "9" * 10 + "s"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 30s, 5m or 1h30m"):
        parse_duration(text)


@UNHURRIED
@given(st.text())
def test_a_text_with_its_dollars_doubled_expands_to_itself(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == (text, [])


@UNHURRIED
@given(
    st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_variable_is_replaced_once_whatever_it_holds(around: str, value: str) -> None:
    assert expand(around + "${A_1}" + around + "${A_1}", {"A_1": value}) == ((around + value) * 2, [])


@UNHURRIED
@given(st.text())
def test_any_text_expands_or_says_why_not(text: str) -> None:
    result, wrong = expand(text, {"A": "a"})
    assert isinstance(result, str)
    assert ("${" in text.replace("$$", "").replace("${A}", "")) <= bool(wrong)


@pytest.mark.parametrize("text", ["$", "$A", "a$", "$ {A}", "$(A)", "}{", "$}"])
def test_a_dollar_without_a_brace_is_kept(text: str) -> None:
    assert expand(text, {"A": "x"}) == (text, [])


def test_the_message_about_an_unset_variable_does_not_name_it() -> None:
    _, wrong = expand("${A}${SET}", {"SET": ""})
    assert wrong == [
        "the environment variable named here is not set; set it, or write $${...} for the text itself",
    ]


def pair(warning: Level, critical: Level) -> Threshold:
    return Threshold(warning, critical)


@UNHURRIED
@given(st.floats(0, 1e6), st.floats(0, 1e6), st.booleans(), st.booleans())
def test_a_pair_contradicts_itself_when_critical_comes_first(a: float, b: float, share: bool, falling: bool) -> None:
    sentence = contradiction(pair(Level(a, share), Level(b, share)), falling=falling)
    assert (sentence is not None) == (a < b if falling else a > b)


@UNHURRIED
@given(st.floats(0, 1e6), st.floats(0, 1), st.booleans())
def test_an_amount_and_a_share_are_not_compared(amount: float, share: float, falling: bool) -> None:
    one, other = Level(amount), Level(share, share=True)
    assert contradiction(pair(one, other), falling=falling) is None
    assert contradiction(pair(other, one), falling=falling) is None


def test_the_defaults_contradict_nothing() -> None:
    assert DEFAULTS.storage is not None and DEFAULTS.channels is not None
    assert contradiction(DEFAULTS.credits, falling=True) is None
    assert contradiction(DEFAULTS.storage, falling=False) is None
    assert contradiction(DEFAULTS.channels, falling=False) is None


def test_a_share_becomes_an_amount_by_the_limit() -> None:
    assert Level(0.2, share=True).amount(50, 20) == 10
    assert Level(0.2, share=True).amount(None, 20) == 20
    assert Level(30).amount(50, 20) == Level(30).amount(None, 20) == 30


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        ("", Kept(8 * 86400.0, 400 * 86400.0)),
        ("history: {hourly: 0, daily: 2y}", Kept(0.0, 730 * 86400.0)),
        ('history: {daily: "0"}', Kept(8 * 86400.0, 0.0)),
    ],
)
def test_the_history_is_kept_for_as_long_as_the_file_says(tmp_path: Path, block: str, kept: Kept) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{block}\naccounts:\n  - {{name: media, provider: videodb, api_key_env: KEY}}\n")
    assert load(path, PROVIDERS, {}).history == kept
