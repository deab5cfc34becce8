"""The rules between accounts. No name stands twice, no key is used too often, and no key stands where it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.config.authorities import Authorities, authorities_for
from exporter.config.credentials import KeySource
from exporter.config.document import Location
from exporter.config.key_budget import KeyUses
from exporter.config.proxies import proxy_for
from exporter.config.report import Report
from exporter.config.rules import is_loopback
from exporter.config.shown_keys import shown_keys
from exporter.errors import CredentialError

_BILLING_CALLS = 1 / 60
"""Requests a minute for each thing collected beside the usage: it is requested once an hour."""

_SHOWN = "holds the key of an account. Take it out, because logs and pages show this text, and replace the key"


class AccountSet:
    """Takes the accounts one by one."""

    def __init__(
        self, environ: Mapping[str, str], report: Report, problem_of: Callable[[Authorities], str | None]
    ) -> None:
        self._environ = environ
        self._report = report
        self._problem_of = problem_of
        self._locations: dict[AccountId, Location] = {}
        self._keys = KeyUses()
        self._reached: set[tuple[str, Path | None]] = set()

    def claim_name(self, location: Location, account: AccountId) -> None:
        """Report an account that another one has the provider and the name of."""
        first = self._locations.setdefault(account, location)
        if first is not location:
            self._report.problem(location.at("name"), f"duplicate account, first at {first.place}; rename one")

    def read_key(self, location: Location, field: str, source: KeySource) -> None:
        """Report a key that cannot be read or sent, or that others can read. The account names it in ``field``."""
        key = self._keys.read(source)
        if isinstance(key, CredentialError):
            self._report.doubt(location.at(field), str(key))
        elif (readable := source.warning()) and self._report.is_first(source.where):
            self._report.warn(location.at(field), readable)

    def add(self, location: Location, account: Account, requests: int) -> None:
        """Add an account that is right by itself and sends so many requests in each poll."""
        url = account.base_url
        if url.startswith("http://") and not is_loopback(url) and self._report.is_first(url):
            self._report.warn(location.at("base_url"), "the key is sent unencrypted; use https")
        self._check_way(location, url, account.ca_file)
        if requests > account.max_requests_per_minute:
            self._report.problem(
                location, f"a poll sends {requests} requests, more than max_requests_per_minute allows"
            )
        rate = 60 / account.interval * requests + _BILLING_CALLS * (len(account.collect) - 1)
        self._keys.add(location, account, rate)

    def _check_way(self, location: Location, url: str, ca_file: Path | None) -> None:
        """Report what is wrong with the variables that decide how a URL is reached."""
        if (url, ca_file) in self._reached:
            return
        self._reached.add((url, ca_file))
        proxy = proxy_for(url, self._environ)
        for remark in proxy.remarks if proxy else ():
            if self._report.is_first(remark):
                self._report.warn(location, remark)
        problems = [proxy.problem] if proxy and proxy.problem else []
        authorities = authorities_for(None, self._environ)
        if authorities and ca_file is None and url.startswith("https:") and (problem := self._problem_of(authorities)):
            problems.append(f"{authorities.named_by}: {problem}")
        for problem in problems:
            if self._report.is_first(problem):
                self._report.doubt(location, problem)

    def finish(self, files: Sequence[Location]) -> None:
        """Report every key that needs more requests than it allows, or that stands where another text belongs."""
        for location, sentence in self._keys.excesses():
            self._report.problem(location, sentence)
        keys = self._keys.known()
        for file in files:
            for location in shown_keys(file, keys):
                self._report.problem(location, _SHOWN)
