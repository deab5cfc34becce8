"""Each option of a provider has an effect at each place where it is taken. Elsewhere it is an error with its place."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.block import Block
from exporter.config.load import json_schema
from exporter.config.provider_schema import ProviderBlock
from exporter.config.rules import Rule
from exporter.errors import ConfigError, PollError
from exporter.providers import PROVIDERS
from exporter.providers.base import ParseOptions, Refuses, VendorResponse
from exporter.providers.declared import provider_of
from exporter.readings import Part
from tests.providers.declaring import declaration

Options = dict[str, Any]
SCHEMA = jsonschema.Draft202012Validator({**json_schema(PROVIDERS), "required": []})
ITEM = {"f": 7, "n": "a", "u": 1, "un": "minutes"}
DOCUMENT = {
    "f": 7,
    "u": 10,
    "l": 100,
    "x": "text",
    "t": 1774692000,
    "ok": False,
    "items": [ITEM],
    "code": "C1",
    "words": "no",
}
BASE: Options = {
    "base_url": "https://api.example.com",
    "auth": {"header": "x-api-key"},
    "usage": {
        "path": "/v1",
        "credits": {"used": "u"},
        "operations": {"each": "items", "name": "n", "used": "u"},
        "quotas": [{"name": "q", "used": "u"}],
        "plan": {"name": "x"},
    },
}


def changed(base: Options, *changes: tuple[str, Any]) -> Options:
    """Return a provider with these values at these places. A place that is a number is one in a list."""
    provider = copy.deepcopy(base)
    for place, value in changes:
        block: Any = provider
        *way, last = place.split(".")
        for step in way:
            block = block[int(step)] if isinstance(block, list) else block.setdefault(step, {})
        block[int(last) if isinstance(block, list) else last] = value
    return provider


def seen(provider: Options, folder: Path, document: object = DOCUMENT) -> str:
    """Return all that a provider does for a response at several statuses."""
    made = provider_of(declaration(yaml.safe_dump(provider), folder))
    sent: list[object] = []
    results: list[Part | str] = []
    for status in (200, 404, 420):

        def get(*request: object, refuses: Refuses, status: int = status, **more: object) -> VendorResponse:
            sent.append((request, more))
            error = refuses(status, document)
            if error is not None:
                raise error
            return VendorResponse(status, document)

        try:
            fetched = made.endpoints["usage"].fetch(get, ParseOptions(variables={"v": "w"}, now=1.79e9))  # type: ignore[arg-type]  # the arguments that it gives
            results.append(fetched)
        except PollError as error:
            results.append(f"{error.reason}: {error}")
    headers = {"x-wait": "30", "x-until": "1790000060"}
    assert made.wait is not None
    own = (made.title, made.base_url, made.unit, made.interval, made.max_requests_per_minute, made.price, made.quotas)
    waits = made.wait(headers, document, 1.79e9)
    return repr(
        (own, made.variables, made.credit_rates, made.authorization("K", 0.0, {"v": "w"}), waits, sent, results)
    )


def mistakes(provider: Options, folder: Path) -> list[str]:
    try:
        declaration(yaml.safe_dump(provider), folder)
    except ConfigError as refused:
        return [re.split(r": (?:\*|providers)\.\*\.", str(problem), maxsplit=1)[1] for problem in refused.problems]
    return []


def leaves(model: type[Block], *way: str) -> Iterator[tuple[str, str]]:
    """Yield every option of a block with the name of its rule."""
    for name, field in model.model_fields.items():
        place = (*way, field.alias or name)
        inner = next(blocks(field.annotation), None)
        if inner is None:
            rules = [rule for rule in annotated(field) if isinstance(rule, Rule)]
            yield ".".join(place), rules[-1].words if rules else "other"
        elif len(way) < 4:
            yield from leaves(inner, *place)


def annotated(field: Any) -> Iterator[object]:
    yield from field.metadata
    todo = [field.annotation]
    while todo:
        one = todo.pop()
        yield from getattr(one, "__metadata__", ())
        todo += get_args(one)


def blocks(annotation: object) -> Iterator[type[Block]]:
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
    for inner in get_args(annotation):
        yield from blocks(inner)


LEAVES = {place: rule for place, rule in leaves(ProviderBlock) if not place.startswith("usage.more.")}
FIELDS = sorted(place for place, rule in LEAVES.items() if "field" in rule)
NUMBERS = {"scale", "list", "unlimited"}
TAKEN = {"ratio": {"scale", "list"}, "resets_at": {"time", "list"}, "expires_at": {"time", "list"}}
TIMES = ("period.start", "period.end", "usage_period.start", "usage_period.end", "generated_at")
TEXTS = ("operations.name", "operations.unit", "quotas.name", "quotas.unit")
OPTIONS: Mapping[str, tuple[object, object]] = {
    "scale": (2, 7),
    "list": ("max", [3, 5]),
    "unlimited": ([7], 7),
    "time": ("unix", 1774692000),
}
"""A value of each option, and what a response has there."""


def taken_at(place: str) -> set[str]:
    """Return the options that a field takes."""
    inside = place.removeprefix("usage.")
    if inside.startswith("plan.") or inside in TEXTS:
        return set()
    return {"time", "list"} if inside in TIMES else TAKEN.get(inside.rpartition(".")[2], NUMBERS)


def with_field(place: str, field: object) -> Options:
    where = place.replace("quotas.", "quotas.0.")
    needed = [("usage.quotas.0.remaining", "l")] if "quotas" in place else []
    return changed(BASE, *needed, (where, field))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("place", FIELDS)
def test_an_option_of_a_field_has_an_effect_or_is_an_error_with_its_place(
    place: str, option: str, tmp_path: Path
) -> None:
    value, sent = OPTIONS[option]
    with_option = with_field(place, {"value": "f", option: value})
    told = mistakes(with_option, tmp_path)
    assert SCHEMA.is_valid({"providers": {"p": with_option}}) == (told == [])
    if option not in taken_at(place):
        assert len(told) == 1, told
        assert option + ": belongs to" in told[0]
        assert place.rpartition(".")[2] in told[0]
        return
    assert told == []
    if option == "list" and "time" in taken_at(place):
        sent = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]
    document = {**DOCUMENT, "f": sent, "items": [{**ITEM, "f": sent}]}
    without = with_field(place, {"value": "f"})
    assert seen(with_option, tmp_path, document) != seen(without, tmp_path, document)


def test_times_are_not_added_up_and_an_unknown_option_is_told_with_those_of_the_place(tmp_path: Path) -> None:
    wrong = with_field("usage.period.end", {"value": "f", "list": "sum"})
    assert mistakes(wrong, tmp_path) == ["usage.period.end: list: must be one of min, max"]
    wrong = with_field("usage.period.end", {"value": "f", "tim": "unix"})
    assert mistakes(wrong, tmp_path) == ["usage.period.end: has an unknown key; known are value, time, list"]


CODE = ("errors.code", "code")
EFFECTS: Mapping[str, list[tuple[str, Any]]] = {
    "title": [("title", "Acme")],
    "base_url": [("base_url", "https://other.example.com")],
    "auth.header": [("auth.header", "x-other")],
    "auth.prefix": [("auth.prefix", "Bearer ")],
    "auth.basic": [("auth", {"basic": "user"})],
    "auth.query": [("auth", {"query": "key"})],
    "variables": [("variables", ["v"]), ("usage.path", "/v1/{v}")],
    "headers": [("headers", {"X-Version": "1"})],
    "interval": [("interval", "1h")],
    "max_requests_per_minute": [("max_requests_per_minute", 3)],
    "unit": [("unit", "USD")],
    "price.amount": [("price", {"amount": 1, "currency": "USD"})],
    "price.currency": [("price", {"amount": 1, "currency": "EUR"})],
    "errors.code": [CODE],
    "errors.message": [("errors.message", "words")],
    "errors.reasons": [CODE, ("errors.reasons", {"C1": "forbidden"})],
    "errors.statuses": [("errors.statuses", {420: "rate_limited"})],
    "errors.wait.path": [("errors.wait.path", "f")],
    "errors.wait.header": [("errors.wait.header", "X-Wait")],
    "errors.wait.time": [("errors.wait", {"header": "X-Until", "time": "unix"})],
    "usage.path": [("usage.path", "/v2")],
    "usage.query": [("usage.query", {"a": "{now}"})],
    "usage.method": [("usage.method", "POST")],
    "usage.json": [("usage.method", "POST"), ("usage.json", {"a": 1})],
    "usage.success": [("usage.success", "ok")],
    "usage.no_subscription": [("usage.no_subscription", "code == 'C1'")],
    "usage.credits.window": [("usage.credits.balance", "l"), ("usage.credits.window", "rolling")],
    "usage.operations.each": [("usage.operations.each", "items[?n != 'a']")],
    "usage.operations.credit_rates": [("usage.operations.unit", "un"), ("usage.operations.credit_rates", {"a": 2})],
    "usage.quotas.each": [("usage.quotas.0", {"each": "items", "name": "n", "used": "u"})],
}  # fmt: skip
FOR_PEOPLE = {"checked", "documentation", "scope"}
"""What `providers NAME` prints, and nothing reads."""


def test_every_option_is_among_those_that_are_tried() -> None:
    examples = {place for place in LEAVES if place.startswith("examples.")}
    assert {*FIELDS, *EFFECTS, *FOR_PEOPLE, *examples} == set(LEAVES)


@pytest.mark.parametrize("option", EFFECTS)
def test_an_option_has_an_effect(option: str, tmp_path: Path) -> None:
    changes = EFFECTS[option]
    with_option = changed(BASE, *changes)
    assert mistakes(with_option, tmp_path) == []
    before = changed(BASE, *changes[:-1])
    if option == "variables":
        before = changed(BASE)
    assert seen(with_option, tmp_path) != seen(before, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("errors.reasons", {"C1": "forbidden"})], "errors.reasons: belongs to `code`, which is not given"),
        ([CODE, ("errors.reasons", {"C1": ["forbidden"]})], "errors.reasons.*: must be one of auth, forbidden,"),
        ([("errors.statuses", {200: "rate_limited"})], "errors.statuses.*: is no refusal."),
        ([("auth", {"query": "key", "prefix": "Bearer "})], "auth.prefix: belongs to `header`, which is not given"),
        ([("variables", ["v"])], "variables[0]: is used nowhere. Write it in braces where it belongs, or leave it out"),
        ([("variables", ["v", "v"]), ("usage.path", "/{v}")], "variables[1]: stands here twice"),
        ([("headers", {"X-A": "1", "x-a": "2"})], "headers.*: stands here twice, because"),
        ([("usage.json", {"a": 1})], "usage.json: is sent with `method: POST` alone. Add it"),
        ([("usage.operations.credit_rates", {"a": 2})],
         "usage.operations.credit_rates: belongs to operations with a `unit` of their own."),
        ([("usage.credits", {"granted": "l"})], "usage.credits.granted: needs `used`, and stands in place of `limit`"),
        ([("usage.credits", {"granted": "l", "used": "u", "limit": "l"})], "usage.credits.granted: needs `used`,"),
        ([("usage.credits.window", "rolling")], "usage.credits.window: keeps a balance out of the ledger,"),
        ([("usage.credits", {})], "usage.credits: is empty. Give at least one of balance, limit,"),
        ([("usage.quotas", [{"each": "items", "name": "a b", "used": "u"}])],
         "usage.quotas[0].name: is not a JMESPath expression"),
        ([("usage.period", {})], "usage.period: is empty. Give at least one of start, end"),
        ([("usage.storage", {})], "usage.storage: is empty. Give at least one of used, limit, remaining, ratio"),
        ([("usage.plan", {"interval": "x"})], "usage.plan: makes no plan of an interval alone."),
        ([("usage.credits.used", {"value": "u", "scale": 0})], "usage.credits.used: scale: must be a number other"),
        ([("usage.credits.used", {"value": "u", "scale": None})], "usage.credits.used: scale: must be a number other"),
        ([("usage.credits.used", {"value": "u", "list": None})], "usage.credits.used: list: must be one of sum, min"),
        ([("usage.more", {"b": {"path": "/b", "credits": {"used": "u"}}})],
         "usage.more.*.credits.used: is given by another request already"),
        ([("usage.more", {"b": {"path": "/b", "plan": {"status": "x"}}})],
         "usage.more.*.plan: is given by another request"),
    ],
)  # fmt: skip
def test_an_option_that_would_have_no_effect_is_an_error(
    changes: list[tuple[str, Any]], told: str, tmp_path: Path
) -> None:
    [sentence] = mistakes(changed(BASE, *changes), tmp_path)
    assert sentence.startswith(told)


def test_rates_of_further_requests_count_too(tmp_path: Path) -> None:
    operations = {"each": "items", "name": "n", "used": "u", "unit": "un", "credit_rates": {"a": 4}}
    provider = changed(
        BASE, ("usage.operations.unit", "un"), ("usage.more", {"b": {"path": "/b", "operations": operations}})
    )
    assert "used_by_operation={'a': 0.5}" in seen(provider, tmp_path)


def test_an_example_that_is_wrong_is_an_error(tmp_path: Path) -> None:
    example = {"response": json.loads(json.dumps(DOCUMENT)), "status": 200, "expect": {"credits_monthly_used": 11}}
    [told] = mistakes(changed(BASE, ("examples", [example])), tmp_path)
    assert told == "examples[0].expect.*: the example gives 10"


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    (
        *(None, True, 0, -1, 1e400, "", "a", "a b", "{v}", "{", "/v1", "1h", [], ["a"], [None], {}, {"value": "a"}),
        *(
            {"value": "a b"},
            {"value": ["a"]},
            {"a": 1},
            {"a": "{v}"},
            [{"each": "a", "name": "a b", "used": "u"}],
            [{}],
        ),
    )
)
PLACES = st.sampled_from(sorted({place.replace("quotas.", "quotas.0.") for place in LEAVES if "examples" not in place}))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(PLACES, VALUES), min_size=1, max_size=3))
def test_a_wrong_provider_is_told_in_sentences_and_a_right_one_reads_a_response(
    changes: list[tuple[str, Any]], tmp_path: Path
) -> None:
    try:
        provider = changed(BASE, *changes)
    except (TypeError, KeyError, IndexError, ValueError):
        return  # two changes of which one took the place of the other
    if not mistakes(provider, tmp_path):
        seen(provider, tmp_path)
