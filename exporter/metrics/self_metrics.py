"""The exporter's own metrics about its build, its polls and its configuration, kept by prometheus_client."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_DURATION_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class ReplicaCounts(Protocol):
    """What is exported of the replicas that share the polls."""

    @property
    def replicas(self) -> int:
        """Return how many replicas of this shard live."""

    @property
    def accounts_held(self) -> int:
        """Return how many accounts this replica polls."""

    @property
    def config_differs(self) -> bool:
        """Return whether a replica that lives has another configuration."""


class SelfMetrics:
    """A registry with the exporter's own metrics."""

    def __init__(
        self,
        version: str,
        revision: str,
        shard_index: int,
        shard_count: int,
        *,
        state_up: Callable[[], bool] | None = None,
        state_write_failures: Callable[[], int] = lambda: 0,
        log_lines_dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        """Make the families. Each scrape calls the functions for their values. Without a state ``state_up`` is None."""
        # Nobody needs the creation time of a histogram here, and it adds many lines in OpenMetrics.
        prometheus_client.disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        _name_build(registry, version, revision)
        gauge = partial(Gauge, registry=registry)
        self._accounts = gauge(
            "video_api_exporter_accounts", "Accounts that this exporter polls, from the configuration.", ("provider",)
        )
        self.reload_successful = gauge(
            "video_api_exporter_config_last_reload_successful",
            "1 where the last attempt to load the configuration succeeded.",
        )
        self.reload_success_time = gauge(
            "video_api_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully, Unix time.",
        )
        self.poll_duration = Histogram(
            "video_api_exporter_poll_duration_seconds",
            "How long polls took, retries included.",
            ("provider",),
            buckets=_DURATION_SECONDS,
            registry=registry,
        )
        self.polls_in_flight = gauge("video_api_exporter_polls_in_flight", "Polls under way now.")
        self.poll_lag = Histogram(
            "video_api_exporter_poll_lag_seconds", "How late polls started.", buckets=_LAG_SECONDS, registry=registry
        )
        _name_shard(registry, shard_index, shard_count)
        _tell_state(registry, state_up)
        _count(registry, state_write_failures, log_lines_dropped)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def set_accounts(self, providers: Iterable[str]) -> None:
        """Count the accounts of each provider. ``providers`` has one name for each account."""
        counts: dict[str, int] = {}
        for provider in providers:
            counts[provider] = counts.get(provider, 0) + 1
        self._accounts.clear()
        for provider, count in sorted(counts.items()):
            self._accounts.labels(provider).set(count)

    def tell_replicas(self, counts: ReplicaCounts) -> None:
        """Export how replicas share the polls."""
        for name, help_, value in (
            ("replicas", "Replicas of this shard that live and share its polls.", lambda: counts.replicas),
            ("accounts_held", "Accounts that this replica polls. Others poll the rest.", lambda: counts.accounts_held),
            (
                "replicas_config_differs",
                "1 where replicas of this shard that live have different configurations.",
                lambda: counts.config_differs,
            ),
        ):
            help_ += " Absent without a PostgreSQL database."
            Gauge("video_api_exporter_" + name, help_, registry=self.registry).set_function(value)


def _name_build(registry: CollectorRegistry, version: str, revision: str) -> None:
    build = Gauge(
        "video_api_exporter_build_info",
        "Version of the exporter, always 1.",
        ("version", "revision", "python_version"),
        registry=registry,
    )
    build.labels(version, revision, platform.python_version()).set(1)


def _name_shard(registry: CollectorRegistry, shard_index: int, shard_count: int) -> None:
    for name, help_, value in (
        ("shard_index", "Number of this shard, from 0.", shard_index),
        ("shards", "How many shards the accounts are spread over.", shard_count),
    ):
        Gauge("video_api_exporter_" + name, help_, registry=registry).set(value)


def _tell_state(registry: CollectorRegistry, state_up: Callable[[], bool] | None) -> None:
    if state_up is not None:
        help_ = "1 where the state file or database could be used at the last try. Absent without a state."
        Gauge("video_api_exporter_state_up", help_, registry=registry).set_function(state_up)


def _count(registry: CollectorRegistry, write_failures: Callable[[], int], lines_dropped: Callable[[], int]) -> None:
    for name, help_, count in (
        ("state_write_failures", "Writes to the state file or database that failed.", write_failures),
        ("log_lines_dropped", "Log lines that were dropped because nobody read them.", lines_dropped),
    ):
        registry.register(_Counter("video_api_exporter_" + name, help_, count))


class _Counter(Collector):
    def __init__(self, name: str, help_: str, value: Callable[[], int]) -> None:
        self._name = name
        self._help = help_
        self._value = value

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._help, value=self._value())
