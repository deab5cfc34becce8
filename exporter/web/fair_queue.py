"""A bounded queue in which client addresses take turns, and the users of each address as well."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Holds at most ``size`` items. One client's many items delay each other, not the items of other clients.

    Seven of eight turns go to the client that waits for least, and to its newest item. A newcomer is then served soon,
    also among any number of clients that wait for an answer before they ask again. The eighth turn goes to the one
    that has waited longest for a turn, so that everybody is served in the end.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._length = 0
        self._turns = 0
        # Who is new or was just served stands at the end, so the first one has waited longest for a turn.
        self._networks: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def put(self, address: str, user: str, item: T) -> T | None:
        """Add an item. Return the item that has to leave because the queue is full, which can be this one."""
        users = self._networks.setdefault(network(address), OrderedDict())
        users.setdefault(user, deque()).append(item)
        self._length += 1
        if self._length <= self._size:
            return None
        # Among equals the newcomer leaves, because the others have waited.
        name = max(reversed(self._networks), key=self._waiting)
        user = max(reversed(self._networks[name]), key=lambda each: len(self._networks[name][each]))
        return self._remove(name, user, newest=True)

    def get(self) -> T | None:
        """Remove and return the item whose turn it is, or None."""
        if not self._networks:
            return None
        self._turns += 1
        if self._turns % 8 == 0:
            name = next(iter(self._networks))
            return self._remove(name, next(iter(self._networks[name])), newest=False)
        name = min(reversed(self._networks), key=self._waiting)
        user = min(reversed(self._networks[name]), key=lambda each: len(self._networks[name][each]))
        return self._remove(name, user, newest=True)

    def _waiting(self, name: str) -> int:
        return sum(map(len, self._networks[name].values()))

    def _remove(self, name: str, user: str, newest: bool) -> T:
        self._length -= 1
        users = self._networks.pop(name)
        items = users.pop(user)
        item = items.pop() if newest else items.popleft()
        if items:
            users[user] = items
        if users:
            self._networks[name] = users
        return item


def network(address: str) -> str:
    """Return what one client can be expected to own: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
