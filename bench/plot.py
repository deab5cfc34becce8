"""Draws scrape times over accounts, in the peers' environment. Run ``plot.py RESULTS IMAGE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "video-api-exporter"  # the same figures give the same picture
from matplotlib import pyplot as plt  # noqa: E402  - the backend is chosen first

COLOURS = {"nginx": "#888888", "exporter": "#1a7f5a", "pushgateway": "#c9820a", "prometheus": "#b3402e"}
STYLES = {"nothing": ":", "own": "-.", "1 %": "-", "all": "--"}


def main(results: Path, image: Path) -> None:
    lines: dict[str, list[tuple[int, float]]] = {}
    for file in results.glob("scrape-*.json"):
        result = json.loads(file.read_text())
        for row in result["rows"]:
            if row["encoding"] == "gzip":
                lines.setdefault(row["name"], []).append((result["accounts"], row["p50"]))
    figure, axes = plt.subplots(figsize=(8, 5))
    for name, points in lines.items():
        colour = next((value for key, value in COLOURS.items() if name.startswith(key)), "#5a4fcf")
        style = next((value for key, value in STYLES.items() if key in name), "-")
        axes.plot(*zip(*sorted(points), strict=True), style, color=colour, marker="o", markersize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="accounts", ylabel="scrape with gzip, p50, ms")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(image, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
