"""Makes the text of the dashboards' files, and the exclusions for grafana/dashboard-linter."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from grafana import account, exporter, fleet
from grafana.fields import Json

FOLDER = Path(__file__).parent / "dashboards"

_LINT_REASONS = {
    "job": "Recorded series and alerts of an account have no job, because they stand for all exporters.",
    "instance": "Recorded series and alerts of an account have no instance, because they stand for all exporters.",
}


def rendered() -> dict[str, str]:
    """Return file name to text of everything in `grafana/dashboards/`."""
    boards = {"fleet.json": fleet.build(), "account.json": account.build(), "exporter.json": exporter.build()}
    files = {name: json.dumps(board, indent=2, ensure_ascii=False) + "\n" for name, board in boards.items()}
    return files | {".lint": _lint(boards)}


def _lint(boards: Mapping[str, Json]) -> str:
    """Return the exclusions for panels that query series without the label that a rule wants matched."""
    lines = ["# For grafana/dashboard-linter; written by make dashboards.", "exclusions:"]
    for label, reason in _LINT_REASONS.items():
        lines += [f"  target-{label}-rule:", f"    reason: {json.dumps(reason)}", "    entries:"]
        for board in boards.values():
            for panel in board["panels"]:
                selectors = [
                    found for target in panel.get("targets", ()) for found in re.findall(r"\w\{[^}]*\}", target["expr"])
                ]
                if any(f'{label}=~"${label}"' not in found for found in selectors):
                    lines.append(f"      - dashboard: {json.dumps(board['title'])}")
                    lines.append(f"        panel: {json.dumps(panel['title'])}")
    return "\n".join(lines) + "\n"
