"""Log lines as Prometheus' own programs write them, logfmt or JSON, with every key blanked.

One thread writes them, so a log call never waits. When standard error takes no more, lines are dropped and counted.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import select
import threading
from collections.abc import Mapping
from datetime import datetime, timezone

from exporter.runtime.redaction import Redactor, escape

logger = logging.getLogger(__name__)

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

_MAX_CHARACTERS = 2000
"""Characters of a message or field that are logged."""
_MAX_TRACE_CHARACTERS = 20_000
_MAX_WAITING_LINES = 1000
"""Lines that wait for the writer at most."""
_STDERR = 2

_BARE = re.compile(r"[^\s\"=\\]+")
_NAMES = {"WARNING": "warn", "CRITICAL": "error"}


class LogWriter:
    """Writes lines to a file descriptor in a thread of its own, which starts at the first line."""

    def __init__(self, descriptor: int = _STDERR) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(_MAX_WAITING_LINES)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Hand a line to the writer, or drop and count it if too many wait. Never block."""
        with self._lock:
            if self._thread is None:
                # A daemon thread, because a reader that never reads must not keep the program from ending.
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            try:
                self._lines.put_nowait(line.encode("utf-8", "backslashreplace") + b"\n")
            except queue.Full:
                self.dropped += 1

    def close(self, timeout: float) -> None:
        """Wait until the lines so far are written, at most ``timeout`` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            try:
                self._lines.put(None, timeout=timeout)
            except queue.Full:
                return
            thread.join(timeout)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._write_whole(line)
            except OSError:
                with self._lock:
                    self.dropped += 1

    def _write_whole(self, line: bytes) -> None:
        # Not through sys.stderr, because a thread that waits for the reader would hold its lock for ever.
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])


class Handler(logging.Handler):
    """Gives each record as one line to a writer."""

    def __init__(self, writer: LogWriter, output: str, redactor: Redactor) -> None:
        super().__init__()
        self._writer = writer
        self._output = output
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record on as a line. A record that cannot be formatted becomes a line that says so."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  a log call must never fail its caller
            record.msg, record.args = f"log record cannot be formatted: {type(error).__name__}", None
            record.exc_info, record.fields = None, {}
            line = self.format(record)
        self._writer.write(line)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line. Every text in it is cut, redacted and printable, from any library."""
        values = {
            "ts": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": _NAMES.get(record.levelname, record.levelname.lower()),
            "component": _component(record.name),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        clean = {name: self._clean(str(value), _MAX_CHARACTERS) for name, value in values.items()}
        if record.exc_info:
            clean["trace"] = self._clean(logging.Formatter().formatException(record.exc_info), _MAX_TRACE_CHARACTERS)
        if self._output == "json":
            return escape(json.dumps(clean, ensure_ascii=False))
        return " ".join(f"{name}={_quoted(value)}" for name, value in clean.items())

    def _clean(self, text: str, limit: int) -> str:
        left_out = len(text) - limit
        clean = self._redactor.redact(text, limit)
        return clean if left_out <= 0 else f"{clean}... ({left_out} characters left out)"


def _component(name: str) -> str:
    """Return the name of the module alone for our loggers, so that a move between packages breaks no log query."""
    return name.rpartition(".")[2] if name.startswith("exporter.") else name


def _quoted(value: str) -> str:
    if value.isprintable() and _BARE.fullmatch(value):
        return value
    return escape(json.dumps(value, ensure_ascii=False))


def configure(level: str, output: str, redactor: Redactor) -> LogWriter:
    """Send all logging to standard error, at ``level`` and above, one line an event; close the writer at the end."""
    writer = LogWriter()
    root = logging.getLogger()
    root.handlers[:] = [Handler(writer, output, redactor)]
    root.setLevel(LEVELS[level])
    # Otherwise Python writes these to standard error by itself, where they may wait for the reader or show a key.
    logging.captureWarnings(True)
    threading.excepthook = _log_exception_of_thread
    # Its debug and info lines are about its jobs, one or more for each poll, and tell an operator nothing.
    logging.getLogger("apscheduler").setLevel(max(LEVELS[level], logging.WARNING))
    # urllib3's warnings quote the response at length, and the failed poll says the same in a sentence. asyncio warns of
    # each piece of a response that is written for a client that has left.
    # psycopg's are about its transactions and pipelines, and the state tells what failed.
    for noisy in ("urllib3", "asyncio", "psycopg"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return writer


def _log_exception_of_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is not None:
        logger.error("unexpected exception in a thread", exc_info=raised.exc_value)


def fields(**values: object) -> Mapping[str, Mapping[str, object]]:
    """Return the argument ``extra`` of a log call, with fields beside the message."""
    return {"fields": values}
