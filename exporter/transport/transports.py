"""Makes a transport for each base URL and authority."""

from __future__ import annotations

import threading
from pathlib import Path

from exporter import __version__
from exporter.config.accounts import Account
from exporter.transport.client import Transport


class Transports:
    """The transports of a process, one for each base URL and authority, made when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._transports: dict[tuple[str, Path | None, Path | None], Transport] = {}

    def of(self, account: Account) -> Transport:
        """Return the transport to the account's vendor."""
        where = account.base_url, account.ca_file, account.common_ca_file
        with self._lock:
            if where not in self._transports:
                agent = f"video-api-exporter/{__version__}"
                self._transports[where] = Transport(account.base_url, agent, account.ca_file, account.common_ca_file)
            return self._transports[where]

    def abort(self) -> None:
        """Cut every call in flight."""
        with self._lock:
            for transport in self._transports.values():
                transport.abort()
