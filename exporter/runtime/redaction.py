"""Keeps keys and control characters out of every text that is printed, logged, served or stored."""

from __future__ import annotations

import json
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from math import inf
from unicodedata import category
from urllib.parse import quote

MESSAGE_RUN = 6
"""The number of characters in a row of a key that make a message unsafe."""
READING_RUN = 12
"""The same for a name or plan of a reading. It is longer, because a key may hold a word that is a service's name."""
_PROBE = 6
_MASK = "<redacted>"


class Redactor:
    """Knows every key that was read since the start and blanks them out of texts; thread-safe.

    ``secrets`` are blanked too.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._lengths: dict[str, tuple[int, ...]] = {}
        """The lengths of the forms with this beginning. Tuples, because sets would take 1 kB of memory for a key."""
        self._probes: set[int] = set()
        self._longest = 0
        self._word = inf
        """The shortest word that every text with a key has. Hardly any response has such a long one."""
        for secret in secrets:
            self.add(secret)

    def add(self, key: str) -> None:
        """Blank this key from now on, also as JSON, a URL, base64 or ``repr`` would write it."""
        with self._lock:
            if key in self._forms:
                return
            for form in set(_written_forms(key)):
                self._forms.add(form)
                start = form[:_PROBE]
                self._lengths[start] = tuple({*self._lengths.get(start, ()), len(form)})
                self._probes.add(len(start))
                self._longest = max(self._longest, len(form))
                self._word = min(self._word, max(map(len, form.split()), default=0))

    def redact(self, text: str, limit: int | None = None) -> str:
        """Return the first ``limit`` characters of a text, with every known key blanked, even if the limit cuts it."""
        end = len(text) if limit is None else min(limit, len(text))
        with self._lock:
            # Search beyond the limit, because a key that is cut in half is not found.
            seen = text[: end + self._longest]
            if max(map(len, seen.split()), default=0) < self._word:
                return text[:end]
            lengths = self._lengths
            starts = [
                (at, size)
                for size in self._probes
                for at in range(min(end, len(seen) - size + 1))
                if seen[at : at + size] in lengths
            ]
            spans = [
                (at, at + length)
                for at, size in starts
                for length in lengths[seen[at : at + size]]
                if seen[at : at + length] in self._forms
            ]
        return _blank(text, spans, end)


class KeyParts:
    """All runs of ``length`` characters of one key. They are blanked out of the responses to that key."""

    def __init__(self, key: str, length: int) -> None:
        self._length = length = min(length, len(key))
        self._parts = {key[at : at + length] for at in range(len(key) - length + 1)}
        half = (length + 1) // 2
        self._chunks = [key[at : at + half] for at in range(0, len(key) - half + 1, half)]

    def redact(self, text: str) -> str:
        """Return the text without the key and without any run of it."""
        if not any(chunk in text for chunk in self._chunks):
            # Every run holds one of these chunks whole, and to search for them takes a hundredth of the time.
            return text
        length, parts = self._length, self._parts
        spans = [(at, at + length) for at in range(len(text) - length + 1) if text[at : at + length] in parts]
        return _blank(text, spans, len(text))


def change_texts(document: object, change: Callable[[str], str]) -> object:
    """Return a JSON document with every text in it changed, the names of fields too; raise RecursionError.

    If ``change`` leaves a text alone that is two texts joined by a space, it must leave each of the two alone.
    """
    # First try all texts at once, because hardly any response has one that must be changed.
    texts: list[str] = []
    _gather([document], texts)
    together = " ".join(texts)
    return document if change(together) == together else _changed(document, change)


def _gather(values: Iterable[object], texts: list[str]) -> None:
    for value in values:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            texts += value
            _gather(value.values(), texts)
        elif isinstance(value, list):
            _gather(value, texts)


def _changed(document: object, change: Callable[[str], str]) -> object:
    if isinstance(document, str):
        return change(document)
    if isinstance(document, dict):
        return {change(name): _changed(value, change) for name, value in document.items()}
    if isinstance(document, list):
        return [_changed(value, change) for value in document]
    return document


def escape(text: str) -> str:
    r"""Return the text with every control, format and unassigned character written as ``\u0085``.

    Such a character may control a terminal, reverse the order of a line or end it. Spaces of any width stay.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character.isprintable() or category(character) == "Zs":
        return character
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _written_forms(key: str) -> Iterator[str]:
    escaped = quote(key, safe="")
    yield from (key, escaped, escaped.lower(), json.dumps(key)[1:-1], repr(key)[1:-1])
    data = key.encode("utf-8", "surrogatepass")
    for before in range(3):
        # base64 writes three bytes as four characters, so the bytes before the key change how the key is written.
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            form = encode(bytes(before) + data).decode()[first:last]
            if len(form) >= MESSAGE_RUN:
                yield form


def _blank(text: str, spans: Iterable[tuple[int, int]], limit: int) -> str:
    pieces: list[str] = []
    done, end = 0, -1
    for start, stop in sorted(spans):
        if start > end:
            pieces += (text[done:start], _MASK)
        end = done = max(end, stop)
    return "".join(pieces) + text[done:limit] if pieces else text[:limit]
