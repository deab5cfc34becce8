"""Texts with variables of the account and dates, as in ``/v1/projects/{project_id}`` and ``{now-30d}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_PIECE = re.compile(r"\{([^{}]*)\}|[^{}]+|[{}]")
_DATE = re.compile(r"(now|month_start)(?:-([0-9]{1,4})([mhd]))?(?::(unix|unix-ms|iso))?")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = frozenset({"now", "month_start", "key", "api_key"})


@dataclass(frozen=True, slots=True)
class _Date:
    base: str
    before: int
    form: str

    def at(self, now: float) -> str:
        moment = datetime.fromtimestamp(now, timezone.utc).replace(microsecond=0)
        if self.base == "month_start":
            moment = moment.replace(day=1, hour=0, minute=0, second=0)
        moment -= timedelta(seconds=self.before)
        if self.form == "iso":
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        seconds = int(moment.timestamp())
        return {"unix": str(seconds), "unix-ms": str(seconds * 1000)}.get(self.form) or moment.strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose braces are filled for each request."""

    pieces: tuple[str | _Variable | _Date, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raise ValueError with what is wrong and what would be right."""
        return cls(tuple(_pieces(text)))

    @property
    def variables(self) -> frozenset[str]:
        """Return the names of the variables in it."""
        return frozenset(piece.name for piece in self.pieces if isinstance(piece, _Variable))

    @property
    def is_unix_time(self) -> bool:
        """Return whether it is one Unix time and nothing else."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0], _Date) and self.pieces[0].form.startswith("unix")

    def filled(self, variables: Mapping[str, str], now: float, written: Callable[[str], str] = str) -> str:
        """Return the text with its variables, each as ``written`` writes it."""
        texts: list[str] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                texts.append(piece)
            elif isinstance(piece, _Variable):
                texts.append(written(variables[piece.name]))
            else:
                texts.append(written(piece.at(now)))
        return "".join(texts)


def _pieces(text: str) -> Iterator[str | _Variable | _Date]:
    for match in _PIECE.finditer(text):
        name = match[1]
        if name is None:
            if match[0] in "{}":
                raise ValueError("has a brace without its partner. Write a variable as {project_id}")
            yield match[0]
        elif date := _DATE.fullmatch(name):
            yield _Date(date[1], int(date[2] or 0) * _SECONDS.get(date[3] or "m", 0), date[4] or "date")
        elif name in RESERVED:
            raise ValueError("must not hold the key. Say under `auth` how the key is sent")
        elif VARIABLE.fullmatch(name):
            yield _Variable(name)
        else:
            raise ValueError("has braces with neither a variable, as {project_id}, nor a date, as {now-30d:unix}")


def parse_json(value: object) -> object:
    """Return a JSON body whose texts are templates. Raise ValueError."""
    if isinstance(value, str):
        return Template.parse(value)
    if isinstance(value, Mapping):
        return {str(name): parse_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [parse_json(item) for item in value]
    return value


def variables_of(body: object) -> frozenset[str]:
    """Return the names of the variables in a JSON body."""
    if isinstance(body, Template):
        return body.variables
    items = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return frozenset().union(*map(variables_of, items))


def filled_json(body: object, variables: Mapping[str, str], now: float) -> object:
    """Return a JSON body with its variables and dates. A Unix time that is a whole text becomes a number."""
    if isinstance(body, Template):
        text = body.filled(variables, now)
        return int(text) if body.is_unix_time else text
    if isinstance(body, dict):
        return {name: filled_json(item, variables, now) for name, item in body.items()}
    if isinstance(body, list):
        return [filled_json(item, variables, now) for item in body]
    return body
