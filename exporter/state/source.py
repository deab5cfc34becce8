"""Where the state is kept, as the configuration says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StateSource:
    """An SQLite file. ``value`` is its path."""

    kind: Literal["path"]
    value: str
