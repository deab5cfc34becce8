"""Fixtures of the deployment tests, which are programs and containers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import Containers

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv/tools/bin"


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    # Not pytest's folder: podman takes paths of 50 characters at most for what runs.
    made = Containers(Path(tempfile.mkdtemp(prefix="containers-")))
    yield made
    made.remove()
