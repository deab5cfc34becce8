"""The model of `state:`, with the rule and the description of each key."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from exporter.config.block import Block
from exporter.config.rules import STATE_URL, STATE_VARIABLE, TEXT


class StateBlock(Block):
    """Where data is kept over a restart."""

    path: Annotated[str | None, TEXT] = Field(
        default=None,
        description="SQLite file for readings, counters and cool-downs. Its directory must be writable.",
        json_schema_extra={"x-default": "nothing is kept over a restart"},
    )
    url: Annotated[str | None, STATE_URL] = Field(
        default=None,
        description="In place of `path`, the connection string of a PostgreSQL database, version 14 or later.",
    )
    url_env: Annotated[str | None, STATE_VARIABLE] = Field(
        default=None, description="Environment variable that holds the connection string."
    )
    url_file: Annotated[str | None, TEXT] = Field(
        default=None, description="File that holds the connection string. It is read again at each connection."
    )
