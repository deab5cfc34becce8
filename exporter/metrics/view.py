"""The data of an account that may be exported now."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.config.accounts import Account
from exporter.readings import AccountState, AutoRecharge, Invoices, Usage


@dataclass(frozen=True, slots=True)
class View:
    """The data of an account that may be exported now. A part that is stale or was never read is None."""

    account: Account
    state: AccountState
    usage: Usage | None
    invoices: Invoices | None
    auto_recharge: AutoRecharge | None
