"""Reads the length of a cool-down from ``Retry-After`` and from the body of a response."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

from exporter.state.base import MAX_COOLDOWN_SECONDS

_DEFAULT_SECONDS = 60.0
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def cooldown_seconds(
    status: int, headers: Mapping[str, str], body: object, now_wall: float, named: float | None = None
) -> float | None:
    """Return the seconds of the cool-down that this response starts, or None if it starts none.

    After a 429 the cool-down is the longest of ``Retry-After``, the body's ``retry_after_seconds``, ``named`` and 60 s.
    After a 503 it is the longest of the first three, if the response has any. It is at most 6 h. A value that cannot
    be read is ignored. ``named`` is the wait in seconds that a provider reads from its own headers or fields.
    """
    if status not in (429, 503):
        return None
    lowered = {name.lower(): value for name, value in headers.items()}
    waits = [_retry_after(lowered, now_wall), _body_wait(body), named]
    if status == 429:
        waits.append(_DEFAULT_SECONDS)
    usable = [wait for wait in waits if wait is not None and math.isfinite(wait) and wait > 0]
    return min(max(usable), MAX_COOLDOWN_SECONDS) if usable else None


def _retry_after(headers: Mapping[str, str], now_wall: float) -> float | None:
    value = headers.get("retry-after", "").strip()
    # A proxy may add a second header; they arrive joined by a comma.
    numbers = [part.strip() for part in value.split(",")]
    if all(_NUMBER.fullmatch(number) for number in numbers):
        return max(map(float, numbers))
    end = _http_date(value)
    if end is None:
        return None
    # Take the vendor's own time if it sent it, because our clock may be off by more than the wait.
    sent = _http_date(headers.get("date", ""))
    return end - (now_wall if sent is None else sent)


def _body_wait(body: object) -> float | None:
    value = body.get("retry_after_seconds") if isinstance(body, Mapping) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # an integer of 400 digits
            return None
    return None


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # HTTP dates are in UTC. Python leaves the zone out where it is written as -0000.
    return (date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)).timestamp()
