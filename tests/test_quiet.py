"""A benchmark writes no results of a busy machine."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import quiet


def counts(monkeypatch: pytest.MonkeyPatch, busy: float, waited: float) -> None:
    """Let the machine's counters grow by this much in the second that is watched."""
    for name, growth in (("_busy", busy), ("_waited", waited)):
        monkeypatch.setattr(quiet, name, iter((100.0, 100.0 + growth)).__next__)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.parametrize(
    ("busy", "waited", "told"),
    [
        (0.05, 0.05, None),
        (0.5, 0.0, "other programs use 0.50 cores"),
        (0.0, 0.3, "programs wait for a core 30% of the time"),
    ],
)
def test_a_machine_is_busy_when_others_use_it_or_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, busy: float, waited: float, told: str | None
) -> None:
    counts(monkeypatch, busy, waited)
    assert quiet.disturbance(1.0) == told


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(None, None, True), (None, "others run", False), ("others ran", None, False)]
)
def test_results_are_kept_only_when_the_machine_was_quiet_before_and_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None, after: str | None, kept: bool
) -> None:
    monkeypatch.setattr(command, "disturbance", lambda: after)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    options = argparse.Namespace(disturbed=before, measured={}, refused=[])
    result = command.keep(options, "start", {"seconds": 1})
    assert options.measured == {"start": result}
    assert options.refused == ([] if kept else ["start"])
    assert result["seconds"] == 1
    assert (tmp_path / "start.json").exists() is kept
