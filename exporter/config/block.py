"""The base of all models of configuration files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

_KEYS: set[str] = {"providers"}  # which is read without the model of the file
"""The keys of all blocks whose modules are imported."""


def is_key(name: str) -> bool:
    """Return whether a name is a key of some block. Messages repeat no other word of a file."""
    # The models of providers take as long to import as all others, and a start without messages must not wait for them.
    from exporter.config.provider_schema import ProviderBlock

    return name in ProviderBlock.model_fields or name in _KEYS


class Block(BaseModel):
    """A mapping that has only known keys. A block or list that is empty in YAML counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        """Make the keys of a block known."""
        _KEYS.update(field.alias or name for name, field in cls.model_fields.items())
