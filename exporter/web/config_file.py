"""Follows changes of the web configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import ConfigError, Problem
from exporter.web.config import WebConfig, read, stamp

logger = logging.getLogger(__name__)


class WebConfigFile:
    """The file as it is now. What it said before stays in force while it is wrong."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """Read the file for the first time; raises ConfigError."""
        self._path = path
        self._environ = environ
        reading = read(path, environ)
        self._config = reading.result()
        self._stamps = reading.stamps
        _log_warnings(self._config)

    def current(self) -> WebConfig:
        """Return what the file says, read again if it or a file that it names has changed."""
        if any(stamp(file) != before for file, before in self._stamps.items()):
            self._reload()
        return self._config

    def _reload(self) -> None:
        reading = read(self._path, self._environ)
        self._stamps = reading.stamps
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
