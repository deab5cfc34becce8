"""The entry of the program. It imports nothing that takes long, because its first act is to hold signals."""

from __future__ import annotations

from exporter.runtime import garbage, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments; return its exit status."""
    signals.hold()
    garbage.postpone()
    from exporter.commands import run

    status = run(argv)
    garbage.end()
    return status
