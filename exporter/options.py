"""What the command line and its environment variables say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_LISTEN = ":10390"
LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_FORMATS = ("logfmt", "json")


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the daemon, checked."""

    config_file: Path
    listen_addresses: tuple[str, ...] = (DEFAULT_LISTEN,)
    telemetry_path: str = "/metrics"
    web_config_file: Path | None = None
    enable_lifecycle: bool = False
    health_address: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    log_level: str = "info"
    log_format: str = "logfmt"
    shard_index: int = 0
    shard_count: int = 1
