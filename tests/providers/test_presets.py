"""Every preset is complete and reads the responses of the vendor's documentation as expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml

import exporter.providers
from exporter.providers.fields import exact_sum, parse_number, parse_time

jmespath: Any = pytest.importorskip("jmespath")

PRESETS = sorted((Path(exporter.providers.__file__).parent / "presets").glob("*.yaml"))
VENDORS = {
    "apify", "cloudinary", "d-id", "deepgram", "deepseek", "elevenlabs", "fal", "firecrawl", "heygen", "luma",
    "openrouter", "piapi", "rev-ai", "runway", "serpapi", "stability", "tavily", "twilio", "vidu",
}  # fmt: skip

REQUIRED = {
    "title", "checked", "documentation", "scope", "base_url", "auth", "interval", "max_requests_per_minute", "unit",
    "errors", "usage", "examples",
}  # fmt: skip
OPTIONAL = {"variables", "headers"}
USAGE = {"path", "query", "success", "credits", "operations", "quotas", "period", "plan", "generated_at"}
CREDITS = {"balance", "limit", "used", "remaining", "purchased", "granted", "window"}
QUOTA = {"each", "name", "unit", "used", "limit", "remaining", "ratio", "resets_at", "expires_at"}
FIELD = {"value", "scale", "list", "unlimited", "time"}
REASONS = {
    "auth", "forbidden", "payment_required", "rate_limited", "client_error", "server_error", "invalid_response"
}  # fmt: skip
LISTS: Mapping[str, Any] = {"sum": lambda values: exact_sum(*values), "min": min, "max": max}
STATUS_REASONS = {500: "server_error", 401: "auth", 402: "payment_required", 403: "forbidden", 429: "rate_limited"}
LONGEST_EXPRESSION = 1024

Preset = Mapping[str, Any]


class Items(jmespath.functions.Functions):  # type: ignore[misc]  # the library has no types
    """The functions of JMESPath, and one that makes a list of an object."""

    @jmespath.functions.signature({"types": ["object", "null"]})  # type: ignore[untyped-decorator]  # the same
    def _func_items(self, value: Mapping[str, object] | None) -> list[dict[str, object]] | None:
        return None if value is None else [{"key": key, "value": item} for key, item in value.items()]


OPTIONS = jmespath.Options(custom_functions=Items())


def load(path: Path) -> Preset:
    preset: Preset = yaml.safe_load(path.read_text(encoding="utf-8"))
    return preset


def search(expression: str, document: object) -> object:
    found: object = jmespath.compile(expression).search(document, options=OPTIONS)
    return found


def read(field: object, document: object) -> Any:
    """Return the value of a field, which is an expression or a block with one."""
    if field is None:
        return None
    block: Mapping[str, Any] = field if isinstance(field, Mapping) else {"value": field}
    found = search(block["value"], document)
    if "list" not in block or found is None:
        return converted(found, block)
    assert isinstance(found, list), f"{block['value']} is no list"
    values = [converted(item, block) for item in found]
    return LISTS[block["list"]](values) if values else None


def converted(value: object, block: Mapping[str, Any]) -> Any:
    if "unlimited" in block and value in block["unlimited"]:
        return inf
    if value is None or isinstance(value, bool):
        return value
    if "time" in block:
        moment = parse_number(value) if block["time"] == "unix" else parse_time(str(value))
        assert moment is not None, f"{block['value']} is no time"
        return moment
    number = parse_number(value)
    if number is not None and "scale" in block:
        return float(Decimal(repr(number)) * Decimal(repr(block["scale"])))
    return value if number is None else number


def reading(preset: Preset, document: object) -> dict[str, object]:
    """Return the series of a response by the names in ``expect``."""
    usage = preset["usage"]
    series: dict[str, object] = {}
    amounts = {name: read(usage["credits"].get(name), document) for name in CREDITS - {"window"}}
    series["credits_balance"] = balance(amounts)
    if amounts["granted"] is None:
        series["credits_monthly_used"] = amounts["used"]
    series["credits_monthly_limit"] = amounts["limit"]
    series["credits_monthly_remaining"] = amounts["remaining"]
    series["credits_purchased"] = amounts["purchased"]
    active = read(usage.get("plan", {}).get("active"), document)
    series["subscription_active"] = None if active is None else int(active)
    if "operations" in usage:
        family = "service_usage" if "unit" in usage["operations"] else "credits_used_by_operation"
        for item in search(usage["operations"]["each"], document) or ():  # type: ignore[attr-defined]  # a list
            name = read(usage["operations"]["name"], item)
            series[f'{family}{{operation="{name}"}}'] = read(usage["operations"]["used"], item)
    for quota in usage.get("quotas", ()):
        for item in (search(quota["each"], document) or ()) if "each" in quota else (document,):  # type: ignore[attr-defined]  # a list
            name = read(quota["name"], item) if "each" in quota else quota["name"]
            for key, family in (
                ("used", "used"), ("limit", "limit"), ("remaining", "remaining"), ("ratio", "used_ratio"),
                ("resets_at", "reset_timestamp_seconds"), ("expires_at", "expiry_timestamp_seconds"),
            ):  # fmt: skip
                value = read(quota.get(key), item)
                series[f'quota_{family}{{quota="{name}"}}'] = round(value, 6) if key == "ratio" and value else value
    return series


def balance(amounts: Mapping[str, Any]) -> float | None:
    if amounts["balance"] is not None:
        number: float = amounts["balance"]
        return number
    if amounts["remaining"] is not None:
        return exact_sum(amounts["remaining"], amounts["purchased"] or 0.0)
    total = amounts["granted"] if amounts["granted"] is not None else amounts["limit"]
    return None if total is None or amounts["used"] is None else exact_sum(total, -amounts["used"])


def failure(preset: Preset, status: int, document: object) -> str | None:
    """Return the reason of a refusal, None for a response that counts."""
    errors = preset["errors"]
    code = search(errors["code"], document) if "code" in errors else None
    known = errors.get("reasons", {}).get(str(code))
    if status != 200:
        return str(known or errors.get("statuses", {}).get(status) or STATUS_REASONS[status])
    success = preset["usage"].get("success")
    return str(known or "invalid_response") if success and search(success, document) is not True else None


def expressions(preset: Preset) -> Iterator[str]:
    usage, errors = preset["usage"], preset["errors"]
    yield from (errors[name] for name in ("code", "message") if name in errors)
    yield from [usage["success"]] if "success" in usage else []
    for field in fields(preset):
        yield field["value"] if isinstance(field, Mapping) else field
    yield from (block["each"] for block in (*usage.get("quotas", ()), usage.get("operations", {})) if "each" in block)


def fields(preset: Preset) -> Iterator[str | Mapping[str, Any]]:
    usage = preset["usage"]
    yield from (field for name, field in usage["credits"].items() if name != "window")
    for block in ("period", "plan"):
        yield from usage.get(block, {}).values()
    yield from [usage["generated_at"]] if "generated_at" in usage else []
    yield from (field for name, field in usage.get("operations", {}).items() if name != "each")
    for quota in usage.get("quotas", ()):
        words = {"name", "unit"} if "each" not in quota else set()
        yield from (field for name, field in quota.items() if name not in words | {"each"})


def texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


EXAMPLES = [
    pytest.param(path, position, id=f"{path.stem}-{position}")
    for path in PRESETS
    for position in range(len(load(path)["examples"]))
]

every_preset = pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)


def test_there_is_a_preset_for_each_vendor() -> None:
    assert {path.stem for path in PRESETS} == VENDORS


@every_preset
def test_a_preset_has_all_that_a_reader_needs_and_no_unknown_key(path: Path) -> None:
    preset = load(path)
    assert preset.keys() >= REQUIRED
    assert preset.keys() <= REQUIRED | OPTIONAL
    assert isinstance(preset["checked"], date)
    assert preset["documentation"].startswith("https://")
    assert preset["base_url"].startswith("https://")
    assert not preset["base_url"].endswith("/")
    assert preset["usage"].keys() <= USAGE
    assert preset["usage"]["path"].startswith("/")
    assert preset["usage"]["credits"].keys() <= CREDITS
    for quota in preset["usage"].get("quotas", ()):
        assert {"name", "unit"} <= quota.keys() <= QUOTA
    for field in fields(preset):
        assert isinstance(field, str) or {"value"} <= field.keys() <= FIELD


@every_preset
def test_a_preset_has_a_long_interval(path: Path) -> None:
    preset = load(path)
    assert preset["interval"] in ("15m", "1h")
    assert 1 <= preset["max_requests_per_minute"] <= 10


@every_preset
def test_a_preset_sends_the_key_in_one_way_and_names_every_variable_that_it_uses(path: Path) -> None:
    preset = load(path)
    ways = {"header", "basic", "query"} & preset["auth"].keys()
    assert len(ways) == 1
    assert preset["auth"].keys() - ways <= {"prefix"}
    requests = [preset["usage"]["path"], preset["auth"], preset.get("headers", {}), preset["usage"].get("query", {})]
    used = {name for text in texts(requests) for name in re.findall(r"\{(\w+)\}", text)}
    assert used == set(preset.get("variables", ()))


@every_preset
def test_a_preset_gives_refusals_the_known_reasons(path: Path) -> None:
    errors = load(path)["errors"]
    assert errors.keys() <= {"code", "message", "reasons", "statuses", "wait"}
    assert {*errors.get("reasons", {}).values(), *errors.get("statuses", {}).values()} <= REASONS
    assert all(isinstance(code, str) for code in errors.get("reasons", {}))
    assert "code" in errors or "reasons" not in errors


@every_preset
def test_every_expression_of_a_preset_compiles(path: Path) -> None:
    for expression in expressions(load(path)):
        assert len(expression) <= LONGEST_EXPRESSION
        jmespath.compile(expression)
        # Both would make a number of what is none.
        assert not re.search(r"\b(sum|to_number)\(", expression), expression


@every_preset
def test_every_field_of_a_preset_is_absent_from_an_empty_response(path: Path) -> None:
    preset = load(path)
    values = {name: value for name, value in reading(preset, {}).items() if value is not None}
    nulls = [quota for quota in preset["usage"].get("quotas", ()) if None in unlimited(quota)]
    assert set(values) == {f'quota_limit{{quota="{quota["name"]}"}}' for quota in nulls}


def unlimited(quota: Mapping[str, Any]) -> list[object]:
    limit = quota.get("limit")
    return limit.get("unlimited", []) if isinstance(limit, Mapping) else []


@pytest.mark.parametrize(("path", "position"), EXAMPLES)
def test_an_example_of_the_documentation_reads_as_expected(path: Path, position: int) -> None:
    preset = load(path)
    example = preset["examples"][position]
    assert example.keys() <= {"response", "status", "expect"}
    reason = failure(preset, example.get("status", 200), example["response"])
    found = {"failure": reason} if reason else reading(preset, example["response"])
    assert {name: written(found.get(name)) for name in example["expect"]} == example["expect"]


def written(value: object) -> object:
    return "absent" if value is None else "unlimited" if value == inf else value


@every_preset
def test_a_preset_has_a_good_response_among_its_examples(path: Path) -> None:
    assert any("failure" not in example["expect"] for example in load(path)["examples"])


@every_preset
def test_no_example_has_a_text_that_looks_like_a_key(path: Path) -> None:
    responses = [example["response"] for example in load(path)["examples"]]
    for name, value in named(responses, ""):
        assert not re.search(r"key|token|secret|sid$", name), name
        assert not re.search(r"[A-Za-z0-9]{20}", value), value


def named(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Yield each text of a response with the name of its field."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from named(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from named(item, name)
    elif isinstance(value, str):
        yield name, value
