"""An account is identified by its provider and its name."""

from __future__ import annotations

AccountId = tuple[str, str]
"""The provider and the name."""


def full_name(account: AccountId) -> str:
    """Return ``provider/name``, as commands and reports write it."""
    return "/".join(account)
