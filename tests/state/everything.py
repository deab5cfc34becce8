"""Reads a whole state file, which the exporter never does."""

from __future__ import annotations

import json
from contextlib import suppress

from exporter.account_id import AccountId
from exporter.errors import StateUnavailableError
from exporter.readings import AccountState
from exporter.state.sqlite import StateFile


def everything(file: StateFile) -> dict[AccountId, AccountState]:
    """Return every account in the file whose name can be read."""
    rows: list[tuple[str]] = []
    with suppress(StateUnavailableError):
        rows = file.read(lambda db: db.execute("SELECT account FROM accounts").fetchall())
    names: list[AccountId] = []
    for (name,) in rows:
        with suppress(ValueError, TypeError):
            provider, account = json.loads(name)
            names.append((provider, account))
    return file.load(names)
