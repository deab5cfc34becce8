"""The families of units, prices and named quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.metrics.family import Family, gauge
from exporter.metrics.samples import Samples
from exporter.metrics.view import View
from exporter.readings import NamedQuota


def _unit(view: View) -> Samples:
    return () if view.usage is None else (((view.usage.unit,), 1.0),)


def _price(view: View) -> Samples:
    price = view.account.price
    return () if price is None else (((price.currency,), price.amount),)


def _amounts(field: str) -> Callable[[View], Samples]:
    def samples(view: View) -> Iterator[tuple[tuple[str, ...], float]]:
        for quota in view.usage.quotas if view.usage is not None else ():
            value = getattr(quota.amounts, field)
            if value is not None:
                yield (quota.name, quota.unit), value

    return samples


def _earliest(read: Callable[[NamedQuota], float | None]) -> Callable[[View], Samples]:
    """Export one time for each name, because a name may stand in several units."""

    def samples(view: View) -> Iterator[tuple[tuple[str, ...], float]]:
        times: dict[str, float] = {}
        for quota in view.usage.quotas if view.usage is not None else ():
            moment = read(quota)
            if moment is not None:
                times[quota.name] = min(moment, times.get(quota.name, moment))
        for name, moment in times.items():
            yield (name,), moment

    return samples


def _thresholds(view: View) -> Iterator[tuple[tuple[str, ...], float]]:
    levels = view.account.thresholds.quotas
    usage = view.state.usage
    for name in dict.fromkeys(quota.name for quota in (usage.quotas if usage is not None else ())):
        yield (name, "warning"), levels.warning.value
        yield (name, "critical"), levels.critical.value


QUOTA_FAMILIES: tuple[Family, ...] = (
    gauge(
        "credits_unit_info",
        "Unit of the credits_* families, always 1. VideoDB: credits; VidNavigator: credits;"
        " by configuration: unit, an ISO 4217 code for money.",
        _unit,
        "unit",
    ),
    gauge(
        "credit_price",
        "Money for one credit, in its currency. From the configuration; absent where no price is set.",
        _price,
        "currency",
    ),
    gauge("quota_used", "Used of a named quota. By configuration: quotas.used.", _amounts("used"), "quota", "unit"),
    gauge("quota_limit", "Limit of a named quota. By configuration: quotas.limit.", _amounts("limit"), "quota", "unit"),
    gauge(
        "quota_remaining",
        "Left of a named quota. By configuration: quotas.remaining.",
        _amounts("remaining"),
        "quota",
        "unit",
    ),
    gauge(
        "quota_used_ratio",
        "Used / limit of a named quota, 0 to 1. By configuration: quotas.ratio.",
        _amounts("ratio"),
        "quota",
        "unit",
    ),
    gauge(
        "quota_reset_timestamp_seconds",
        "When a named quota is refilled, Unix time. By configuration: quotas.resets_at.",
        _earliest(lambda quota: quota.resets_at),
        "quota",
    ),
    gauge(
        "quota_expiry_timestamp_seconds",
        "When what is left of a named quota is lost, Unix time. By configuration: quotas.expires_at.",
        _earliest(lambda quota: quota.expires_at),
        "quota",
    ),
    gauge(
        "quota_threshold_ratio",
        "Part of a named quota from which alerts fire, 0 to 1. From the configuration.",
        _thresholds,
        "quota",
        "severity",
    ),
)
