"""Rules for single values of the configuration, each as a check and as JSON Schema.

A check returns the value as the program uses it, or raises ValueError with the message for the user. The message does
not repeat the value, which may be a key. A check knows only that value. ``load`` checks values against each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic_core import core_schema

from exporter.config.credentials import KEY_FIELDS, key_problem
from exporter.config.durations import parse_duration
from exporter.config.hosts import is_host
from exporter.config.thresholds import Level
from exporter.providers import templates
from exporter.state.source import url_problem

TAKEN_LABELS = (
    *("provider", "account", "operation", "unit", "period", "resource", "severity", "reason", "status"),
    *("currency", "quota", "plan_id", "plan_name", "interval", "job", "instance", "namespace", "pod", "container"),
    *("service", "endpoint", "node", "cluster", "alertname", "le", "quantile"),
)
"""Label names that the metrics, Prometheus or its operator set."""

_MAX_CHARACTERS = 256
_MAX_DURATION_SECONDS = 365 * 86_400.0  # far below the overflow of timers and dates in libraries
_MAX_KEPT_SECONDS = 10 * 365 * 86_400.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LOOPBACK = re.compile(r"127(\.[0-9]{1,3}){3}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,9})?")


def text(value: object) -> str:
    """Return a text that is not empty and has no control characters."""
    if isinstance(value, str):
        if not value:
            raise ValueError("is empty")
        if _CONTROL.search(value):
            raise ValueError("has a line break or another control character")
        return value
    if value is None:
        raise ValueError("is empty. Write a value, or leave the key out")
    if isinstance(value, bool):
        raise ValueError("YAML reads this as true or false. Put it in quotes")
    if isinstance(value, (int, float)):
        raise ValueError("YAML reads this as a number. Put it in quotes")
    raise ValueError(f"must be a text, not {kind(value)}")


def kind(value: object) -> str:
    """Return what a YAML value is, in words."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "nothing" if value is None else "a text"


def _name(value: object) -> str:
    name = text(value)
    if name != name.strip():
        raise ValueError("begins or ends with a space")
    if name in (".", ".."):
        raise ValueError(
            "must not be one or two dots, because browsers take these for a folder in the address of a page"
        )
    return _label_value(name)


def _duration(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError("must have a unit. Write a duration such as 30s, 5m or 1h30m")
    seconds = parse_duration(text(value))
    if seconds == 0:
        raise ValueError("must be longer than 0")
    if seconds > _MAX_DURATION_SECONDS:
        raise ValueError("must be at most 1y")
    return seconds


def _kept(value: object) -> float:
    if value == "0" or (value == 0 and not isinstance(value, bool)):
        return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"must have a unit. Write {value:g}d for days, or 0 to keep none")
    seconds = parse_duration(text(value))
    if seconds > _MAX_KEPT_SECONDS:
        raise ValueError("must be at most 10y")
    return seconds


def _interval(value: object) -> float:
    seconds = _duration(value)
    if seconds < 10:
        raise ValueError("must be at least 10s")
    return seconds


def _number(value: object) -> float:
    """Return a finite number. A text with a number is accepted, because ``${NAME}`` always gives a text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("must be a number")
    return float(value)


def _count(value: object) -> int:
    try:
        number = _number(value)
    except ValueError:
        number = 0.5
    if number != int(number) or not 1 <= number <= 1e9:
        raise ValueError("must be a whole number of at least 1")
    return int(number)


def _above_zero(value: object, meaning: str) -> float:
    try:
        number = _number(value)
    except ValueError:
        number = 0.0
    if number <= 0:
        raise ValueError(f"must be a number above 0, {meaning}")
    return number


def _rate(value: object) -> float:
    return _above_zero(value, "the number of units that one credit buys")


def _amount(value: object) -> float:
    return _above_zero(value, "such as 0.10")


def _currency(value: object) -> str:
    code = text(value)
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise ValueError("must be an ISO 4217 code of three capital letters, such as USD")
    return code


def _level(value: object) -> Level:
    share = isinstance(value, str) and value.endswith("%")
    try:
        number = _number(value[:-1] if share and isinstance(value, str) else value)
    except ValueError:
        number = -1.0
    if number < 0:
        raise ValueError("must be 0 or more credits, such as 100, or a share of the monthly limit, such as 20%")
    return Level(round(number / 100, 12), share=True) if share else Level(number)


def _ratio(value: object) -> Level:
    try:
        number = _number(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError("must be a ratio of the limit from 0 to 1, such as 0.8")
    return Level(number, share=True)


def _label_name(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
        raise ValueError("is not a valid label name. Use letters, digits and underscores, and no digit first")
    if name.startswith("__"):
        raise ValueError("is not allowed, because Prometheus reserves label names that begin with two underscores")
    if name in TAKEN_LABELS:
        raise ValueError(f"is used by the metrics or by Prometheus. Choose another name, such as my_{name}")
    if len(name) > _MAX_CHARACTERS:
        raise ValueError(f"is longer than {_MAX_CHARACTERS} characters")
    return name


def _label_value(value: object) -> str:
    if value == "":
        return ""
    result = text(value)
    if _DIRECTION.search(result):
        # It would reverse what stands around it on pages and in terminals.
        raise ValueError("has a character that turns the direction of text, such as U+202E. Leave it out")
    if len(result) > _MAX_CHARACTERS:
        raise ValueError(f"is longer than {_MAX_CHARACTERS} characters")
    return result


def _variable(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("must be the name of an environment variable (not the key itself), such as VIDEODB_API_KEY")
    return name


def _variable_name(value: object) -> str:
    name = text(value)
    if not templates.VARIABLE.fullmatch(name) or name in templates.RESERVED:
        raise ValueError(
            f"must be a name of small letters, digits and underscores, such as project_id, and none of "
            f"{', '.join(sorted(templates.RESERVED))}"
        )
    return name


def _key(value: object) -> str:
    if not isinstance(value, str):
        text(value)
    wrong = key_problem(str(value))
    if wrong:
        raise ValueError(wrong)
    return str(value)


def _url(value: object) -> str:
    return _normal_url(text(value))


@lru_cache  # thousands of accounts have the same few
def _normal_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL. Write one like https://api.example.com/v1") from None
    name = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not is_host(name) or not url.isascii() or " " in url:
        raise ValueError("must be an http or https URL with a host, such as https://api.example.com/v1")
    if "@" in parts.netloc:
        raise ValueError("must not have a user name or password. Give the key with one of " + ", ".join(KEY_FIELDS))
    if "?" in url or "#" in url:
        raise ValueError("must end with the path. Leave out everything from `?` or `#` on")
    host = f"[{name}]" if ":" in name else name
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        host += f":{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _state_variable(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("must be the name of an environment variable that holds the connection string")
    return name


def _state_url(value: object) -> str:
    if (wrong := url_problem(text(value))) is not None:
        raise ValueError(wrong)
    return str(value)


@dataclass(frozen=True)
class Rule:
    """A rule for a value, in words, as a check that converts the value, and as JSON Schema."""

    words: str
    check: Callable[[object], object]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        return dict(self.schema)


def rule_of(model: type[BaseModel], name: str) -> Rule:
    """Return the rule for the value of a key."""
    return next(rule for rule in model.model_fields[name].metadata if isinstance(rule, Rule))


def _number_or_text(pattern: str, **number: Any) -> dict[str, Any]:
    # Allow a text too, because ``${NAME}`` is a text until the environment has replaced it.
    return {"anyOf": [{"type": "number", **number}, {"type": "string", "pattern": rf"^({pattern})$|\$\{{"}]}


_DURATION = {
    "type": "string",
    "pattern": r"^(?=.)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$|\$\{",
}
_TEXT = {"type": "string", "minLength": 1}

NAME = Rule("text", _name, {**_TEXT, "maxLength": _MAX_CHARACTERS})
TEXT = Rule("text", text, _TEXT)
DURATION = Rule("duration", _duration, _DURATION)
KEPT = Rule("duration or 0", _kept, {"anyOf": [{"const": 0}, _DURATION]})
INTERVAL = Rule("duration", _interval, _DURATION)
COUNT = Rule("whole number", _count, _number_or_text(r"\d+", multipleOf=1, minimum=1))
RATE = Rule("number", _rate, _number_or_text(r"[\d.]+([eE][-+]?\d+)?", exclusiveMinimum=0))
AMOUNT = Rule("number", _amount, _number_or_text(r"[\d.]+([eE][-+]?\d+)?", exclusiveMinimum=0))
CURRENCY = Rule("currency", _currency, {"type": "string", "pattern": r"^[A-Z]{3}$|\$\{"})
CREDITS = Rule("number or percentage", _level, _number_or_text(r"[\d.]+([eE][-+]?\d+)?%?", minimum=0))
RATIO = Rule("number from 0 to 1", _ratio, _number_or_text(r"[\d.]+", minimum=0, maximum=1))
LABEL_NAME = Rule("label name", _label_name, _TEXT)
LABEL_VALUE = Rule("text", _label_value, {"type": "string", "maxLength": _MAX_CHARACTERS})
VARIABLE = Rule("variable name", _variable, _TEXT)
VARIABLE_NAME = Rule("variable name", _variable_name, {"type": "string", "pattern": f"^{templates.VARIABLE.pattern}$"})
KEY = Rule("text", _key, _TEXT)
STATE_URL = Rule("connection string", _state_url, _TEXT)
STATE_VARIABLE = Rule("variable name", _state_variable, _TEXT)
URL = Rule("URL", _url, {"type": "string", "pattern": r"^https?://|\$\{"})


@lru_cache
def is_loopback(url: str) -> bool:
    """Return whether the host of a URL is this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.endswith(".localhost") or bool(_LOOPBACK.fullmatch(host))
