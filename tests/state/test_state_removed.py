"""A state file that is removed or replaced while the exporter runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from exporter.errors import StartError
from exporter.readings import AccountState
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock
from tests.state.everything import everything

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")


def remove(path: Path) -> None:
    for file in path.parent.glob(path.name + "*"):
        file.unlink()


def test_a_removed_file_is_made_again_counted_and_logged(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    file = StateFile.open(path, clock, exclusive=True)
    file.save(MEDIA, AccountState(polls=1))
    remove(path)
    with caplog.at_level(logging.ERROR):
        file.save(ARCHIVE, AccountState(polls=2))
    assert file.write_failures == 1
    assert "removed or replaced" in caplog.text
    assert everything(file) == {ARCHIVE: AccountState(polls=2)}
    with pytest.raises(StartError):
        StateFile.open(path, clock, exclusive=True)
    file.close()


def test_the_first_exporter_writes_nothing_to_the_file_of_a_second_one(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "state.db"
    first = StateFile.open(path, clock, exclusive=True)
    remove(path)
    second = StateFile.open(path, clock, exclusive=True)
    first.save(MEDIA, AccountState(polls=1))
    assert everything(second) == {}
    assert first.write_failures >= 1
    first.close()
    second.close()


def test_a_file_that_replaces_a_damaged_one_is_private(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 1000)
    path.chmod(0o600)
    file = StateFile.open(path, clock, exclusive=True)
    file.save(MEDIA, AccountState(polls=1))
    modes = {made.name: made.stat().st_mode & 0o777 for made in tmp_path.iterdir()}
    file.close()
    assert set(modes.values()) == {0o600}, modes
