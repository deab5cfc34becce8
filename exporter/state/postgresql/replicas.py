"""The replicas that live, and the leases by which each key is polled by one of them at a time."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psycopg

from exporter import __version__
from exporter.account_id import AccountId
from exporter.readings import AccountState
from exporter.runtime.clock import Clock
from exporter.state.base import Group, KeyTarget, Peer
from exporter.state.postgresql.accounts import PostgresAccounts
from exporter.state.postgresql.keys import PostgresKeys
from exporter.state.postgresql.link import Link

LIVE_SECONDS = 10.0
"""Seconds after its last heartbeat at which a replica counts as dead."""
_SURE_SECONDS = LIVE_SECONDS - 3.0
"""Seconds after its last heartbeat for which no other replica can have its leases. Requests are still on their way."""
_SEEN = "UPDATE replicas SET seen_at = clock_timestamp() WHERE id = %s AND changes = %s"
_ENTER = (
    "INSERT INTO replicas(id, host, release, shard, shards, config, changes, groups)"
    " VALUES (%(id)s, %(host)s, %(release)s, %(shard)s, %(shards)s, %(config)s, %(changes)s, %(groups)s)"
    " ON CONFLICT (id) DO UPDATE SET config = excluded.config, changes = excluded.changes, groups = excluded.groups,"
    " seen_at = excluded.seen_at"
)
_LIVING = (
    "SELECT id, changes FROM replicas WHERE shard = %s AND shards = %s"
    " AND seen_at > clock_timestamp() - %s * interval '1 second' ORDER BY id"
)
_PEERS = "SELECT id, changes, config, groups FROM replicas WHERE id = ANY(%s)"
# In one order, so that two replicas never wait for each other.
_RELEASE = "DELETE FROM leases WHERE lease = ANY(ARRAY(SELECT lease FROM leases WHERE %s ORDER BY lease FOR UPDATE))"
_BURY = (
    "DELETE FROM replicas WHERE seen_at < clock_timestamp() - interval '1 day'",
    _RELEASE % "NOT EXISTS (SELECT FROM replicas WHERE id = holder)",
)
_TAKE = (
    "INSERT INTO leases(lease, holder) SELECT unnest(%(leases)s::bytea[]), %(id)s"
    " ON CONFLICT (lease) DO UPDATE SET holder = excluded.holder WHERE leases.holder = excluded.holder"
    " OR (%(inherit)s AND NOT EXISTS (SELECT FROM replicas"
    "  WHERE id = leases.holder AND seen_at > clock_timestamp() - %(live)s * interval '1 second'))"
    " RETURNING lease"
)
_LAST_REQUESTS = (
    "SELECT key, extract(epoch FROM clock_timestamp() - used_at)::float8"
    " FROM keys JOIN replicas ON id = writers[cardinality(writers)] WHERE key = ANY(%s::bytea[]) AND id <> %s"
)
_KEEP_ONLY = _RELEASE % "holder = %s AND lease <> ALL(%s::bytea[])"
# The row stays, so that a poll that the stop cut is known to the others by its request, as that of one that died.
_LEAVE = "UPDATE replicas SET seen_at = clock_timestamp() - %s * interval '1 second' WHERE id = %s"


class PostgresReplicas:
    """The rows of replicas and the leases of keys, by the clock of the database. For one thread."""

    def __init__(self, link: Link, clock: Clock, keys: PostgresKeys, accounts: PostgresAccounts) -> None:
        self.id = keys.writer
        self._link = link
        self._clock = clock
        self._keys = keys
        self._accounts = accounts
        self._changes = 0
        self._told: object = None
        self._peers: dict[tuple[int, int], Peer] = {}
        self._beat_at: float | None = None
        self._suspended_until = float("-inf")
        self._sure_until = float("-inf")

    @property
    def connections(self) -> int:
        """Return how often the database was connected."""
        return self._link.connections

    @property
    def salt(self) -> bytes:
        """Return what is mixed into digests."""
        return self._link.salt

    def share(self) -> int:
        """Return by how many each key's limit is divided while the database is away, or 0 if nothing may be sent.

        A process that was suspended may have lost its leases. It sends nothing until the database says so, or was
        away for as long as a replica may be silent. One whose heartbeats are late although it is connected
        sends nothing either. Right after a heartbeat no other can have the leases, so the whole limit may be
        used.
        """
        now = self._clock.monotonic()
        if self._beat_at is not None and (now - self._beat_at > LIVE_SECONDS or now < self._suspended_until):
            return 0
        if now < self._sure_until:
            return 1
        return 0 if self._link.is_up else max(1, len(self._peers))

    def digest(self, group: Group) -> int:
        """Return a number for a group, from which its key cannot be guessed."""
        target = group if isinstance(group, KeyTarget) else KeyTarget("", "", json.dumps(group))
        return int.from_bytes(self._keys.digest(target)[:8], "big", signed=True)

    def beat(self, shard: tuple[int, int], config: str, groups: Mapping[int, int]) -> tuple[Peer, ...]:
        """Tell that this replica lives, and return all that live in its shard. What is unchanged is the same object."""
        now = self._clock.monotonic()
        if self._beat_at is not None and now - self._beat_at > LIVE_SECONDS:
            self._suspended_until = now + LIVE_SECONDS
        self._beat_at, self._keys.shard = now, shard
        peers = self._link.run(lambda db: self._beat(db, shard, config, groups), "look")
        self._sure_until = now + _SURE_SECONDS
        return peers

    def take(self, groups: Iterable[Group], *, inherit: bool) -> dict[Group, float | None]:
        """Take the leases that are free, with ``inherit`` also those of the dead. Return the groups that are ours.

        Each has the monotonic second of the key's last request, if another replica sent it.
        """
        by_lease = {self._keys.lease(group): group for group in groups if isinstance(group, KeyTarget)}
        if not by_lease:
            return {}
        values = {"leases": sorted(by_lease), "id": self.id, "inherit": inherit, "live": LIVE_SECONDS}

        def work(db: psycopg.Connection[Any]) -> dict[Group, float | None]:
            taken = [by_lease[bytes(lease)] for (lease,) in db.execute(_TAKE, values).fetchall()]
            by_key = {self._keys.digest(target): target for target in taken}
            rows = db.execute(_LAST_REQUESTS, (list(by_key), self.id)).fetchall()
            now = self._clock.monotonic()
            return {**dict.fromkeys(taken), **{by_key[bytes(key)]: now - age for key, age in rows}}

        return self._link.run(work)

    def keep_only(self, groups: Iterable[Group]) -> None:
        """Release all leases but those of ``groups``."""
        leases = [self._keys.lease(group) for group in groups if isinstance(group, KeyTarget)]

        def work(db: psycopg.Connection[Any]) -> None:
            if db.execute(_KEEP_ONLY, (self.id, leases)).rowcount:
                self._link.tell_news(db)

        self._accounts.write_unsaved()  # first, because who takes a lease polls by what is there
        self._link.run(work)

    def changes(self) -> dict[AccountId, AccountState]:
        """Return the states that others saved since the last call."""
        return self._accounts.changes()

    def call_on_news(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` soon after another replica saved a state or released a lease."""
        self._link.call_on_news(wake)

    def leave(self) -> None:
        """Release all leases, and let the others know at once that this replica ends."""

        def work(db: psycopg.Connection[Any]) -> None:
            db.execute(_KEEP_ONLY, (self.id, []))
            db.execute(_LEAVE, (LIVE_SECONDS, self.id))
            self._link.tell_news(db)

        self._accounts.write_unsaved()
        self._link.run(work)

    def _beat(
        self, db: psycopg.Connection[Any], shard: tuple[int, int], config: str, groups: Mapping[int, int]
    ) -> tuple[Peer, ...]:
        self._link.learn_time(db)
        told = config, groups
        if told != self._told or not db.execute(_SEEN, (self.id, self._changes)).rowcount:
            self._changes += 1
            db.execute(
                _ENTER,
                {
                    "id": self.id,
                    "host": platform.node(),
                    "release": __version__,
                    "shard": shard[0],
                    "shards": shard[1],
                    "config": config,
                    "changes": self._changes,
                    "groups": sorted(Counter(groups).elements()),
                },
            )
            for statement in _BURY:
                db.execute(statement)
            self._link.tell_news(db)
        living: list[tuple[int, int]] = db.execute(_LIVING, (*shard, LIVE_SECONDS)).fetchall()
        peers = {known: self._peers[known] for known in living if known in self._peers}
        if unknown := [id_ for id_, changes in living if (id_, changes) not in peers]:
            for id_, changes, their_config, their_groups in db.execute(_PEERS, (unknown,)).fetchall():
                theirs = Counter(their_groups)
                # Replicas know the same groups. One mapping of them spares memory where many replicas have many groups.
                same = next((peer.groups for peer in peers.values() if peer.groups == theirs), theirs)
                peers[id_, changes] = Peer(id_, their_config, same)
        self._peers, self._told = peers, told
        return tuple(peers.values())
