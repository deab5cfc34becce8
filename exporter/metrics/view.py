"""What may be exported of an account now."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.config.load import Account
from exporter.readings import AccountKey, AccountState, AutoRecharge, Invoices, Usage


def account_key(account: Account) -> AccountKey:
    """Return what an account is known by."""
    return account.provider, account.name


@dataclass(frozen=True, slots=True)
class View:
    """What may be exported of an account now; a part that is stale or was never read is None."""

    account: Account
    state: AccountState
    usage: Usage | None
    invoices: Invoices | None
    auto_recharge: AutoRecharge | None
