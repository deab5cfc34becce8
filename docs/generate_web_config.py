"""Write the tables of keys in docs/web-config.md from the models: python docs/generate_web_config.py"""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo

from exporter.config.block import Block
from exporter.web import config_schema

TARGET = Path(__file__).parent / "web-config.md"
BLOCKS: tuple[type[Block], ...] = (config_schema.Tls, config_schema.Http, config_schema.Headers, config_schema.Rate)


def default_of(field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if "x-default" in extra:
        return str(extra["x-default"])
    if field.default is None or field.default == "":
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def table(model: type[Block]) -> str:
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{field.alias or name}` | {default_of(field)} | {field.description} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """Return the page with the tables between its markers written anew."""
    for model in BLOCKS:
        head, begin, rest = text.partition(f"<!-- keys of {model.__name__}, by docs/generate_web_config.py -->\n\n")
        _, end, tail = rest.partition("\n\n<!-- end of keys -->")
        text = head + begin + table(model) + end + tail
    return text


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
