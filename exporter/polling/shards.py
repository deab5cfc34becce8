"""Tells which shard polls an account. The hash is consistent, so that a further shard moves few accounts."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from exporter.config.accounts import Account


def shard_of(account: Account, count: int) -> int:
    """Return the account's shard, from 0 to ``count`` - 1.

    Accounts whose key comes from the same place share a shard, so that one process keeps the key's limit.
    """
    where = "\0".join((account.provider, account.base_url, account.key.identity))
    digest = blake2b(where.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return _jump(int.from_bytes(digest, "big"), count)


def accounts_of_shard(accounts: Sequence[Account], index: int, count: int) -> tuple[Account, ...]:
    """Return the accounts that this shard polls, in their order."""
    return tuple(account for account in accounts if count == 1 or shard_of(account, count) == index)


def _jump(key: int, buckets: int) -> int:
    """Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        following = int((bucket + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return bucket
