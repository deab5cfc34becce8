"""The rules of one account: its provider, key, times, thresholds and authorities, with what it inherits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.config import checking, schema, thresholds
from exporter.config.accounts import Account
from exporter.config.authorities import Authorities
from exporter.config.credentials import KEY_FIELDS, KeySource
from exporter.config.document import Location, Map
from exporter.config.durations import format_duration
from exporter.config.providers import KnownProviders
from exporter.config.report import Report
from exporter.config.thresholds import Threshold, Thresholds
from exporter.providers.base import Provider

_LEVELS = ("credits", "storage", "channels", "quotas")


@dataclass(frozen=True, slots=True)
class Entry:
    """An account as it is written, and what the schema says of it."""

    location: Location
    raw: Map
    checked: checking.Checked[schema.AccountBlock]


@dataclass(frozen=True, slots=True)
class Head:
    """Everything but the accounts: what they inherit, and where it is written."""

    location: Location
    checked: checking.Checked[schema.HeadBlock]

    @property
    def poll(self) -> schema.Poll:
        """Return the defaults of every account."""
        return self.checked.model.poll or schema.Poll()


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds between two polls, for a whole poll, and until values are withdrawn."""

    interval: float
    timeout: float
    stale_after: float


class AccountRules:
    """Checks accounts against the head and against the providers; without an entry, the head alone."""

    def __init__(self, head: Head, known: KnownProviders, environ: Mapping[str, str], report: Report) -> None:
        self._head = head
        self._known = known
        self._environ = environ
        self._report = report
        self._levels_of: dict[
            tuple[schema.ThresholdsBlock | None, tuple[str, ...]], tuple[Thresholds, dict[str, str]]
        ] = {}
        self._problems: dict[Authorities, str | None] = {}

    def provider(self, entry: Entry) -> Provider | None:
        """Return the provider, after a check that it exists and collects what the account wants."""
        model, location = entry.checked.model, entry.location
        if entry.checked.hits("provider"):
            return None
        spec = self._known.get(model.provider)
        if spec is None:
            if not self._known.is_broken(model.provider):
                self._report.problem(location.at("provider"), self._known.unknown(model.provider))
            return None
        if model.provider in self._known.unusable:
            self._report.doubt(location.at("provider"), self._known.unusable[model.provider])
            return spec
        for index, name in enumerate(model.collect or ()):
            if name not in spec.collect:
                known = checking.unknown("thing to collect", name, spec.collect)
                self._report.problem(location.at("collect", index), known)
        if model.collect is not None and "usage" not in model.collect:
            self._report.problem(location.at("collect"), "must hold usage: all else rests on it")
        if model.credit_rates and not spec.credit_rates:
            self._report.problem(location.at("credit_rates"), "the provider counts in credits itself; leave this out")
        return spec

    def variables(self, entry: Entry, spec: Provider | None) -> Mapping[str, str]:
        """Return what the account gives for the provider's variables, after a check that it gives them all."""
        given = entry.checked.model.variables or {}
        if spec is None or entry.checked.hits("variables") or entry.checked.model.provider in self._known.unusable:
            return given
        location = entry.location.at("variables")
        known = f"its variables are {', '.join(spec.variables)}" if spec.variables else "it has none"
        if self._known.is_own(entry.checked.model.provider):
            known = "its variables are those that it lists"
        for name in spec.variables:
            if name not in given:
                self._report.problem(location, f"lacks a variable that the provider needs; {known}")
            elif given[name].strip(".") == "":
                self._report.problem(location.at(name), "must not be dots alone, which lead to another path")
        for name in given:
            if name not in spec.variables:
                self._report.problem(location.at(name), f"the provider has no such variable; {known}")
        return given

    def per_minute(self, entry: Entry, spec: Provider) -> int:
        """Return the limit of the account's key: its own, the provider's, or the default."""
        own = entry.checked.model.max_requests_per_minute
        return own if "max_requests_per_minute" in entry.raw else spec.max_requests_per_minute or own

    def requests_of(self, account: Account) -> int:
        """Return how many requests a poll of the account's usage sends."""
        spec = self._known.get(account.provider)
        return 1 if spec is None else spec.requests

    def key(self, entry: Entry) -> KeySource | None:
        """Return where the key comes from."""
        model, location = entry.checked.model, entry.location
        if any(entry.checked.hits(name) for name in KEY_FIELDS):
            return None
        given = [name for name in entry.raw if name in KEY_FIELDS]
        if not given:
            self._report.problem(location, f"no key: give one of {', '.join(KEY_FIELDS)}")
            return None
        if len(given) > 1:
            both = " and ".join(given)
            self._report.problem(location.at(given[-1]), f"the key is given in more than one way: {both}; keep one")
            return None
        return key_source(location, given[0], getattr(model, given[0]), self._environ)

    def levels(self, entry: Entry | None, quotas: tuple[str, ...] = ()) -> Thresholds:
        """Return the thresholds, merged over what they inherit, for these quotas of the provider.

        Accounts with equal ones share one object.
        """
        own = entry.checked.model.thresholds if entry else None
        known = self._levels_of.get((own, quotas))
        if known is None:
            merged = _merge(self._head.checked.model.thresholds, own)
            pairs = ((name, getattr(merged, name)) for name in _LEVELS)
            sentences = {name: thresholds.contradiction(pair, falling=name == "credits") for name, pair in pairs}
            contradictions = {name: text for name, text in sentences.items() if text}
            known = self._levels_of[own, quotas] = merged.of(quotas), contradictions
        levels, contradictions = known
        for name, sentence in contradictions.items():
            if self._head.checked.hits("thresholds", name) or (entry and entry.checked.hits("thresholds", name)):
                continue
            written = entry.raw.get("thresholds") if entry else None
            there = entry.location if entry and isinstance(written, Map) and name in written else self._head.location
            self._report.problem(there.at("thresholds", name), sentence)
        return levels

    def times(self, entry: Entry | None, spec: Provider | None = None) -> Times:
        """Return interval, timeout and staleness, after comparing them."""
        own, poll = None if entry is None else entry.checked.model, self._head.poll
        interval = (own and own.interval) or (spec and spec.interval) or poll.interval
        timeout = (own and own.timeout) or poll.timeout
        stale_after = (own and own.stale_after) or poll.stale_after or 3 * interval
        if timeout > interval and self._are_as_written(entry, "timeout", "interval"):
            self._report.problem(
                self._written(entry, "timeout", "interval"),
                f"the timeout, {format_duration(timeout)}, is longer than the interval, "
                f"{format_duration(interval)}; a poll must end before the next one is due",
            )
        if stale_after < interval and self._are_as_written(entry, "stale_after", "interval"):
            self._report.warn(
                self._written(entry, "stale_after", "interval"),
                f"stale_after, {format_duration(stale_after)}, is shorter than the interval, "
                f"{format_duration(interval)}; values are withdrawn between two polls",
            )
        return Times(interval, timeout, stale_after)

    def _are_as_written(self, entry: Entry | None, *names: str) -> bool:
        """Tell whether these times are what the user wrote, and none stands for one that was refused."""
        for name in names:
            if entry is not None and entry.checked.hits(name):
                return False
            if (entry is None or name not in entry.raw) and self._head.checked.hits("poll", name):
                return False
        return True

    def _written(self, entry: Entry | None, *names: str) -> Location:
        """Return where the first of these times is written: with the account, else under ``poll``."""
        for name in names:
            if entry is not None and name in entry.raw:
                return entry.location.at(name)
        return self._head.location.at("poll", names[0])

    def ca_file(self, entry: Entry | None) -> Path | None:
        """Return the file of authorities of an account alone, or without an entry of all, after a look into it."""
        if entry is None:
            location, written = self._head.location.at("poll", "ca_file"), self._head.poll.ca_file
        else:
            location, written = entry.location.at("ca_file"), entry.checked.model.ca_file
        if written is None:
            return None
        path = beside(location, written)
        problem = self.problem_of(Authorities("ca_file", (path,)))
        if problem and not os.path.exists(path):
            problem += "; a path is relative to the file it stands in"
        if problem:
            self._report.problem(location, problem)
        return Path(path)

    def problem_of(self, authorities: Authorities) -> str | None:
        """Return why these cannot serve as authorities. Thousands of accounts may name the same ones."""
        if authorities not in self._problems:
            self._problems[authorities] = authorities.problem()
        return self._problems[authorities]


def key_source(location: Location, field: str, value: str, environ: Mapping[str, str]) -> KeySource:
    """Return where a key comes from that an account names in ``field``."""
    if field == "api_key_file":
        return KeySource("file", beside(location, value))
    if field == "api_key_env":
        return KeySource("env", value, environ=environ)
    return KeySource("literal", secret=value)


def beside(location: Location, path: str) -> str:
    """Return a path, which is relative to the file it is written in, as an absolute one."""
    return os.path.abspath(os.path.join(os.path.dirname(location.document.file), path))


def _merge(*blocks: schema.ThresholdsBlock | None) -> Thresholds:
    """Return the default thresholds with all levels that the blocks name in location, later blocks last."""
    pairs: dict[str, Threshold] = {}
    for name in _LEVELS:
        pair: Threshold = getattr(thresholds.DEFAULTS, name)
        for block in blocks:
            written = getattr(block, name, None)
            if written is not None:
                pair = Threshold(
                    warning=pair.warning if written.warning is None else written.warning,
                    critical=pair.critical if written.critical is None else written.critical,
                )
        pairs[name] = pair
    return Thresholds(**pairs)
