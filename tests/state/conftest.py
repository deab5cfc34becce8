"""One PostgreSQL for all tests of the state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.state.postgresql import link
from tests.program.running import PATIENT
from tests.state.postgresql import Server, server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture
def url(postgresql: Server) -> str:
    return postgresql.new_database()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer longer than any busy machine takes, where a test counts what the database decided."""
    monkeypatch.setattr(link, "DEADLINE", PATIENT)
