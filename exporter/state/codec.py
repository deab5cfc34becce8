"""An account's state as JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

from pydantic import TypeAdapter

from exporter.readings import AccountKey, AccountState


def name_of(account: AccountKey) -> str:
    """Return the name of an account in a state."""
    return json.dumps(account)


def encode(state: AccountState) -> bytes:
    """Return a state as JSON in UTF-8."""
    text = json.dumps(state, default=_plain, ensure_ascii=False, separators=(",", ":"))
    # A vendor's text may have half a surrogate pair, which has no UTF-8 and becomes a question mark.
    return text.encode(errors="replace")


@lru_cache
def decoder() -> Callable[[str | bytes], AccountState]:
    """Return what reads an encoded state and raises ValueError. It is made at its first use, which takes a while."""
    return TypeAdapter(AccountState).validate_json


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {name: getattr(value, name) for name in _field_names(value.__class__)}
    return dict(cast(Mapping[str, object], value))


@lru_cache
def _field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
