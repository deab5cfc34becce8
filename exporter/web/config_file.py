"""Follows changes of the web configuration, off the thread that serves.

A file on a mount that hangs blocks every call that touches it. So only the thread of this module looks at files. The
serving thread takes what was read last.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import ConfigError, Problem
from exporter.web.config import Stamp, WebConfig, read, stamp

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Time between two looks at the files."""


class WebConfigFile:
    """The file as it was read last. What it said before stays in force while it is wrong."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """Read the file for the first time; raises ConfigError."""
        self._path = path
        self._environ = environ
        reading = read(path, environ)
        self._config = reading.result()
        self._read: Mapping[Path, Stamp | None] = reading.stamps
        self._seen = self._read
        self._stopping = threading.Event()
        _log_warnings(self._config)

    def current(self) -> WebConfig:
        """Return what the file said when it was read last. Never waits."""
        return self._config

    def follow(self) -> None:
        """Begin to look for changes every second, in a thread of its own."""
        # A daemon that nobody joins, because a look that hangs must not keep the process from stopping.
        threading.Thread(target=self._follow, name="web-config", daemon=True).start()

    def stop(self) -> None:
        """Look no more. Does not wait for a look that is under way."""
        self._stopping.set()

    def look(self) -> None:
        """Read the file again if it, or a file that it names, has changed and is as it was at the last look."""
        seen = {file: stamp(file) for file in self._read}
        # A file that is still being written could lack its users, and that would admit everybody.
        is_being_written, self._seen = seen != self._seen, seen
        if seen != self._read and not is_being_written:
            self._reload()

    def _follow(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                logger.exception("looking for changes of %s failed", self._path)

    def _reload(self) -> None:
        reading = read(self._path, self._environ)
        self._read = self._seen = reading.stamps
        try:
            config = reading.result()
            if (config.tls is None) is not (self._config.tls is None):
                message = "TLS is switched on or off by a restart alone"
                raise ConfigError([Problem(str(self._path), None, "tls_server_config", message)])
        except ConfigError as error:
            for problem in error.problems:
                logger.error("%s; what was read before stays in force", problem)
            return
        logger.info("%s was read again", self._path)
        _log_warnings(config)
        self._config = config


def _log_warnings(config: WebConfig) -> None:
    for warning in config.warnings:
        logger.warning("%s", warning)
