"""Log lines as Prometheus' own programs write them, logfmt or JSON, with every key blanked."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

from exporter.runtime.redaction import Redactor

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
FORMATS = ("logfmt", "json")

_BARE = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")
_NAMES = {"WARNING": "warn", "CRITICAL": "error"}


class _Formatter(logging.Formatter):
    def __init__(self, output: str, redactor: Redactor) -> None:
        super().__init__()
        self._output = output
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "ts": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": _NAMES.get(record.levelname, record.levelname.lower()),
            "component": _component(record.name),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        clean = {name: self._redactor.redact(str(value)) for name, value in fields.items()}
        if self._output == "json":
            return json.dumps(clean, ensure_ascii=False)
        return " ".join(f"{name}={_quoted(value)}" for name, value in clean.items())


def _component(name: str) -> str:
    """Return the module alone for our loggers, so that a move between packages breaks no log query."""
    return name.rpartition(".")[2] if name.startswith("exporter.") else name


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def configure(level: str, output: str, redactor: Redactor) -> None:
    """Send all logging to standard error, at ``level`` and above, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(output, redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    # Their debug and info lines tell of connections and jobs, one or more a poll, and nothing an operator asks for.
    for noisy in ("apscheduler", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(max(LEVELS[level], logging.WARNING))


def fields(**values: object) -> Mapping[str, Mapping[str, object]]:
    """Return ``extra`` for a log call: fields that stand beside the message."""
    return {"fields": values}
