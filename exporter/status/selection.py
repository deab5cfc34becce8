"""Filters and sorts accounts by the query parameters of the page and of ``/api/v1/accounts``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from urllib.parse import urlencode

from exporter.readings import Failure
from exporter.status.summary import SEVERITIES, Fill, Summary

Key = float | str | tuple[float | str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort. ``key`` returns None for an unknown value, which comes last in both directions."""

    words: str
    reverse_words: str
    key: Callable[[Summary], Key | None]
    descending: bool = False


def _ratio(fill: Fill | None) -> float | None:
    return fill.ratio if fill is not None else None


def _attention(account: Summary) -> tuple[float | str, ...]:
    runway = account.credits.runway_seconds
    return SEVERITIES.index(account.severity), inf if runway is None else runway, *_name(account)


def _name(account: Summary) -> tuple[str, ...]:
    return account.name.casefold(), account.name, account.provider


SORTS: Mapping[str, Order] = {
    "attention": Order("needs attention first", "needs attention last", _attention),
    "account": Order("account, A to Z", "account, Z to A", _name),
    "provider": Order("provider, A to Z", "provider, Z to A", lambda account: account.provider),
    "plan": Order("plan, A to Z", "plan, Z to A", lambda account: account.plan),
    "balance": Order("lowest balance", "highest balance", lambda account: account.credits.balance),
    "runway": Order("shortest runway", "longest runway", lambda account: account.credits.runway_seconds),
    "storage": Order("fullest storage", "emptiest storage", lambda account: _ratio(account.storage), descending=True),
    "channels": Order(
        "most channels used", "fewest channels used", lambda account: _ratio(account.channels), descending=True
    ),
    "last": Order("oldest poll", "newest poll", lambda account: account.last_poll),
    "next": Order("next poll soonest", "next poll latest", lambda account: account.next_poll),
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

    def found(self, accounts: Sequence[Summary]) -> list[Summary]:
        """Return the accounts that match the search words and the provider, with any severity."""
        words = self.q.casefold().split()
        if self.provider:
            accounts = [account for account in accounts if account.provider == self.provider]
        return [account for account in accounts if _has_all(account, words)] if words else list(accounts)

    def chosen(self, accounts: Sequence[Summary]) -> list[Summary]:
        """Return the accounts that have the chosen severity, in order."""
        if self.severity:
            accounts = [account for account in accounts if account.severity == self.severity]
        key = SORTS[self.column].key
        keyed = [(key(account), account) for account in sorted(accounts, key=_attention)]
        known = [(value, account) for value, account in keyed if value is not None]
        known.sort(key=lambda pair: pair[0], reverse=self.descending)
        return [account for _, account in known] + [account for value, account in keyed if value is None]


def _has_all(account: Summary, words: Sequence[str]) -> bool:
    """Return whether each word is somewhere in the texts of the account."""
    failure = account.failure or Failure("", "")
    parts = (
        account.provider,
        account.name,
        *(f"{name}={value}" for name, value in account.labels.items()),
        account.plan or "",
        account.subscription or "",
        account.severity,
        failure.reason,
        failure.message,
        *(each.text for each in account.attention),
    )
    text = "\n".join(parts).casefold()
    return all(word in text for word in words)
