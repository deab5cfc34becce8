"""Filters and sorts accounts by the query parameters of the page and of ``/api/v1/accounts``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any
from urllib.parse import urlencode

from exporter.status.summary import SEVERITIES

Row = dict[str, Any]
"""One account, as ``summary`` returns it."""


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort. ``key`` returns None for an unknown value, which comes last in both directions."""

    words: str
    reverse_words: str
    key: Callable[[Row], Any]
    descending: bool = False


def _credits(row: Row) -> float | None:
    return _number(row["credits"]["balance"])


def _runway(row: Row) -> float | None:
    runway = row["credits"]["runway_seconds"]
    return inf if runway is None and row["credits"]["balance"] == "unlimited" else runway


def _number(value: float | str | None) -> float | None:
    return inf if isinstance(value, str) else value


def _ratio(name: str) -> Callable[[Row], float | None]:
    return lambda row: row[name]["ratio"] if row[name] is not None else None


def _attention(row: Row) -> tuple[Any, ...]:
    runway = _runway(row)
    return SEVERITIES.index(row["severity"]), inf if runway is None else runway, *_name(row)


def _name(row: Row) -> tuple[str, ...]:
    return row["account"].casefold(), row["account"], row["provider"]


SORTS: Mapping[str, Order] = {
    "attention": Order("needs attention first", "needs attention last", _attention),
    "account": Order("account, A to Z", "account, Z to A", _name),
    "provider": Order("provider, A to Z", "provider, Z to A", lambda row: row["provider"]),
    "plan": Order("plan, A to Z", "plan, Z to A", lambda row: row["plan"]),
    "balance": Order("lowest balance", "highest balance", _credits),
    "runway": Order("shortest runway", "longest runway", _runway),
    "storage": Order("fullest storage", "emptiest storage", _ratio("storage"), descending=True),
    "channels": Order("most channels used", "fewest channels used", _ratio("channels"), descending=True),
    "last": Order("oldest poll", "newest poll", lambda row: row["last_poll"]),
    "next": Order("next poll soonest", "next poll latest", lambda row: row["next_poll"]),
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

    def found(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that match the search words and the provider, with any severity."""
        words = self.q.casefold().split()
        if self.provider:
            rows = [row for row in rows if row["provider"] == self.provider]
        return [row for row in rows if _has_all(row, words)] if words else list(rows)

    def chosen(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that have the chosen severity, in order."""
        if self.severity:
            rows = [row for row in rows if row["severity"] == self.severity]
        order = SORTS[self.column]
        keyed = [(order.key(row), row) for row in sorted(rows, key=_attention)]
        known = [pair for pair in keyed if pair[0] is not None]
        known.sort(key=lambda pair: pair[0], reverse=self.descending)
        return [row for _, row in known] + [row for key, row in keyed if key is None]


def _has_all(row: Row, words: Sequence[str]) -> bool:
    """Return whether each word is somewhere in the texts of the row."""
    failure = row["failure"] or {"reason": "", "message": ""}
    parts = (
        row["provider"],
        row["account"],
        *(f"{name}={value}" for name, value in row["labels"].items()),
        row["plan"] or "",
        row["subscription"] or "",
        row["severity"],
        failure["reason"],
        failure["message"],
        *(item["text"] for item in row["attention"]),
    )
    text = "\n".join(parts).casefold()
    return all(word in text for word in words)
