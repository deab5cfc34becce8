"""Keys never come out of a text."""

from __future__ import annotations

import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.runtime import logs
from exporter.runtime.redaction import Redactor, redact_parts

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40)


@given(KEYS, st.text(max_size=30), st.text(max_size=30))
def test_a_known_key_is_blanked_wherever_it_stands(key: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.add(key)
    clean = redactor.redact(before + key + after)
    assert "<redacted>" in clean
    assert key not in clean.replace("<redacted>", " ")


@given(KEYS, st.text(max_size=60))
def test_a_text_without_a_key_is_left_alone(key: str, text: str) -> None:
    redactor = Redactor()
    redactor.add(key)
    if key not in text:
        assert redactor.redact(text) == text


@pytest.mark.parametrize("write", [repr, json.dumps, lambda key: quote(key, safe="")], ids=["repr", "json", "url"])
def test_a_key_as_other_programs_write_it_is_blanked_too(write: object) -> None:
    key = "a'b\"c\\d/e+f%g" * 2
    redactor = Redactor()
    redactor.add(key)
    written = write(key)  # type: ignore[operator]  # any of the three
    assert redactor.redact(f"x {written} y").replace('"', "").replace("'", "") == "x <redacted> y"


@given(KEYS, KEYS, st.lists(st.integers(0, 1), max_size=6))
def test_several_keys_side_by_side_are_all_blanked(first: str, second: str, order: list[int]) -> None:
    redactor = Redactor()
    redactor.add(first)
    redactor.add(second)
    clean = redactor.redact("".join((first, second)[n] for n in order)).replace("<redacted>", " ")
    assert first not in clean and second not in clean


@given(KEYS, st.data())
def test_no_six_characters_of_the_key_are_left_of_a_vendors_words(key: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(key) - 6))
    part = key[start : start + data.draw(st.integers(6, len(key)))]
    clean = redact_parts(f"no such key: {part}!", key).replace("<redacted>", "\0")
    assert not any(key[at : at + 6] in clean for at in range(len(key) - 5))


@pytest.mark.parametrize("output", logs.FORMATS)
def test_log_lines_hold_no_key_in_message_field_or_trace(output: str) -> None:
    redactor = Redactor()
    key = "not-a-real-key-" * 2
    redactor.add(key)
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure("debug", output, redactor)
        root.handlers[0].setStream(stream)  # type: ignore[attr-defined]  # a StreamHandler
        try:
            raise ValueError(key)
        except ValueError:
            logging.getLogger("exporter.x").exception("with %s", key, extra=logs.fields(account=key))
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    line = stream.getvalue()
    assert key not in line
    assert line.count("\n") == 1
    assert line.count("<redacted>") == 3
    if output == "json":
        assert json.loads(line)["level"] == "error"
    else:
        assert " level=error component=x " in line
