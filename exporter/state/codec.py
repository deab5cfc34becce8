"""An account's state as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from exporter.account_id import AccountId
from exporter.readings import AccountState


def name_of(account: AccountId) -> str:
    """Return the name of an account in a state."""
    return json.dumps(account)


def encode(state: AccountState) -> bytes:
    """Return a state as JSON in UTF-8."""
    try:
        return to_json(state, inf_nan_mode="constants")
    except PydanticSerializationError:
        # A text may have half a surrogate pair, which has no UTF-8 and becomes a question mark.
        plain = to_jsonable_python(state, inf_nan_mode="constants")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


@lru_cache
def decoder() -> Callable[[str | bytes], AccountState]:
    """Return what reads an encoded state and raises ValueError. It is made at its first use, which takes a while."""
    return TypeAdapter(AccountState).validate_json
