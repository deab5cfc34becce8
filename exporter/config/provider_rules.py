"""Rules for the values of ``providers:``. Each check returns the value compiled, as the program uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from exporter.config.rules import NAME, Rule, text
from exporter.providers.declared import RESPONSE_REASONS
from exporter.providers.expressions import Expression
from exporter.providers.readers import LISTS, TIMES, ResponseField
from exporter.providers.templates import Template, parse_json

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_HEADERS = frozenset(
    (
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-authorization",
        "proxy-authenticate",
        "proxy-connection",
        "accept-encoding",
        "expect",
        "cookie",
    )
)
_SCHEMES = ("basic", "bearer", "key", "token")
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_CURRENCIES = frozenset(
    "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD INR JPY KRW MXN NOK NZD PLN SEK SGD USD ZAR".split()  # noqa: SIM905  one line is easier to read
)
"""Codes of money that are no names of other units."""
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def _expression(value: object) -> Expression:
    return Expression(text(value))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a field is read as: in words, its options, and what `list` may do."""

    words: str
    options: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


_NUMBER = _Kind("a number", ("scale", "list", "unlimited"), LISTS)
_RATIO = _Kind("a ratio", ("scale", "list"), LISTS)
_TIME = _Kind("a time", ("time", "list"), ("min", "max"))
_TEXT = _Kind("a text")
_FLAG = _Kind("true or false")
_OPTIONS = {
    "scale": "a number. A time in milliseconds is `time: unix-ms`",
    "list": "a number or a time. An expression selects one item, as in names[0]",
    "unlimited": "a number that may have no limit",
    "time": "a time",
}
"""What each option is for, and what would be right elsewhere."""


def _field(kind: _Kind, value: object) -> ResponseField:
    if not isinstance(value, Mapping):
        return ResponseField(_expression(value))
    for name in value:
        if name in _OPTIONS and name not in kind.options:
            raise ValueError(f"{name}: belongs to {_OPTIONS[name]}. This is {kind.words}")
        if name not in ("value", *kind.options):
            raise ValueError(f"has an unknown key; known are {', '.join(('value', *kind.options))}")
    if "value" not in value:
        raise ValueError("has no `value`, which is the expression")
    scale, list_, time = value.get("scale"), value.get("list"), value.get("time", "iso")
    if "scale" in value and (not _is_number(scale) or not 0 < abs(scale or 0) < inf):
        raise ValueError("scale: must be a number other than 0, such as 0.01")
    if "list" in value and list_ not in kind.lists:
        raise ValueError(f"list: must be one of {', '.join(kind.lists)}")
    if time not in TIMES:
        raise ValueError(f"time: must be one of {', '.join(TIMES)}")
    expression = _expression(value["value"])
    return ResponseField(expression, scale, list_, _unlimited(value, expression), time)


def _unlimited(value: Mapping[Any, Any], expression: Expression) -> tuple[object, ...]:
    unlimited = value.get("unlimited", ["unlimited"])
    if not isinstance(unlimited, list) or any(isinstance(item, (list, Mapping)) for item in unlimited):
        raise ValueError("unlimited: must be a list of values, such as [unlimited, null, -1]")
    if None in unlimited and expression.path is None:
        raise ValueError(
            "unlimited: null needs a path of names alone, such as data.limit, because other expressions give null also "
            "for what is not sent"
        )
    return tuple(unlimited)


def _text_or_field(value: object) -> str | ResponseField:
    return _field(_TEXT, value) if isinstance(value, Mapping) else text(value)


def _template(value: object) -> Template:
    return Template.parse(str(value) if _is_number(value) else text(value))


def _path(value: object) -> Template:
    written = text(value)
    if not written.startswith("/") or written.startswith("//"):
        raise ValueError("must begin with one slash, as in /v1/usage")
    if "?" in written or "#" in written or not written.isascii() or " " in written:
        raise ValueError("must hold the path alone. Write what follows the `?` under `query`")
    if any(_DOTS.fullmatch(segment) for segment in written.split("/")):
        raise ValueError("must not have a part of dots alone, which leads to another path than the one that is written")
    return Template.parse(written)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _header(value: object) -> str:
    name = text(value)
    if not _HEADER.fullmatch(name):
        raise ValueError("is not the name of a header, such as x-api-key")
    if name.lower() in _NO_HEADERS:
        raise ValueError("is a header that the connection sets by itself. Leave it out")
    return name


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise ValueError('must be a text of ASCII characters, such as "Bearer "')
    if value.lower() in _SCHEMES:
        raise ValueError(f'has no space at its end, so the key would be a part of the word. Write "{value} "')
    return value


def _header_value(value: object) -> Template:
    template = _template(value)
    if not _PRINTABLE.fullmatch(str(value)):
        raise ValueError("must be a text of ASCII characters")
    return template


def _request_name(value: object) -> str:
    name = str(NAME.check(value))
    if name == "usage":
        raise ValueError("is the name of the first request, which this one would replace. Choose another name")
    return name


def _unit(value: object) -> str:
    unit = text(value)
    if len(unit) > 64:
        raise ValueError("is longer than 64 characters")
    if unit not in _CURRENCIES and unit.upper() in _CURRENCIES:
        raise ValueError(f"is money, whose code has capital letters. Write {unit.upper()}")
    return unit


def _reason(value: object) -> str:
    if not isinstance(value, str) or value not in RESPONSE_REASONS:
        raise ValueError(f"must be one of {', '.join(RESPONSE_REASONS)}")
    return value


def _status(value: object) -> int:
    written = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[1-5][0-9][0-9]", written):
        raise ValueError("must be an HTTP status, such as 420")
    return int(written)


def _refusal_status(value: object) -> int:
    status = _status(value)
    if status < 300:
        raise ValueError("is no refusal. Where a 200 may be one, `success` and `reasons` tell")
    return status


def one_of(*words: str) -> Rule:
    """Return the rule for one of some words."""

    def check(value: object) -> object:
        if value not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return value

    return Rule(" or ".join(words), check, {"enum": [*words]})


def _no_subscription(value: object) -> tuple[Expression, tuple[int, ...]]:
    if not isinstance(value, Mapping):
        return _expression(value), (404,)
    unknown = [name for name in value if name not in ("value", "statuses")]
    if unknown or "value" not in value:
        raise ValueError("must be an expression, or a block with `value` and `statuses`")
    statuses = value.get("statuses", [404])
    if not isinstance(statuses, list):
        raise ValueError("statuses: must be a list, such as [404]")
    return _expression(value["value"]), tuple(_status(status) for status in statuses)


def _any(value: object) -> object:
    return plain(value)


def plain(value: object) -> object:
    """Return a value of the configuration as plain JSON, because the library of expressions knows no other types."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


_WORDS: Mapping[str, Any] = {"type": "string", "minLength": 1}


def _schema(kind: _Kind) -> Mapping[str, Any]:
    options: Mapping[str, Any] = {
        "scale": {"type": "number"},
        "list": {"enum": [*kind.lists]},
        "unlimited": {"type": "array"},
        "time": {"enum": [*TIMES]},
    }
    block = {
        "type": "object",
        "required": ["value"],
        "additionalProperties": False,
        "properties": {"value": _WORDS, **{name: options[name] for name in kind.options}},
    }
    return {"anyOf": [_WORDS, block]}


def _field_rule(name: str, kind: _Kind) -> Rule:
    return Rule(name + " field", partial(_field, kind), _schema(kind))


EXPRESSION = Rule("expression", _expression, {**_WORDS, "maxLength": 1024})
NUMBER = _field_rule("number", _NUMBER)
RATIO = _field_rule("ratio", _RATIO)
TIME = _field_rule("time", _TIME)
TEXT_FIELD = _field_rule("text", _TEXT)
FLAG = _field_rule("flag", _FLAG)
TEXT_OR_FIELD = Rule("text or field", _text_or_field, _schema(_TEXT))
TEMPLATE = Rule("text", _template, {"type": ["string", "number"]})
HEADER_VALUE = Rule("text", _header_value, {"type": ["string", "number"]})
PATH = Rule("path", _path, {"type": "string", "pattern": "^/"})
HEADER = Rule("header name", _header, _WORDS)
PREFIX = Rule("text", _prefix, {"type": "string"})
REQUEST_NAME = Rule("name", _request_name, {**NAME.schema, "not": {"const": "usage"}})
UNIT = Rule("text", _unit, {**_WORDS, "maxLength": 64})
REASON = Rule("reason", _reason, {"enum": [*RESPONSE_REASONS]})
STATUS = Rule(
    "HTTP status", _status, {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[1-5][0-9]{2}$"}]}
)
NO_SUBSCRIPTION = Rule(
    "expression or block", _no_subscription, {"anyOf": [_WORDS, {"type": "object", "required": ["value"]}]}
)
REFUSAL_STATUS = Rule("HTTP status", _refusal_status, STATUS.schema)
JSON = Rule("JSON", _any, {})
BODY = Rule("JSON", lambda value: parse_json(plain(value)), {})
WAIT_TIME = one_of("seconds", "http-date", "unix", "unix-ms", "iso")
