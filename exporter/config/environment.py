"""Replaces ``${NAME}`` in a text by the environment variable."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DOLLAR = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")


def expand(text: str, environ: Mapping[str, str], *, shown: bool = True) -> tuple[str, list[str]]:
    """Replace ``${NAME}`` and ``$$`` in a text; return it with a sentence for each mistake.

    No sentence names a variable where ``shown`` is false.
    """
    mistakes: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1]
        if name is None:
            mistakes.append("`${` begins the name of an environment variable, as in ${NAME}; write $$ for a dollar")
            return ""
        value = environ.get(name)
        variable = f"environment variable {name}" if shown else "the environment variable named here"
        if value is None:
            itself = f"$${{{name}}}" if shown else "$${...}"
            mistakes.append(f"{variable} is not set; set it, or write {itself} for the text itself")
            return ""
        if not _is_utf8(value):
            mistakes.append(f"{variable} is not valid UTF-8")
        return value

    return _DOLLAR.sub(replacement, text), mistakes


def _is_utf8(text: str) -> bool:
    # os.environ hides bytes that are not UTF-8 in surrogates, which no answer of ours could be encoded with.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
