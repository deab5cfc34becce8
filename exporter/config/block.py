"""The base of all models of configuration files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

KNOWN_KEYS: set[str] = set()
"""The keys of all blocks. Messages repeat no other word of a file."""


class Block(BaseModel):
    """A mapping that has only known keys. A block or list that is empty in YAML counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        """Make the keys of a block known."""
        KNOWN_KEYS.update(field.alias or name for name, field in cls.model_fields.items())
