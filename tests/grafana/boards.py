"""The committed dashboards, parsed for the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from grafana.files import FOLDER

Json = dict[str, Any]
BOARDS: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

# Every selector that the builders write has braces, and no label value holds a brace.
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


def panels() -> Iterator[tuple[str, Json]]:
    """Yield (dashboard, panel) for all panels but row headings."""
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield name, panel


def targets() -> Iterator[tuple[str, Json, Json]]:
    """Yield (dashboard, panel, target) for all queries of panels."""
    for name, panel in panels():
        for target in panel["targets"]:
            yield name, panel, target


def queries() -> Iterator[tuple[str, str]]:
    """Yield (where, PromQL) for panels and annotations."""
    for name, panel, target in targets():
        yield f"{name} / {panel['title']} / {target['refId']}", target["expr"]
    for name, board in BOARDS.items():
        for annotation in board["annotations"]["list"]:
            yield f"{name} / annotation {annotation['name']}", annotation["target"]["expr"]


def variables(board: Json, kind: str) -> list[Json]:
    """Return the variables of a kind."""
    return [variable for variable in board["templating"]["list"] if variable["type"] == kind]


def selectors(expr: str) -> list[tuple[str, set[tuple[str, str, str]]]]:
    """Return (metric, {(label, operator, value), …}) for each selector of a query."""
    return [(metric, set(MATCHER.findall(matchers))) for metric, matchers in SELECTOR.findall(expr)]
