"""Opens the state that the configuration names."""

from __future__ import annotations

from pathlib import Path

from exporter.runtime.clock import Clock
from exporter.state.base import State
from exporter.state.source import StateSource


def open_state(source: StateSource, clock: Clock, *, exclusive: bool) -> State:
    """Open the state. With ``exclusive``, which is for the daemon, a file that another daemon has raises StartError."""
    # The import of what is not used would cost each start its time.
    from exporter.state.key_records import KeyRecords
    from exporter.state.sqlite import StateFile

    file = StateFile.open(Path(source.value), clock, exclusive=exclusive)
    return State(file, KeyRecords(file, clock))
