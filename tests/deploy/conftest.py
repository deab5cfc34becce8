"""What the checks of the deployment share: the programs, and containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import Containers

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv/tools/bin"


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    made = Containers(tmp_path_factory.mktemp("containers"))
    yield made
    made.remove()
