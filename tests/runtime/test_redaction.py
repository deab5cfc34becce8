"""Keys and control characters are removed from texts."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from unicodedata import category
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.runtime.redaction import KeyParts, Redactor, change_texts, escape

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40)


@given(KEYS, st.text(max_size=30), st.text(max_size=30))
def test_a_known_key_is_redacted_everywhere_in_a_text(key: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.add(key)
    clean = redactor.redact(before + key + after)
    assert "<redacted>" in clean
    assert key not in clean.replace("<redacted>", " ")


@given(KEYS, st.text(max_size=60))
def test_a_text_without_a_key_is_not_changed(key: str, text: str) -> None:
    redactor = Redactor()
    redactor.add(key)
    if key not in text:
        assert redactor.redact(text) == text


@pytest.mark.parametrize("write", [repr, json.dumps, lambda key: quote(key, safe="")], ids=["repr", "json", "url"])
def test_a_key_in_the_notation_of_other_programs_is_redacted_too(write: object) -> None:
    key = "a'b\"c\\d/e+f%g" * 2
    redactor = Redactor()
    redactor.add(key)
    written = write(key)  # type: ignore[operator]  # any of the three
    assert redactor.redact(f"x {written} y").replace('"', "").replace("'", "") == "x <redacted> y"


@given(KEYS, KEYS, st.lists(st.integers(0, 1), max_size=6))
def test_all_of_several_adjacent_keys_are_redacted(first: str, second: str, order: list[int]) -> None:
    redactor = Redactor()
    redactor.add(first)
    redactor.add(second)
    clean = redactor.redact("".join((first, second)[n] for n in order)).replace("<redacted>", " ")
    assert first not in clean and second not in clean


@given(KEYS, st.data())
def test_every_six_characters_of_the_key_are_redacted_in_a_message_of_the_vendor(key: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(key) - 6))
    part = key[start : start + data.draw(st.integers(6, len(key)))]
    clean = KeyParts(key, 6).redact(f"no such key: {part}!").replace("<redacted>", "\0")
    assert not any(key[at : at + 6] in clean for at in range(len(key) - 5))


@given(KEYS, st.integers(0, 2), st.sampled_from([b64encode, urlsafe_b64encode]))
def test_a_key_in_base64_is_redacted_at_any_offset(key: str, before: int, encode: Callable[[bytes], bytes]) -> None:
    redactor = Redactor()
    redactor.add(key)
    written = encode(b"u" * before + key.encode() + b":more").decode()
    clean = redactor.redact(f"Basic {written}")
    assert "<redacted>" in clean
    # Of the first and the last character of the key a few bits stand beside others in one base64 character.
    assert len(clean.replace("<redacted>", "")) <= len(f"Basic {written}") - (len(key) * 8 - 10) // 6


@given(KEYS, st.integers(0, 60), st.integers(0, 40))
def test_a_key_across_the_length_limit_is_redacted_as_a_whole(key: str, before: int, limit: int) -> None:
    redactor = Redactor()
    redactor.add(key)
    text = "\n" * before + key + key
    clean = redactor.redact(text, limit).replace("<redacted>", "\0")
    assert not set(clean) & set(key)


DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(max_size=5), parts),
)


@given(DOCUMENTS)
def test_only_the_texts_of_a_document_are_changed(document: object) -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, dict):
            return [text for pair in value.items() for item in pair for text in texts(item)]
        return [text for item in value for text in texts(item)] if isinstance(value, list) else []

    changed = change_texts(document, lambda text: f"<{text}>")
    assert texts(changed) == [f"<{text}>" for text in texts(document)]
    assert change_texts(changed, lambda text: text[1:-1]) == document


@given(st.text())
def test_an_escaped_text_has_no_character_that_controls_a_terminal(text: str) -> None:
    clean = escape(text)
    assert all(character.isprintable() or category(character) == "Zs" for character in clean)
    assert clean == text or not text.isprintable()


def test_an_escape_names_the_character() -> None:
    assert escape("a\x9b31m\x85b\u202ec\nd\x7f e\u00a0f") == "a\\u009b31m\\u0085b\\u202ec\\nd\\u007f e\u00a0f"


def test_a_secret_of_several_words_is_redacted_among_shorter_words() -> None:
    redactor = Redactor(["open sesame now", "a-key-of-a-vendor"])
    assert redactor.redact("he said open sesame now, twice") == "he said <redacted>, twice"
