"""Keeping keys out of everything that is printed, logged, served or stored."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from urllib.parse import quote

_SHORTEST_PART = 6
_MASK = "<redacted>"


class Redactor:
    """Knows every key that was read since the start and blanks them out of texts; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, set[str]] = {}

    def add(self, key: str) -> None:
        """Blank this key from now on, also as JSON, a URL or ``repr`` would write it."""
        with self._lock:
            for form in {key, quote(key, safe=""), json.dumps(key)[1:-1], repr(key)[1:-1]}:
                self._known.setdefault(len(form), set()).add(form)

    def redact(self, text: str) -> str:
        """Return the text with every known key blanked. Costs text length times the number of key lengths."""
        found: list[tuple[int, int]] = []
        with self._lock:
            known = list(self._known.items())
        for length, keys in known:
            found += ((at, at + length) for at in range(len(text) - length + 1) if text[at : at + length] in keys)
        return _blank(text, found)


def redact_parts(text: str, key: str) -> str:
    """Return a vendor's words without the key that they answer, nor any six characters in a row of it."""
    size = min(_SHORTEST_PART, len(key))
    parts = {key[at : at + size] for at in range(len(key) - size + 1)}
    return _blank(text, ((at, at + size) for at in range(len(text) - size + 1) if text[at : at + size] in parts))


def _blank(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces: list[str] = []
    done, end = 0, -1
    for start, stop in sorted(spans):
        if start > end:
            pieces += (text[done:start], _MASK)
        end = done = max(end, stop)
    return "".join(pieces) + text[done:] if pieces else text
