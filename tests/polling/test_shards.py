"""Which shard polls an account."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest

from exporter.config.credentials import KeySource
from exporter.polling.shards import accounts_of_shard, shard_of
from tests.conftest import MakeAccount


def test_each_account_is_on_exactly_one_shard(make_account: MakeAccount) -> None:
    accounts = [make_account(name=str(n)) for n in range(500)]
    shards = [accounts_of_shard(accounts, index, 7) for index in range(7)]
    assert sorted(account.name for shard in shards for account in shard) == sorted(a.name for a in accounts)


def test_one_shard_has_them_all(make_account: MakeAccount) -> None:
    accounts = (make_account(name="a"), make_account(name="b"))
    assert accounts_of_shard(accounts, 0, 1) == accounts


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_one_more_shard_moves_about_its_share_and_only_to_itself(make_account: MakeAccount, count: int) -> None:
    accounts = [make_account(name=str(n)) for n in range(3000)]
    moved = [a for a in accounts if shard_of(a, count) != shard_of(a, count + 1)]
    assert all(shard_of(a, count + 1) == count for a in moved)
    assert len(moved) / len(accounts) == pytest.approx(1 / (count + 1), rel=0.2)


def test_shards_are_about_equally_large(make_account: MakeAccount) -> None:
    sizes = Counter(shard_of(make_account(name=str(n)), 4) for n in range(4000))
    assert all(size == pytest.approx(1000, rel=0.15) for size in sizes.values())


def test_accounts_that_share_a_key_share_a_shard(make_account: MakeAccount) -> None:
    key = secrets.token_hex(8)
    accounts = [make_account(name=str(n), key=key) for n in range(20)]
    assert len({shard_of(account, 8) for account in accounts}) == 1
    by_file = [make_account(name=str(n))._replace(key=KeySource("file", "/run/secrets/key")) for n in range(3)]
    assert len({shard_of(account, 64) for account in by_file}) == 1
