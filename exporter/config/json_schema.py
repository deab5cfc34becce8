"""The JSON Schema of a configuration file, made from its models, for editors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exporter.config.block import Block
from exporter.config.credentials import KEY_FIELDS
from exporter.config.file_schema import ConfigFile


def json_schema(providers: Iterable[str], collect: Iterable[str]) -> dict[str, Any]:
    """Return the JSON Schema of the file. The names come from the table of providers."""
    result = as_json_schema(ConfigFile, "video-api-exporter")
    account = result["$defs"]["AccountBlock"]
    names = {"enum": sorted(providers)}
    # A file with providers of its own may name them. The list is there for editors to complete.
    account["properties"]["provider"]["anyOf"] = [names, {}]
    result["if"] = {"not": {"required": ["providers"]}}
    result["then"] = {"properties": {"accounts": {"items": {"properties": {"provider": names}}}}}
    account["properties"]["collect"]["anyOf"][0]["items"]["enum"] = sorted(collect)
    account["oneOf"] = [{"required": [name]} for name in KEY_FIELDS]
    return result


def as_json_schema(model: type[Block], title: str) -> dict[str, Any]:
    """Return the JSON Schema of a file that a model describes."""
    result = model.model_json_schema()
    _tidy(result)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **result}


def _tidy(node: object) -> None:
    """Drop pydantic's titles and null defaults, because titles tell nothing and null is not allowed."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] is None:
            del node["default"]
        node.pop("x-default", None)
        for item in node.values():
            _tidy(item)
