"""Replaces ``${NAME}`` in a text by the environment variable."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DOLLAR = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_VARIABLE = "the environment variable named here"


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace ``${NAME}`` and ``$$`` in a text. Return it with a sentence for each mistake.

    No sentence names the variable, because what stands in the braces may be a key.
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
        if value is None:
            mistakes.append(f"{_VARIABLE} is not set; set it, or write $${{...}} for the text itself")
            return ""
        if not _is_utf8(value):
            mistakes.append(f"{_VARIABLE} is not valid UTF-8")
        return value

    return _DOLLAR.sub(replacement, text), mistakes


def _is_utf8(text: str) -> bool:
    # os.environ hides bytes that are not UTF-8 in surrogates, with which no response of ours could be encoded.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
