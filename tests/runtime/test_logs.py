"""A log line is short, printable and without a key, and no thread waits until it is written."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import options
from exporter.runtime import logs
from exporter.runtime.logs import Handler, LogWriter
from exporter.runtime.redaction import Redactor

PATIENT = 30.0


class Logger:
    """A logger whose lines go into a file; ``lines`` waits until they are there."""

    def __init__(self, file: Path, output: str) -> None:
        self.redactor = Redactor()
        self._file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        self._writer = LogWriter(self._descriptor)
        self._handler = Handler(self._writer, output, self.redactor)

    def log(self, message: str, *args: object, logger: str = "exporter.x", **more: object) -> None:
        record = logging.LogRecord(logger, logging.ERROR, __file__, 1, message, args, sys.exc_info())
        record.__dict__.update(more)
        self._handler.handle(record)

    def lines(self) -> list[str]:
        self._writer.close(PATIENT)
        return self._file.read_text().splitlines()

    def close(self) -> None:
        self._writer.close(PATIENT)
        os.close(self._descriptor)


@pytest.fixture(params=options.LOG_FORMATS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Logger]:
    logger = Logger(tmp_path / "log", request.param)
    yield logger
    logger.close()


def test_a_line_has_no_key_in_message_field_or_traceback(log: Logger) -> None:
    key = secrets.token_hex(16)
    log.redactor.add(key)
    try:
        raise ValueError(key)
    except ValueError:
        log.log("with %s", key, fields={"account": key})
    (line,) = log.lines()
    assert key not in line
    assert line.count("<redacted>") == 3
    if line.startswith("{"):
        assert json.loads(line)["level"] == "error"
    else:
        assert " level=error component=x " in line


def test_a_line_of_another_library_is_shortened_and_its_key_redacted_even_at_the_cut(log: Logger) -> None:
    key = secrets.token_hex(16)
    log.redactor.add(key)
    for shift in range(40):
        log.log("x" * (1960 + shift) + " " + key + " y" * 1_000_000, logger="urllib3.connection")
    for line in log.lines():
        assert len(line) < 3000
        assert not any(key[at : at + 6] in line for at in range(len(key) - 5))
        assert "characters left out)" in line


@pytest.mark.parametrize("character", ["\x9b", "\x85", "\u2028", "\u202e", "\x1b", "\r", "\n", "\x7f", "\udc80"])
def test_a_character_that_is_not_printable_is_escaped(log: Logger, character: str) -> None:
    log.log("vendor said a%sb", character)
    (line,) = log.lines()
    assert line.isprintable()
    if line.startswith("{"):
        assert json.loads(line)["msg"] == f"vendor said a{character}b"


def test_a_record_that_cannot_be_formatted_is_logged_with_the_reason(log: Logger) -> None:
    log.log("%d accounts", "seven")
    (line,) = log.lines()
    assert "log record cannot be formatted: TypeError" in line


class Pipe:
    """A pipe that is not read before ``read`` is called."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def read(self) -> Iterator[bytes]:
        with os.fdopen(self.reader, "rb") as stream:
            yield from stream


@pytest.fixture(params=["blocking", "not blocking"])
def pipe(request: pytest.FixtureRequest) -> Pipe:
    pipe = Pipe()
    os.set_blocking(pipe.writer, request.param == "blocking")
    return pipe


def test_logging_into_a_full_pipe_does_not_wait_and_dropped_lines_are_counted(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)
    line, sent = "x" * 999, 3000
    for _ in range(sent):  # 3 MB; a pipe takes 64 KiB
        writer.write(line)
    dropped = writer.dropped
    assert 1000 < dropped < sent
    closing = threading.Thread(target=writer.close, args=(PATIENT,))
    closing.start()
    read = 0
    lines = pipe.read()
    while read < sent - dropped:
        assert next(lines) == line.encode() + b"\n"
        read += 1
    closing.join(PATIENT)
    assert not closing.is_alive()
    os.close(pipe.writer)


def test_closing_a_writer_whose_pipe_is_full_ends_after_its_timeout() -> None:
    pipe = Pipe()
    writer = LogWriter(pipe.writer)
    for _ in range(3000):
        writer.write("x" * 999)
    writer.close(0.01)
    assert writer.dropped > 0
    os.close(pipe.reader)  # the writer's thread ends with an error of the pipe


def test_lines_for_a_closed_pipe_are_dropped_and_counted() -> None:
    pipe = Pipe()
    os.close(pipe.reader)
    writer = LogWriter(pipe.writer)
    writer.write("x")
    writer.close(PATIENT)
    assert writer.dropped == 1
    os.close(pipe.writer)


@pytest.mark.parametrize("library", ["asyncio", "psycopg", "urllib3"])
def test_warnings_of_libraries_that_clients_or_vendors_can_cause_are_not_logged(library: str) -> None:
    program = f"""
import logging
from exporter.runtime.logs import configure
from exporter.runtime.redaction import Redactor

writer = configure("debug", "logfmt", Redactor())
logging.getLogger("{library}").warning("one of many")
logging.getLogger("{library}").error("a mistake")
writer.close(30)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "a mistake" in done.stderr
    assert "one of many" not in done.stderr


def test_every_level_of_the_flag_can_be_configured() -> None:
    assert tuple(logs.LEVELS) == options.LOG_LEVELS
