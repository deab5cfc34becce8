"""What is remembered of a key that the vendor refused (401, 403): a salted hash, and how long it rests."""

from __future__ import annotations

import hashlib
import hmac
import secrets

LONGEST_REST = 3600.0
"""The longest time in seconds between two polls with a key that the vendor refuses."""


def rest_seconds(interval: float, refusals: int) -> float:
    """Return how long a key rests after so many refusals in a row: twice as long each time, up to an hour."""
    return max(interval, min(LONGEST_REST, interval * 2.0 ** min(refusals, 20)))


def hashed(key: str, salt: str | None = None) -> str:
    """Return a salted hash, to tell after a restart whether the key is still the one that was refused."""
    salt = salt or secrets.token_hex(16)
    return salt + ":" + hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()


def is_key_of(key: str, key_hash: str) -> bool:
    """Tell whether a hash was made of this key."""
    return hmac.compare_digest(hashed(key, key_hash.partition(":")[0] or None), key_hash)
