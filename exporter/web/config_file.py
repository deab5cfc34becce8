"""Follows changes of the web configuration in a thread of its own.

A file on a mount that hangs blocks every call that touches it. Therefore the serving thread never looks at a file and
uses what was read last.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import ConfigError, Problem
from exporter.web.config import Stamp, read, stamp
from exporter.web.settings import WebConfig

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Time between two looks at the files."""


class WebConfigFile:
    """The web configuration as it was read last. A wrong file changes nothing."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """Read the file for the first time. Raises ConfigError."""
        self._path = path
        self._environ = environ
        reading = read(path, environ)
        self._config = reading.result()
        self._read: Mapping[Path, Stamp | None] = reading.stamps
        self._seen = self._read
        self._stopping = threading.Event()
        _log_warnings(self._config)

    def current(self) -> WebConfig:
        """Return what was read last, without waiting."""
        return self._config

    def follow(self) -> None:
        """Start the thread that looks for changes every second."""
        # A daemon thread that is never joined, because a look that hangs must not keep the process from stopping.
        threading.Thread(target=self._follow, name="web-config", daemon=True).start()

    def stop(self) -> None:
        """End the thread after the look that is under way, without waiting for it."""
        self._stopping.set()

    def look(self) -> None:
        """Read all files again if one has changed and none has changed since the last look."""
        seen = {file: stamp(file) for file in self._read}
        # Do not read a file that is still being written. It could lack its users, which disables authentication.
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
                message = "only a restart switches TLS on or off"
                raise ConfigError([Problem(str(self._path), None, "tls_server_config", message)])
        except ConfigError as error:
            for problem in error.problems:
                logger.error("%s. What was read before stays in force", problem)
            return
        logger.info("%s was read again", self._path)
        _log_warnings(config)
        self._config = config


def _log_warnings(config: WebConfig) -> None:
    for warning in config.warnings:
        logger.warning("%s", warning)
