"""A database for each test of the state."""

from __future__ import annotations

import pytest

from exporter.state.postgresql import link
from tests.program.running import PATIENT
from tests.state.postgresql import Server


@pytest.fixture
def url(postgresql: Server) -> str:
    return postgresql.new_database()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer longer than any busy machine takes, where a test counts what the database decided."""
    monkeypatch.setattr(link, "DEADLINE_SECONDS", PATIENT)
