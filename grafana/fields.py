"""Units, colours, texts, thresholds, overrides and links for values on all dashboards."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "dark-yellow", "orange", "red", "blue", "purple", "#8e8e99"

LOWEST = -1e15  # below any figure

# Credits have no unit in Grafana. "locale" writes 12,345.6, and "short" would round it to 12.3 K.
CREDITS, COUNT, SECONDS, BYTES, RATIO, MOMENT, TEXT = (
    "locale",
    "none",
    "s",
    "bytes",
    "percentunit",
    "dateTimeAsIso",
    "string",
)

# Infinity means that the vendor responded "unlimited", or that a forecast has no end.
UNLIMITED: Json = {"type": "value", "options": {"Infinity": {"text": "Unlimited", "color": BLUE, "index": 0}}}
NEVER: Json = {"type": "value", "options": {"Infinity": {"text": "Never", "color": RED, "index": 0}}}


def steps(base: str, *pairs: tuple[float, str]) -> Json:
    """Return thresholds with the base colour, then pairs of value and colour in rising order.

    Grafana uses the first colour for an unknown value. It is grey, so that an unknown value never looks good.
    """
    rising = [{"color": GREY, "value": None}, {"color": base, "value": LOWEST}]
    rising += [{"color": colour, "value": value} for value, colour in pairs]
    return {"mode": "absolute", "steps": rising}


def words(names: dict[int, tuple[str, str]]) -> Json:
    """Return a mapping from whole numbers to (text, colour)."""
    options = {
        str(value): {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(names.items())
    }
    return {"type": "value", "options": options}


def override(name: str, **properties: Any) -> Json:
    """Return settings for the field of this name. `custom__width=80` sets the property `custom.width`."""
    return _override({"id": "byName", "options": name}, properties)


def override_query(ref: str, **properties: Any) -> Json:
    """Return settings for all fields that come from the query with this letter or name."""
    return _override({"id": "byFrameRefID", "options": ref}, properties)


def override_all(**properties: Any) -> Json:
    """Return settings for every field, which those after it can replace."""
    return _override({"id": "byRegexp", "options": ".*"}, properties)


def _override(matcher: Json, properties: dict[str, Any]) -> Json:
    return {
        "matcher": matcher,
        "properties": [{"id": name.replace("__", "."), "value": value} for name, value in properties.items()],
    }


def colour(name: str) -> Json:
    """Return a fixed colour."""
    return {"mode": "fixed", "fixedColor": name}


def limit_line(ref: str, name: str) -> Json:
    """Draw a query as a dashed line without filling, because it is a limit and not a reading."""
    return override_query(
        ref,
        color=colour(name),
        custom__lineStyle={"fill": "dash", "dash": [8, 8]},
        custom__fillOpacity=0,
        custom__lineWidth=1,
        custom__stacking={"group": "A", "mode": "none"},
    )


def account_link(fields: str) -> Json:
    """Link to the Account dashboard. `fields` is where the panel has labels, `data` (tables) or `labels`."""
    prefix = {"data": "__data.fields", "labels": "__field.labels"}[fields]
    variables = "&".join(f"var-{name}=${{{prefix}.{name}:percentencode}}" for name in ("provider", "account"))
    return {
        "title": "Open the account",
        "url": f"/d/video-api-account/?var-datasource=${{datasource:percentencode}}&{variables}&${{__url_time_range}}",
    }
