"""The levels at which alerts fire, a warning and a critical level for credits, storage, channels and quotas."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import isinf


@dataclass(frozen=True, slots=True)
class Level:
    """An amount of credits, or with ``share`` a part of the limit from 0 to 1."""

    value: float
    share: bool = False

    def __str__(self) -> str:
        return f"{self.value * 100:.12g}%" if self.share else f"{self.value:.12g}"

    def amount(self, limit: float | None, without_limit: float) -> float:
        """Return the level as an amount. A share without a limit is ``without_limit``."""
        if not self.share:
            return self.value
        return without_limit if limit is None or isinf(limit) else self.value * limit


@dataclass(frozen=True, slots=True)
class Threshold:
    """The warning level and the critical level of a figure."""

    warning: Level
    critical: Level


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All levels of an account. All but credits are shares of the limit, and None if the vendor has no such limit."""

    credits: Threshold
    storage: Threshold | None
    channels: Threshold | None
    quotas: Threshold = Threshold(Level(0.8, share=True), Level(0.95, share=True))

    def of(self, quotas: Collection[str]) -> Thresholds:
        """Return the levels without those of quotas that the vendor does not have."""
        storage = self.storage if "storage" in quotas else None
        channels = self.channels if "channels" in quotas else None
        return Thresholds(self.credits, storage, channels, self.quotas)


DEFAULTS = Thresholds(
    credits=Threshold(Level(0.20, share=True), Level(0.05, share=True)),
    storage=Threshold(Level(0.8, share=True), Level(0.95, share=True)),
    channels=Threshold(Level(0.8, share=True), Level(1.0, share=True)),
)
CREDITS_WITHOUT_LIMIT = Threshold(Level(20), Level(5))
"""Levels in credits that replace a share of the monthly limit if the account has no such limit."""


def contradiction(threshold: Threshold, *, falling: bool) -> str | None:
    """Return a message if the critical level is reached before the warning.

    ``falling`` figures (credits) alert below a level, the others at or above it. An amount and a share are
    not compared, because the result depends on the account's limit.
    """
    warning, critical = threshold.warning, threshold.critical
    if warning.share != critical.share or warning == critical or (warning.value > critical.value) == falling:
        return None
    if falling:
        return f"the warning {warning} is below the critical level {critical}. It must be the higher one"
    values = (f"{level.value:.12g}" for level in (warning, critical))
    return "the warning {} is above the critical level {}. It must be the lower one".format(*values)
