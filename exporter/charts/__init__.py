"""Charts as SVG that need no script, for the pages of accounts and for reports. ``charts.css`` colours them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache
def stylesheet() -> str:
    """Return the style sheet of the charts, for light and dark."""
    return (Path(__file__).parent / "charts.css").read_text(encoding="utf-8")
