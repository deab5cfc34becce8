"""Makes panels as plain dicts of Grafana's JSON model, with a function for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana.fields import BLUE, COUNT, DATASOURCE, TEXT, Json, override_all, steps


@dataclass(frozen=True)
class Query:
    """A PromQL query of a panel. An instant query fills tables and single values, a range query draws lines."""

    expr: str
    legend: str = ""
    ref: str = ""
    table: bool = False
    instant: bool = False


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    options: Json,
    overrides: Sequence[Json] = (),
    transformations: Sequence[Json] = (),
    interval: str = "",
    **field: Any,
) -> Json:
    panel: Json = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [_target(query, index) for index, query in enumerate(queries)],
        "fieldConfig": {"defaults": _field(**field), "overrides": list(overrides)},
        "options": options,
        "transformations": list(transformations),
    }
    if interval:
        panel["interval"] = interval
    return panel


def _field(
    *,
    unit: str,
    no_value: str,
    custom: Json | None = None,
    thresholds: Json | None = None,
    mappings: Sequence[Json] = (),
    color: Json | None = None,
    links: Sequence[Json] = (),
    **more: Any,
) -> Json:
    return {
        "unit": unit,
        "noValue": no_value,
        "color": color or {"mode": "thresholds"},
        "thresholds": thresholds or steps(BLUE),
        "mappings": list(mappings),
        "links": list(links),
        "custom": custom or {},
        **more,
    }


def _target(query: Query, index: int) -> Json:
    return {
        "refId": query.ref or chr(ord("A") + index),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": " ".join(query.expr.split()),
        "legendFormat": query.legend or "__auto",
        "format": "table" if query.table else "time_series",
        "instant": query.instant or query.table,
        "range": not (query.instant or query.table),
        "exemplar": False,
    }


def stat(
    title: str,
    description: str,
    *queries: Query,
    unit: str = COUNT,
    no_value: str,
    thresholds: Json | None = None,
    graph: bool = False,
    background: bool = False,
    reducer: str = "lastNotNull",
    fields: str = "",
    text_mode: str = "auto",
    **more: Any,
) -> Json:
    """Return a tile with one large value. `graph` adds its graph over the time range."""
    options = {
        "reduceOptions": {"values": False, "calcs": [reducer], "fields": fields},
        "orientation": "auto",
        "textMode": text_mode,
        "colorMode": "background" if background else "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    return _panel(
        "stat",
        title,
        description,
        queries,
        unit=unit,
        no_value=no_value,
        options=options,
        thresholds=thresholds,
        **more,
    )


def bars(
    title: str, description: str, *queries: Query, unit: str, no_value: str, thresholds: Json, **more: Any
) -> Json:
    """Return a horizontal bar for each series, to compare accounts now."""
    options = {
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "color",
        "showUnfilled": True,
        "namePlacement": "left",
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 26,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
    }
    return _panel(
        "bargauge",
        title,
        description,
        queries,
        unit=unit,
        no_value=no_value,
        options=options,
        thresholds=thresholds,
        **more,
    )


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    no_value: str,
    stacked: bool = False,
    draw: str = "line",
    fill: int = 8,
    legend: Sequence[str] = ("lastNotNull",),
    placement: str = "bottom",
    at_least: float = 0,
    **more: Any,
) -> Json:
    """Return a graph over time, whose axis goes up to `at_least`.

    A gap stays a gap, because a value that was not read is unknown. Amounts get no fixed decimals, because ticks that
    are nearer to each other would look the same.
    """
    custom: Json = {
        "drawStyle": draw,
        "lineInterpolation": "linear",
        "lineWidth": 0 if draw == "bars" else 2,
        "fillOpacity": 80 if draw == "bars" else fill,
        "gradientMode": "none",
        "showPoints": "never",
        "pointSize": 5,
        "spanNulls": False,
        "insertNulls": False,
        "barAlignment": 0,
        "axisBorderShow": False,
        "axisPlacement": "auto",
        "axisLabel": "",
        "axisColorMode": "text",
        "axisCenteredZero": False,
        "scaleDistribution": {"type": "linear"},
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "off"},
        "hideFrom": {"legend": False, "tooltip": False, "viz": False},
    }
    options = {
        "legend": {
            "showLegend": True,
            "displayMode": "table" if placement == "right" else "list",
            "placement": placement,
            "calcs": list(legend),
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if unit == COUNT:
        at_least = 4  # otherwise an axis with only zeros would go up to 100
    if at_least:
        custom["axisSoftMax"] = at_least
    more.setdefault("min", 0)
    return _panel(
        "timeseries",
        title,
        description,
        queries,
        unit=unit,
        no_value=no_value,
        options=options,
        custom=custom,
        color=more.pop("color", {"mode": "palette-classic"}),
        **more,
    )


def timeline(
    title: str, description: str, *queries: Query, no_value: str, mappings: Sequence[Json], **more: Any
) -> Json:
    """Return a band of states over time for each series, which shows when a state began."""
    custom = {
        "fillOpacity": 80,
        "lineWidth": 0,
        "hideFrom": {"legend": False, "tooltip": False, "viz": False},
    }
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _panel(
        "state-timeline",
        title,
        description,
        queries,
        unit=TEXT,
        no_value=no_value,
        options=options,
        custom=custom,
        mappings=mappings,
        **more,
    )


def table(
    title: str,
    description: str,
    *queries: Query,
    no_value: str,
    columns: dict[str, str],
    hidden: Sequence[str] = (),
    sort: str = "",
    descending: bool = True,
    overrides: Sequence[Json] = (),
    unit: str = TEXT,
    **more: Any,
) -> Json:
    """Return a table that merges instant queries on the labels they share.

    `columns` maps field names (`account`, or `Value #balance` for the query with ref `balance`) to headings, in
    order. Other fields that are not in `hidden`, such as an account's own labels, follow at the end. An empty cell is
    a dash unless its override has other words. `no_value` is for a table without rows.
    """
    # Grafana's own least width of 150 moves the last columns out of sight.
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False, "minWidth": 80}
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "frameIndex": 0,
        "sortBy": [{"displayName": sort, "desc": descending}] if sort else [],
    }
    organize = {
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
        "indexByName": {name: index for index, name in enumerate(columns)},
        "renameByName": dict(columns),
        "includeByName": {},
    }
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    return _panel(
        "table",
        title,
        description,
        queries,
        unit=unit,
        no_value=no_value,
        options=options,
        custom=custom,
        overrides=[override_all(noValue="–"), *overrides],
        transformations=transformations,
        **more,
    )


def row(title: str, collapsed: bool = False) -> Json:
    """Return a heading for the panels after it."""
    return {"type": "row", "title": title, "collapsed": collapsed, "panels": []}
