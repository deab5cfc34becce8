"""The time that all replicas have, which is that of the database."""

from __future__ import annotations

from exporter.runtime.clock import Clock


class DatabaseClock:
    """The wall clock of the database, which our monotonic clock carries on. Until it is known, it is our own."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead: float | None = None

    def wall(self) -> float:
        """Return the database's Unix time in seconds."""
        ahead = self._ahead
        return self._own.wall() if ahead is None else self._own.monotonic() + ahead

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary point."""
        return self._own.monotonic()

    def learn(self, time: float, since: float) -> None:
        """Take a Unix time that the database told between ``since`` (monotonic seconds) and now."""
        least, most = time - self._own.monotonic(), time - since
        known = (least + most) / 2 if self._ahead is None else self._ahead
        # Change it only by as much as is certain. A slow answer says little.
        self._ahead = min(max(known, least), most)
