"""How much an account spends in each ten minutes of forty days, by the kind of work that it is used for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

STEP = 600
"""Seconds between two readings, scrapes and evaluations."""
DAY = 86400 // STEP
HISTORY = 10 * DAY
"""Steps before the billing period that is judged."""
PERIOD = 30 * DAY


class Time(NamedTuple):
    """A time on a curve. Weekday 0 is a Monday."""

    day: int
    weekday: int
    hour: float


Shape = Callable[[Time, random.Random], float]


def _steady(at: Time, chance: random.Random) -> float:
    return 1.0


def _nights(at: Time, chance: random.Random) -> float:
    return 0.15 if at.hour < 6 else 1.5 if 18 <= at.hour < 23 else 0.8


def _weeks(at: Time, chance: random.Random) -> float:
    if at.weekday > 4 or not 8 <= at.hour < 18:
        return 0.03
    return 0.6 if 12 <= at.hour < 13 else 1.0


def _weekends(at: Time, chance: random.Random) -> float:
    return _nights(at, chance) * (3.0 if at.weekday > 4 else 1.0)


def _batch(at: Time, chance: random.Random) -> float:
    return 20.0 if 2 <= at.hour < 3 else 0.15


def _bursts(at: Time, chance: random.Random) -> float:
    return chance.lognormvariate(3.0, 0.8) if chance.random() < 0.012 else 0.3


def _growth(at: Time, chance: random.Random) -> float:
    return _weeks(at, chance) * math.pow(2, at.day / 20)


def _holidays(at: Time, chance: random.Random) -> float:
    return 0.03 if 18 <= at.day < 25 else _weeks(at, chance)


def _month_end(at: Time, chance: random.Random) -> float:
    # Both the month before and the one that is judged end in a batch of three days.
    last_days = HISTORY // DAY - 3 <= at.day < HISTORY // DAY or at.day >= (HISTORY + PERIOD) // DAY - 3
    return _nights(at, chance) * (5.0 if last_days else 1.0)


def _levels(at: Time, chance: random.Random) -> float:
    # The level of five days, the same for all of their hours.
    return _nights(at, chance) * random.Random(at.day // 5).choice((0.4, 1.0, 1.0, 2.0))


SHAPES: dict[str, Shape] = {
    "steady": _steady,
    "nights": _nights,
    "working weeks": _weeks,
    "weekends": _weekends,
    "a nightly batch": _batch,
    "bursts": _bursts,
    "growth": _growth,
    "holidays": _holidays,
    "month-end batch": _month_end,
    "changing levels": _levels,
}


def spending(name: str, weekday: int) -> list[float]:
    """Return the spend of each step. It begins on that weekday, and is the same each time."""
    chance = random.Random(f"{name} {weekday}")
    shape = SHAPES[name]
    steps = []
    for day in range((HISTORY + PERIOD) // DAY):
        busy = chance.lognormvariate(0, 0.15)
        for step in range(DAY):
            noise = chance.gammavariate(4, 0.25)
            steps.append(busy * noise * shape(Time(day, (day + weekday) % 7, step * STEP / 3600), chance))
    return steps
