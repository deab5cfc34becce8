"""The vendors. ``PROVIDERS`` is the only table of their names."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.providers import videodb, vidnavigator
from exporter.providers.base import Provider

PROVIDERS: Mapping[str, Provider] = {
    "videodb": videodb.PROVIDER,
    "vidnavigator": vidnavigator.PROVIDER,
}
