"""Checks that the accounts of each key together do not need more requests a minute than it may make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from exporter.config.accounts import Account
from exporter.config.credentials import KeySource
from exporter.config.document import Location
from exporter.errors import CredentialError

_NAMED = 3


@dataclass(slots=True)
class _Use:
    rate: float = 0.0
    limit: int | None = None
    location: Location | None = None
    places: list[Location] = field(default_factory=list)


class KeyUses:
    """Reads every key once, and adds up the requests of the accounts that share it.

    Two accounts share a key if provider, base URL and key are the same, even if it comes from two places. A key
    that cannot be read now is identified by its place.
    """

    def __init__(self) -> None:
        self._keys: dict[KeySource, str | CredentialError] = {}
        self._uses: dict[tuple[str, str, str], _Use] = {}

    def read(self, source: KeySource) -> str | CredentialError:
        """Return the key, or the error if it cannot be read or sent."""
        key = self._keys.get(source)
        if key is None:
            try:
                key = source.read()
            except CredentialError as error:
                key = error
            self._keys[source] = key
        return key

    def known(self) -> list[str]:
        """Return every key that could be read."""
        return [key for key in self._keys.values() if isinstance(key, str)]

    def add(self, location: Location, account: Account, rate: float) -> None:
        """Add an account that makes ``rate`` requests a minute."""
        source, limit = account.key, account.max_requests_per_minute
        key = self.read(source)
        identity = f"key:{key}" if isinstance(key, str) else source.identity
        use = self._uses.setdefault((account.provider, account.base_url, identity), _Use())
        use.rate += rate
        use.places.append(location)
        if use.limit is None or limit < use.limit:
            use.limit, use.location = limit, location

    def excesses(self) -> Iterator[tuple[Location, str]]:
        """Yield a message for each key whose accounts need more requests than it may make."""
        for use in self._uses.values():
            if use.limit is None or use.location is None or use.rate <= use.limit + 1e-9:
                continue
            places = ", ".join(location.place for location in use.places[:_NAMED])
            if len(use.places) > _NAMED:
                places += f" and {len(use.places) - _NAMED} more"
            yield (
                use.location,
                f"the accounts with this key ({places}) make {use.rate:.4g} requests a minute in sum, but "
                f"max_requests_per_minute allows {use.limit}. Use longer intervals or more keys",
            )
