"""Limits the number of operations, so that no response can flood Prometheus with series."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isinf
from typing import NamedTuple, TypeVar

from exporter.readings import NamedQuota, Quota, ServiceUse

Key = TypeVar("Key", bound=Hashable)

OTHER = "(other)"
"""The label value under which folded operations are summed."""


def largest(values: Mapping[Key, float], most: int) -> frozenset[Key]:
    """Return the keys of the ``most`` largest values. Keys decide between equal values, so the result is stable."""
    ranked = sorted(values, key=lambda key: (-values[key], key))
    return frozenset(ranked[:most])


def summed(pairs: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Return the sum of the values of each key, in the order of their first appearance."""
    sums: dict[Key, float] = {}
    for key, value in pairs:
        sums[key] = sums[key] + value if key in sums else value
    return sums


class ServiceRow(NamedTuple):
    """An operation and its use, as a response has it."""

    name: str
    unit: str
    used: float


def readable(rows: Iterable[tuple[str, str, float | None]]) -> list[ServiceRow]:
    """Return the rows of each name and unit of which every use is known. The sum is unknown if a part of it is."""
    rows = list(rows)
    unknown = {(name, unit) for name, unit, used in rows if used is None}
    return [
        ServiceRow(name, unit, used) for name, unit, used in rows if used is not None and (name, unit) not in unknown
    ]


def fold_services(
    rows: Sequence[ServiceRow], rates: Mapping[str, float], most: int
) -> tuple[tuple[ServiceUse, ...], Mapping[str, float], int]:
    """Return the counters, their cost in credits if a rate is known, and the number of folded operations."""
    totals = summed((row.name, row.used) for row in rows)
    keep = largest(totals, most)

    def shown(name: str) -> str:
        return name if name in keep else OTHER

    counters = summed(((shown(row.name), row.unit), row.used) for row in rows)
    costs = summed((shown(row.name), row.used / rate) for row in rows if (rate := rates.get(row.name)))
    folded = len(rows) - sum(1 for name, _ in counters if name in keep)
    services = tuple(ServiceUse(name, unit, used) for (name, unit), used in sorted(counters.items()))
    return services, dict(sorted(costs.items())), folded


def fold_quotas(quotas: Sequence[NamedQuota], most: int, now: float) -> tuple[tuple[NamedQuota, ...], int]:
    """Return at most ``most`` quotas and the sums of the others at the time ``now``, and how many were folded."""
    told = {(quota.name, quota.unit) for quota in quotas if _tells(quota)}
    quotas = [quota for quota in quotas if (quota.name, quota.unit) in told]
    if len(told) == len(quotas) <= most:
        return tuple(quotas), 0
    totals = summed((quota.name, _weight(quota.amounts)) for quota in quotas)
    keep = largest(totals, most)
    groups: dict[tuple[str, str], list[NamedQuota]] = {}
    for quota in quotas:
        groups.setdefault((quota.name if quota.name in keep else OTHER, quota.unit), []).append(quota)
    folded = len(quotas) - sum(1 for name, _ in groups if name in keep)
    joined = (_joined(name, unit, group, now) for (name, unit), group in groups.items())
    return tuple(quota for quota in joined if _tells(quota)), folded


def _tells(quota: NamedQuota) -> bool:
    """Return whether anything of a quota is known besides its name."""
    return quota.amounts != Quota() or quota.resets_at is not None or quota.expires_at is not None


def _weight(amounts: Quota) -> float:
    known = (amounts.used, amounts.remaining, amounts.limit)
    return next((value for value in known if value is not None and not isinf(value)), 0.0)


def _joined(name: str, unit: str, group: Sequence[NamedQuota], now: float) -> NamedQuota:
    if len(group) == 1:
        return replace(group[0], name=name)
    used, limit = (_added([getattr(quota.amounts, part) for quota in group]) for part in ("used", "limit"))
    is_told = any(quota.amounts.remaining is not None for quota in group)
    remaining = _added([_left(quota, now) for quota in group]) if is_told else None
    ratio = used / limit if used is not None and limit and not isinf(limit) else 0.0 if limit == inf else None
    resets = [quota.resets_at for quota in group if quota.resets_at is not None]
    return NamedQuota(
        name, unit, Quota(used, limit, remaining, ratio), min(resets, default=None), _next_end(group, now)
    )


def _left(pack: NamedQuota, now: float) -> float | None:
    """Return what remains of a pack, which is nothing once it has expired."""
    is_expired = pack.expires_at is not None and pack.expires_at <= now
    return 0.0 if is_expired else pack.amounts.remaining


def _next_end(group: Sequence[NamedQuota], now: float) -> float | None:
    """Return when the first pack ends that has something left.

    If none has, it is the latest end, which shows that they are packs. A pack that never ends leaves it out.
    """
    ends = [pack.expires_at for pack in group if pack.expires_at is not None]
    coming = [pack.expires_at for pack in group if pack.expires_at is not None and _left(pack, now) != 0]
    return min(coming) if coming else max(ends) if ends and len(ends) == len(group) else None


def _added(values: Sequence[float | None]) -> float | None:
    """Return the sum. It is unknown if a part of it is."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
