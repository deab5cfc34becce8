"""Filters and sorts accounts by the query parameters of the page and of ``/api/v1/accounts``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain, groupby
from math import inf
from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

from exporter.config.thresholds import Threshold
from exporter.readings import Failure, Quota
from exporter.status.outline import Outline
from exporter.status.summary import SEVERITIES, plan_of, runway_of, second_of, subscription_of

Key = float | str | tuple[float | str, ...]
_RUN = 4096
"""Accounts that are sorted at once. One sort of 100,000 would keep other threads waiting for a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort. ``key`` returns an account's value at a time, or None, which comes last in both directions."""

    words: str
    reverse_words: str
    key: Callable[[Outline, float], Key | None]
    descending: bool = False


def _ratio(quota: Quota | None, threshold: Threshold | None) -> float | None:
    return quota.ratio if quota is not None and threshold is not None else None


def _attention(account: Outline, now: float) -> tuple[float | str, ...]:
    runway = runway_of(account.usage, now)
    return SEVERITIES.index(account.severity), inf if runway is None else runway, *_name(account)


def _name(account: Outline, _now: float = 0.0) -> tuple[str, ...]:
    configured = account.view.account
    return configured.name.casefold(), configured.name, configured.provider


SORTS: Mapping[str, Order] = {
    "attention": Order("needs attention first", "needs attention last", _attention),
    "account": Order("account, A to Z", "account, Z to A", _name),
    "provider": Order("provider, A to Z", "provider, Z to A", lambda account, _: account.view.account.provider),
    "plan": Order("plan, A to Z", "plan, Z to A", lambda account, _: plan_of(account.usage)),
    "balance": Order("lowest balance", "highest balance", lambda account, _: account.usage.balance),
    "runway": Order("shortest runway", "longest runway", lambda account, now: runway_of(account.usage, now)),
    "storage": Order(
        "fullest storage",
        "emptiest storage",
        lambda account, _: _ratio(account.usage.storage, account.view.account.thresholds.storage),
        descending=True,
    ),
    "channels": Order(
        "most channels used",
        "fewest channels used",
        lambda account, _: _ratio(account.usage.channels, account.view.account.thresholds.channels),
        descending=True,
    ),
    "last": Order("oldest poll", "newest poll", lambda account, _: second_of(account.view.state.last_poll)),
    "next": Order("next poll soonest", "next poll latest", lambda account, _: second_of(account.view.state.next_poll)),
}
DEFAULT_SORT = "attention"


@dataclass(frozen=True, slots=True)
class Selection:
    """The query parameters, each as a field of the same name. A leading ``-`` reverses ``sort``."""

    q: str = ""
    severity: str = ""
    provider: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Selection:
        """Read query parameters and ignore unknown ones. A wrong value raises ValueError with its explanation."""
        severity, page = query.get("severity", ""), query.get("page") or "1"
        sort = query.get("sort") or DEFAULT_SORT
        if severity and severity not in SEVERITIES:
            raise ValueError(f"severity={severity}: must be one of {', '.join(SEVERITIES)}")
        if sort.removeprefix("-") not in SORTS:
            raise ValueError(f"sort={sort}: must be one of {', '.join(SORTS)}, with a - before it to reverse the order")
        if not (page.isascii() and page.isdigit() and len(page) < 9 and int(page)):
            raise ValueError(f"page={page}: must be a whole number of at least 1")
        return cls(query.get("q", "").strip(), severity, query.get("provider", ""), sort, int(page))

    @property
    def column(self) -> str:
        """Return the name of the sort order, without its direction."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Return whether large values come first."""
        return self.sort.startswith("-") is not SORTS[self.column].descending

    def href(self, **changes: str | int) -> str:
        """Return the relative address of this selection with these changes, on page 1 unless ``page`` is given."""
        to = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]  # the fields' names and types
        given = {"q": to.q, "severity": to.severity, "provider": to.provider}
        if to.sort != DEFAULT_SORT:
            given["sort"] = to.sort
        if to.page > 1:
            given["page"] = str(to.page)
        return "?" + urlencode({name: value for name, value in given.items() if value}, errors="replace")

    def toggled(self, column: str) -> str:
        """Return the sort parameter that a click on the column's heading asks for."""
        return f"-{column}" if self.sort == column else column

    def found(self, accounts: Sequence[Outline], now: float) -> list[Outline]:
        """Return the accounts that match the search words and the provider, with any severity."""
        words = self.q.casefold().split()
        if self.provider:
            accounts = [account for account in accounts if account.view.account.provider == self.provider]
        return [account for account in accounts if _has_all(account, words, now)] if words else list(accounts)

    def with_severity(self, accounts: Sequence[Outline]) -> Sequence[Outline]:
        """Return the accounts that have the chosen severity."""
        return [account for account in accounts if account.severity == self.severity] if self.severity else accounts

    def in_order(self, accounts: Sequence[Outline], now: float) -> Iterator[Outline]:
        """Yield accounts in the chosen order. Those that are equal in it are ordered by the attention they need."""
        attention = [(_attention(account, now), account) for account in accounts]
        if self.column == DEFAULT_SORT:
            return _sorted(attention, self.descending)
        key = SORTS[self.column].key
        keyed = [((key(account, now), needed), account) for needed, account in attention]
        known = [each for each in keyed if each[0][0] is not None]
        unknown = [(needed, account) for (value, needed), account in keyed if value is None]
        return chain(_sorted(known, self.descending, turned=self.descending), _sorted(unknown))


def _sorted(keyed: Sequence[tuple[Any, Outline]], descending: bool = False, turned: bool = False) -> Iterator[Outline]:
    """Yield accounts in the order of their keys. If ``turned``, yield those with the same first part the other way."""
    key = itemgetter(0)
    runs = (keyed[begin : begin + _RUN] for begin in range(0, len(keyed), _RUN))
    merged: Iterator[tuple[Any, Outline]] = merge(
        *(sorted(run, key=key, reverse=descending) for run in runs), key=key, reverse=descending
    )
    if turned:
        groups = groupby(merged, key=lambda each: each[0][0])
        merged = chain.from_iterable(reversed(list(group)) for _, group in groups)
    return map(itemgetter(1), merged)


def _has_all(account: Outline, words: Sequence[str], now: float) -> bool:
    """Return whether each word is somewhere in the texts of the account."""
    view, failure = account.view, account.view.state.failure or Failure("", "")
    parts = (
        view.account.provider,
        view.account.name,
        *(f"{name}={value}" for name, value in view.account.labels.items()),
        plan_of(account.usage) or "",
        subscription_of(account.usage) or "",
        account.severity,
        failure.reason,
        failure.message,
        *(each.text for each in account.attention_at(now)),
    )
    text = "\n".join(parts).casefold()
    return all(word in text for word in words)
