"""What a configuration comes to: the accounts with all defaults filled in, ready to be polled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from exporter.account_id import AccountId
from exporter.config.credentials import KeySource
from exporter.config.thresholds import Thresholds
from exporter.errors import Problem
from exporter.providers.base import Price, Provider
from exporter.readings import Kept
from exporter.state.source import StateSource


class Account(NamedTuple):
    """One account with all defaults filled in; times in seconds.

    A tuple, because a frozen dataclass takes five times as long to make and to compare, and there are thousands.
    """

    provider: str
    name: str
    key: KeySource
    base_url: str
    ca_file: Path | None
    common_ca_file: Path | None
    max_requests_per_minute: int
    collect: tuple[str, ...]
    credit_rates: Mapping[str, float]
    max_operations: int
    interval: float
    timeout: float
    stale_after: float
    thresholds: Thresholds
    labels: Mapping[str, str]
    variables: Mapping[str, str] = MappingProxyType({})
    price: Price | None = None

    @property
    def id(self) -> AccountId:
        """Return the provider and the name, which identify the account."""
        return self.provider, self.name


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. ``warnings`` are what should be changed but stops nothing."""

    path: Path
    concurrency: int
    state: StateSource | None
    accounts: tuple[Account, ...]
    providers: Mapping[str, Provider]
    label_names: tuple[str, ...]
    warnings: tuple[Problem, ...]
    history: Kept = field(default_factory=Kept)
    own_providers: str = ""
    """What the configuration says of providers, as a text that is compared alone."""

    @property
    def digest(self) -> str:
        """Return a text that is equal where all rules of all accounts are. It tells nothing of them."""
        # The representation of an account leaves out where its key is.
        rules = repr((self.accounts, self.label_names, self.concurrency, self.history, self.own_providers))
        return blake2b(rules.encode(errors="replace"), digest_size=16).hexdigest()
