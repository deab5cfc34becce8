"""What a host in a URL may be."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_IPV6 = re.compile(r"[0-9a-f:.]+(?:%[a-z0-9._-]+)?")


def is_host(text: str) -> bool:
    """Tell whether a lower-case text is the name of a host or an address, without brackets."""
    return bool((_IPV6 if ":" in text else _NAME).fullmatch(text))
