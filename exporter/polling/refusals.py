"""Remembers a key that the vendor refused (401, 403) as a salted hash, and says how long it is not used."""

from __future__ import annotations

import hashlib
import hmac
import secrets

LONGEST_BACKOFF_SECONDS = 3600.0
"""The longest time between two polls with a key that the vendor refuses."""


def backoff_seconds(interval: float, refusals: int) -> float:
    """Return how long a key is not used after so many refusals in a row. The time doubles each time, up to an hour."""
    return max(interval, min(LONGEST_BACKOFF_SECONDS, interval * 2.0 ** min(refusals, 20)))


def hashed(key: str, salt: str | None = None) -> str:
    """Return a salted hash. After a restart it tells whether the key is still the refused one."""
    salt = salt or secrets.token_hex(16)
    return salt + ":" + hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()


def is_key_of(key: str, key_hash: str) -> bool:
    """Tell whether a hash was made of this key."""
    return hmac.compare_digest(hashed(key, key_hash.partition(":")[0] or None), key_hash)
