"""The queue of logins, in which client addresses take turns."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Lets the newest item, the oldest item and the addresses take turns, so that each is served in the end.

    Every second turn goes to the newest item that has waited for a whole turn. So a newcomer is often served in two
    turns, however many wait. Items that come and leave within a turn do not get in its way.

    Every fourth turn goes to the oldest item of all, and every fourth to the next address and its oldest item. So an
    item is served within 4 * W turns, and within 4 * A * I turns. W is the number of items that wait when it comes, I
    is the number of those at its own address, and A is the most addresses that wait at the same time.
    """

    def __init__(self) -> None:
        self._turns = 0
        # In the order in which the items came.
        self._networks: OrderedDict[T, str] = OrderedDict()
        self._came_in_this_turn: set[T] = set()
        # Ordered by the last turn of each network, or by its first item if it had none.
        self._items: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()

    def put(self, address: str, item: T) -> None:
        """Add an item of a client with this address."""
        name = network(address)
        self._networks[item] = name
        self._came_in_this_turn.add(item)
        self._items.setdefault(name, OrderedDict())[item] = None

    def get(self) -> T | None:
        """Remove and return the item whose turn it is, or None if nothing waits."""
        if not self._networks:
            return None
        self._turns += 1
        if self._turns % 4 == 2:
            item = next(iter(self._networks))
        elif self._turns % 4 == 0:
            name = next(iter(self._items))
            item = next(iter(self._items[name]))
            self._items.move_to_end(name)
        else:
            newest = next(reversed(self._networks))
            item = next((each for each in reversed(self._networks) if each not in self._came_in_this_turn), newest)
        self.remove(item)
        self._came_in_this_turn.clear()
        return item

    def remove(self, item: T) -> None:
        """Remove an item. One that is not there is ignored."""
        name = self._networks.pop(item, None)
        if name is not None:
            self._came_in_this_turn.discard(item)
            del self._items[name][item]
            if not self._items[name]:
                del self._items[name]


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
