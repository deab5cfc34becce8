"""The rows of a report: what was booked, added up by account, provider, operation, day, month or label. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from exporter.account_id import AccountId, full_name
from exporter.config.accounts import Account, Config
from exporter.errors import UsageError
from exporter.providers.base import Price
from exporter.report.booking import Booked, Step
from exporter.report.operations import NOT_SPLIT, split
from exporter.report.span import Span, day_of
from exporter.state.bookings import ZERO

WAYS = ("account", "provider", "operation", "day", "month")
NO_LABEL = "(none)"
"""The row of accounts that have no value for the label."""

Amounts = tuple[Decimal | None, Decimal | None, Decimal | None]
"""Spent, added and lapsed. None where a row has no share."""


class Kind(NamedTuple):
    """What can be added up: amounts in one unit that cost one currency. ``currency`` is empty without a price."""

    unit: str
    currency: str


@dataclass(slots=True)
class ReportRow:
    """A row. ``spent``, ``added``, ``lapsed`` and ``money`` are None where they are not known.

    ``by_day`` is what was spent on each day, in days since 1970, and in money if there is a price. ``coming`` and
    ``coming_money`` are what will be spent from the last reading until the span ends, None if it has ended or the row
    cannot tell.
    """

    name: str
    kind: Kind
    spent: Decimal | None = None
    added: Decimal | None = None
    lapsed: Decimal | None = None
    money: Decimal | None = None
    by_day: dict[int, Decimal] = field(default_factory=dict)
    coming: float | None = None
    coming_money: float | None = None

    def add(self, amounts: Amounts, money: Decimal | None) -> None:
        """Add what was booked."""
        spent, added, lapsed = amounts
        self.spent, self.added, self.lapsed = (
            _sum(self.spent, spent),
            _sum(self.added, added),
            _sum(self.lapsed, lapsed),
        )
        self.money = _sum(self.money, money)

    def expect(self, more: float, price: Price | None) -> None:
        """Add what will be spent until the span ends."""
        self.coming = (self.coming or 0.0) + more
        if price is not None:
            self.coming_money = (self.coming_money or 0.0) + more * price.amount

    @property
    def expected(self) -> float | None:
        """Return what will have been spent when the span ends."""
        return None if self.coming is None else self.coming + float(self.spent or 0)

    @property
    def expected_money(self) -> float | None:
        """Return what that will have cost."""
        return None if self.coming_money is None else self.coming_money + float(self.money or 0)


def _sum(before: Decimal | None, more: Decimal | None) -> Decimal | None:
    return before if more is None else more if before is None else before + more


class Grouping:
    """Which row an account's steps belong to, as ``--by`` says. Raises UsageError."""

    def __init__(self, by: str, config: Config) -> None:
        if by not in WAYS and not re.fullmatch("label:.+", by):
            raise UsageError(f"report: --by must be {', '.join(WAYS)} or label:NAME, such as label:team")
        self.by = by
        self.label = by.partition(":")[2]
        self._config = config
        self._accounts = {account.id: account for account in config.accounts}
        if self.label and self.label not in config.label_names:
            known = f"The labels are {', '.join(config.label_names)}" if config.label_names else "No account has labels"
            raise UsageError(f"report: there is no such label in {config.path}. {known}")

    @property
    def in_time(self) -> bool:
        """Tell whether rows are days or months."""
        return self.by in ("day", "month")

    @property
    def is_priced(self) -> bool:
        """Tell whether any account of the configuration has a price."""
        return any(account.price for account in self._accounts.values())

    def account(self, key: AccountId) -> Account | None:
        """Return an account of the configuration."""
        return self._accounts.get(key)

    def price(self, key: AccountId) -> Price | None:
        """Return the price of an account. One that was removed has its provider's."""
        account = self._accounts.get(key)
        if account is not None:
            return account.price
        provider = self._config.providers.get(key[0])
        return provider.price if provider is not None else None

    def kind(self, booked: Booked, step: Step | None = None) -> Kind:
        """Return what a step of an account is counted as, or its last reading."""
        price = self.price(booked.account)
        if step is not None or len(booked.series):
            unit = booked.series.unit[step.now if step is not None else -1]
        else:
            provider = self._config.providers.get(booked.account[0])
            unit = provider.unit if provider is not None else "credits"
        return Kind(unit, price.currency if price is not None else "")

    def name(self, booked: Booked, at: float) -> str:
        """Return the name of the row for what an account spent at a time."""
        if self.label:
            account = self._accounts.get(booked.account)
            return (account.labels.get(self.label) if account is not None else None) or NO_LABEL
        if self.in_time:
            return self.name_in_time(day_of(at))
        return booked.account[0] if self.by == "provider" else full_name(booked.account)

    def name_in_time(self, day: date) -> str:
        """Return the name of the row of a day or of its month."""
        return day.isoformat()[: 10 if self.by == "day" else 7]

    def shares(self, booked: Booked) -> Iterator[tuple[str, Step, Amounts]]:
        """Yield what each row gets of each step."""
        if self.by == "operation":
            for number, name, spent in split(booked):
                step = booked.steps[number]
                rest = (step.added, step.lapsed) if name == NOT_SPLIT else (None, None)
                yield name, step, (spent, *rest)
        else:
            for step in booked.steps:
                yield self.name(booked, booked.series.at[step.now]), step, (step.spent, step.added, step.lapsed)


class Table:
    """The rows of a report, and a total for each kind. ``now`` is the time in Unix seconds."""

    def __init__(self, grouping: Grouping, span: Span, now: float) -> None:
        self._grouping = grouping
        self._span = span
        self._now = now
        self._rows: dict[tuple[str, Kind], ReportRow] = {}
        self._totals: dict[Kind, ReportRow] = {}
        self._counts: Counter[Kind] = Counter()

    def add(self, booked: Booked) -> None:
        """Add what an account booked."""
        price = self._grouping.price(booked.account)
        cost = Decimal(repr(price.amount)) if price is not None else None
        for name, step, amounts in self._grouping.shares(booked):
            kind, spent = self._grouping.kind(booked, step), amounts[0]
            money = spent * cost if spent is not None and cost is not None else None
            for row in (self._row(name, kind), self._total(kind)):
                row.add(amounts, money)
                shown = spent if money is None else money
                if shown is not None:
                    row.by_day[booked.day(step)] = row.by_day.get(booked.day(step), ZERO) + shown
        if not booked.steps:
            if self._grouping.by == "account":
                self._row(self._grouping.name(booked, 0), self._grouping.kind(booked))
        else:
            self._counts[self._grouping.kind(booked)] += 1
            if self._span.end > self._now:
                self._expect(booked, price)

    def _expect(self, booked: Booked, price: Price | None) -> None:
        more = booked.pace() * max(0, self._span.end - booked.series.at[-1])
        kind = self._grouping.kind(booked)
        for row in (
            self._total(kind),
            *([self._row(self._grouping.name(booked, 0), kind)] if self._has_forecasts else ()),
        ):
            row.expect(more, price)

    @property
    def _has_forecasts(self) -> bool:
        return not self._grouping.in_time and self._grouping.by != "operation"

    def rows(self) -> list[ReportRow]:
        """Return the rows in time, or the largest first. Days and months of which nothing is known are there too."""
        if self._grouping.in_time:
            for kind in self._totals:
                for day in self._span.days(self._now):
                    self._row(self._grouping.name_in_time(day), kind)
            return sorted(self._rows.values(), key=lambda row: (self._rank(row.kind), row.name))
        shown = [row for row in self._rows.values() if row.name != NOT_SPLIT or row.spent or row.added or row.lapsed]
        return sorted(shown, key=self._place)

    def _place(self, row: ReportRow) -> tuple[object, ...]:
        amount = row.spent if row.money is None else row.money
        return amount is None, self._rank(row.kind), row.name in (NO_LABEL, NOT_SPLIT), -(amount or ZERO), row.name

    def totals(self) -> list[ReportRow]:
        """Return the totals, whose names are empty."""
        return [self._totals[kind] for kind in sorted(self._totals, key=self._rank)]

    def _rank(self, kind: Kind) -> tuple[bool, int, Kind]:
        """Return the order of kinds. What has a price and what most accounts have is first."""
        return not kind.currency, -self._counts[kind], kind

    def _row(self, name: str, kind: Kind) -> ReportRow:
        row = self._rows.get((name, kind))
        if row is None:
            row = self._rows[name, kind] = ReportRow(name, kind)
        return row

    def _total(self, kind: Kind) -> ReportRow:
        row = self._totals.get(kind)
        if row is None:
            row = self._totals[kind] = ReportRow("", kind)
        return row


def bills(totals: Sequence[ReportRow]) -> list[ReportRow]:
    """Return the money in each currency, whatever it was spent on."""
    found: dict[str, ReportRow] = {}
    for total in totals:
        if total.kind.currency:
            bill = found.setdefault(total.kind.currency, ReportRow("", Kind("", total.kind.currency)))
            bill.add((None, None, None), total.money)
            if total.coming_money is not None:
                bill.coming_money = (bill.coming_money or 0.0) + total.coming_money
    return list(found.values())


@dataclass(slots=True)
class Inflow:
    """What was added and lapsed on one day, and the accounts where. Days count from 1970."""

    day: int
    kind: Kind
    added: Decimal = ZERO
    lapsed: Decimal = ZERO
    accounts: list[AccountId] = field(default_factory=list)


class Inflows:
    """What was added and lapsed on each day."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._found: dict[tuple[int, Kind], Inflow] = {}

    def add(self, booked: Booked) -> None:
        """Add what an account booked."""
        for step in booked.steps:
            if step.added or step.lapsed:
                place = (booked.day(step), self._grouping.kind(booked, step))
                inflow = self._found.setdefault(place, Inflow(*place))
                inflow.added += step.added
                inflow.lapsed += step.lapsed
                inflow.accounts.append(booked.account)

    def in_order(self) -> list[Inflow]:
        """Return the days, oldest first."""
        return sorted(self._found.values(), key=lambda inflow: (inflow.day, inflow.kind))
