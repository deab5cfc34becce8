"""Makes the variables, the annotations and the dashboard around the panels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grafana.fields import DATASOURCE, Json

GRID_WIDTH = 24


def datasource_variable() -> Json:
    """Return the choice of a Prometheus data source, because no dashboard names one."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "skipUrlSync": False,
        "options": [],
    }


def variable(name: str, label: str, query: str, description: str, *, multi: bool = True) -> Json:
    """Return a variable with the values of a label. With `multi` all are selected unless some are chosen."""
    result: Json = {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}", "qryType": 1},
        # 2 queries again when the time range changes, so that an account removed last week can still be selected.
        "refresh": 2,
        "sort": 5,
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
        "options": [],
        "multi": multi,
        "includeAll": multi,
    }
    if multi:
        result |= {"allValue": ".+", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return result


def filter_variable(name: str, label: str, description: str) -> Json:
    """Return filters on any label, because labels from the exporter's configuration are not known in advance."""
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "adhoc",
        "datasource": DATASOURCE,
        "hide": 0,
        "skipUrlSync": False,
        "filters": [],
        "baseFilters": [],
    }


def annotation(name: str, expr: str, title: str, text: str, color: str) -> Json:
    """Return marks on every graph while the query has a value."""
    return {
        "name": name,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "datasource": DATASOURCE,
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "severity",
        "useValueForTime": False,
        "target": {"refId": "Anno", "expr": " ".join(expr.split()), "interval": "60s"},
    }


def dashboard(
    uid: str,
    title: str,
    description: str,
    *,
    variables: Sequence[Json],
    annotations: Sequence[Json],
    layout: Iterable[Json | tuple[int, Sequence[tuple[int, Json]]]],
    time_from: str,
) -> Json:
    """Lay the panels out and return the whole dashboard.

    `layout` has row headings and bands (height, [(width, panel), …]). The widths of a band add up to 24.
    """
    panels: list[Json] = []
    y = 0
    for band in layout:
        if isinstance(band, dict):
            panels.append({**band, "gridPos": {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1}})
            y += 1
            continue
        height, row_panels = band
        x = 0
        for width, panel in row_panels:
            panels.append({**panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        if x != GRID_WIDTH:
            raise ValueError(f"{title}: the band at y={y} is {x} wide, not {GRID_WIDTH}")
        y += height
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["video-api"],
        "schemaVersion": 41,
        "version": 1,
        # Not editable, because the next release would overwrite changes that were made in the browser.
        "editable": False,
        "graphTooltip": 1,
        "liveNow": False,
        "refresh": "1m",
        "time": {"from": time_from, "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "links": [
            {
                "title": "Video API",
                "type": "dashboards",
                "tags": ["video-api"],
                "icon": "external link",
                "tooltip": "The other dashboards, with the same accounts and time range",
                "url": "",
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            }
        ],
        "annotations": {"list": list(annotations)},
        "templating": {"list": list(variables)},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }
