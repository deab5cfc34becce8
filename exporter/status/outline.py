"""What filters, sort orders and counts need of each account, kept until the account or the time changes it.

A summary of each of 100,000 accounts takes seconds, and a page shows a part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from exporter.metrics.view import View
from exporter.readings import Usage
from exporter.status.summary import (
    ENDS_SOON_SECONDS,
    EXPIRING,
    NO_USAGE,
    OLD_DATA_SECONDS,
    Attention,
    problems,
    severity_of,
)


@dataclass(frozen=True, slots=True)
class Outline:
    """An account as it is found and sorted. It holds from ``since`` on and before ``until``, which are Unix seconds."""

    view: View
    severity: str
    since: float
    until: float
    attention: tuple[Attention, ...]
    """Its problems, in the words of the time ``since``."""

    @property
    def usage(self) -> Usage:
        """Return what may be shown of the last good response."""
        return self.view.usage or NO_USAGE

    def attention_at(self, now: float) -> tuple[Attention, ...]:
        """Return its problems in the words of the wall time ``now``, because what is left until an end is one."""
        counts_down = any(each.alert == EXPIRING for each in self.attention)
        return problems(self.view, now) if counts_down else self.attention


class Outlines:
    """Keeps the outlines of the accounts that ``views`` returns."""

    def __init__(self, views: Callable[[], Sequence[View]]) -> None:
        self._views = views
        self._kept: Sequence[Outline | None] = ()

    def at(self, now: float) -> list[Outline]:
        """Return the outline of each account at the wall time ``now``, in the order of the views."""
        views, kept = self._views(), self._kept
        if len(kept) != len(views):
            known = {id(outline.view): outline for outline in kept if outline is not None}
            kept = [known.get(id(view)) for view in views]
        made = [
            outline
            if outline is not None and outline.view is view and outline.since <= now < outline.until
            else _outline(view, now)
            for view, outline in zip(views, kept, strict=True)
        ]
        self._kept = made
        return made


def _outline(view: View, now: float) -> Outline:
    found = problems(view, now)
    until = min((at for at in _turns(view.usage or NO_USAGE) if at > now), default=inf)
    return Outline(view, severity_of(found), now, until, found)


def _turns(usage: Usage) -> Iterator[float]:
    """Yield each time at which an account has a problem more or less, although no poll ended."""
    if usage.generated_at is not None:
        yield usage.generated_at + OLD_DATA_SECONDS
    ends = [quota.expires_at for quota in usage.quotas]
    if usage.billing_period is not None:
        ends.append(usage.billing_period.end)
    for end in ends:
        if end is not None:
            yield end - ENDS_SOON_SECONDS
            yield end
