"""The model of a whole configuration file, from which its JSON Schema and its documentation are made."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from exporter.config.provider_schema import ProviderBlock
from exporter.config.rules import NAME
from exporter.config.schema import AccountBlock, HeadBlock


class ConfigFile(HeadBlock):
    """The whole configuration file."""

    providers: dict[Annotated[str, NAME], ProviderBlock] | None = Field(
        default=None, description="More providers, by name. They replace presets of the same name."
    )
    accounts: list[AccountBlock] | None = Field(default=None, description="The accounts to poll.")
