"""A folder with a configuration and a state, and the command over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.report.command import report
from tests.report.lives import DAY, OCTOBER, World, world

ACCOUNTS = """
state: {path: state.db}
accounts:
- {name: media, provider: vidnavigator, api_key_env: KEY, labels: {team: media}, price: {amount: 0.1, currency: USD}}
- {name: search, provider: vidnavigator, api_key_env: KEY, labels: {team: search}, price: {amount: 0.2, currency: EUR}}
- {name: clips, provider: videodb, api_key_env: KEY, labels: {team: media}}
"""
MEDIA, SEARCH, CLIPS = ("vidnavigator", "media"), ("vidnavigator", "search"), ("videodb", "clips")
NOVEMBER = OCTOBER + 31 * DAY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(ACCOUNTS)
    return tmp_path


@pytest.fixture
def accounts(folder: Path) -> Iterator[World]:
    with world(folder / "state.db") as made:
        yield made


class Reporter:
    """Runs the command. It keeps the exit status and what was printed last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.status = 0
        self.out = self.err = ""

    def __call__(
        self,
        by: str = "account",
        output: str = "table",
        *,
        month: str | None = None,
        first: str | None = None,
        last: str | None = None,
        now: float = NOVEMBER + 5 * DAY,
    ) -> str:
        self.status = report(Path("config.yaml"), (month, first, last), by, output, {"KEY": "k" * 20}, now)
        self.out, self.err = self._capsys.readouterr()
        return self.out

    def rows(self, by: str = "account", **span: Any) -> list[dict[str, Any]]:
        """Return the rows of the JSON, whose numbers are exact."""
        rows: list[dict[str, Any]] = json.loads(self(by, "json", **span), parse_float=Decimal, parse_int=Decimal)[
            "rows"
        ]
        return rows


@pytest.fixture
def reporter(capsys: pytest.CaptureFixture[str]) -> Reporter:
    return Reporter(capsys)
