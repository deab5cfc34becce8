"""Flags and their environment variables, and the options that they make together."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import UsageError
from exporter.options import DEFAULT_LISTEN, LOG_FORMATS, LOG_LEVELS, Options


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. Its environment variable is ``VIDEO_API_EXPORTER_`` and its name in capitals."""

    name: str
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    metavar: str = ""
    switch: bool = False
    repeatable: bool = False

    @property
    def variable(self) -> str:
        """Return the environment variable that stands in for the flag."""
        return "VIDEO_API_EXPORTER_" + self.name.upper().replace(".", "_").replace("-", "_")

    @property
    def field(self) -> str:
        """Return the name of the parsed value."""
        return self.name.replace(".", "_").replace("-", "_")


FLAGS: tuple[Flag, ...] = (
    Flag("config.file", "The configuration file.", "config.yaml", metavar="FILE"),
    Flag(
        "web.listen-address",
        "Address to serve on, such as :10390, 127.0.0.1:0 or [::1]:10390. Repeatable. In the variable,"
        " separate addresses with commas.",
        DEFAULT_LISTEN,
        metavar="ADDRESS",
        repeatable=True,
    ),
    Flag("web.telemetry-path", "Path of the metrics.", "/metrics", metavar="PATH"),
    Flag(
        "web.config.file",
        "TLS, passwords and headers, in the format of Prometheus' exporter-toolkit.",
        metavar="FILE",
    ),
    Flag("web.enable-lifecycle", "Allow POST /-/reload.", switch=True),
    Flag(
        "web.health-address",
        "Address that serves only /-/healthy and /-/ready, without TLS or passwords, for probes. Off by default.",
        metavar="ADDRESS",
    ),
    Flag(
        "web.allowed-hosts",
        "Names by which browsers may reach the exporter, separated by commas. Addresses always may. Repeatable."
        " Any name by default.",
        metavar="HOSTS",
        repeatable=True,
    ),
    Flag("log.level", "Least severe level to log.", "info", choices=LOG_LEVELS),
    Flag("log.format", "Format of log lines.", "logfmt", choices=LOG_FORMATS),
    Flag(
        "shard.index",
        "Number of this shard, from 0, or the name of a StatefulSet's pod, which ends in the number.",
        "0",
        metavar="N",
    ),
    Flag("shard.count", "Number of shards that share the accounts.", "1", metavar="N"),
)


def add_flags(parser: argparse.ArgumentParser, prefixes: tuple[str, ...] = ("",), listen: str = DEFAULT_LISTEN) -> None:
    """Add the flags whose names begin with one of these. ``listen`` is the default to show for the addresses."""
    for flag in FLAGS:
        if not flag.name.startswith(prefixes):
            continue
        # No default here, because the default of a subcommand would hide a flag that was given before its name.
        default = f" (default: {listen if flag.default == DEFAULT_LISTEN else flag.default})" if flag.default else ""
        if flag.switch:
            parser.add_argument(
                "--" + flag.name,
                dest=flag.field,
                action="store_true",
                default=argparse.SUPPRESS,
                help=flag.help,
            )
        else:
            parser.add_argument(
                "--" + flag.name,
                dest=flag.field,
                action="append" if flag.repeatable else "store",
                choices=flag.choices or None,
                metavar=flag.metavar or None,
                default=argparse.SUPPRESS,
                help=flag.help + default,
            )


def value(name: str, arguments: argparse.Namespace, environ: Mapping[str, str]) -> str | list[str] | bool:
    """Return a flag's value from the command line, or else from its variable. Raises UsageError."""
    flag = next(flag for flag in FLAGS if flag.name == name)
    given = getattr(arguments, flag.field, None)
    if given is not None:
        return given  # type: ignore[no-any-return]  # argparse knows no types
    text = environ.get(flag.variable, "") or flag.default
    if flag.switch:
        if text.lower() not in ("", "0", "1", "true", "false", "yes", "no"):
            raise UsageError(f"{flag.variable}: must be true or false, not {text!r}")
        return text.lower() in ("1", "true", "yes")
    if flag.choices and text not in flag.choices:
        raise UsageError(f"{flag.variable}: must be one of {', '.join(flag.choices)}, not {text!r}")
    return [part.strip() for part in text.split(",")] if flag.repeatable else text


def options(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    """Return the options from the command line and the environment variables. Raises UsageError."""

    def text(name: str) -> str:
        return str(value(name, arguments, environ))

    def texts(name: str) -> list[str]:
        given = value(name, arguments, environ)
        return given if isinstance(given, list) else []

    path = text("web.telemetry-path")
    if (
        not re.fullmatch(r"/[\w./-]*", path)
        or path == "/"
        or path.startswith(("/-/", "/accounts/", "/api/", "/static/"))
    ):
        raise UsageError(f"--web.telemetry-path: {path!r} is not a path that can be served. Write one such as /metrics")

    def origin(name: str) -> str:
        flag = next(flag for flag in FLAGS if flag.name == name)
        given = getattr(arguments, flag.field, None) is not None
        return f"--{name}" if given or not environ.get(flag.variable) else flag.variable

    count = _whole_number(origin("shard.count"), text("shard.count"), least=1)
    index = _shard_index(origin("shard.index"), text("shard.index"), count)
    hosts = texts("web.allowed-hosts")
    web_config, health = text("web.config.file"), text("web.health-address")
    return Options(
        config_file=Path(text("config.file")),
        listen_addresses=tuple(texts("web.listen-address")),
        telemetry_path=path,
        web_config_file=Path(web_config) if web_config else None,
        enable_lifecycle=bool(value("web.enable-lifecycle", arguments, environ)),
        health_address=health or None,
        allowed_hosts=tuple(host.strip() for part in hosts for host in part.split(",") if host.strip()),
        log_level=text("log.level"),
        log_format=text("log.format"),
        shard_index=index,
        shard_count=count,
    )


def _whole_number(name: str, text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise UsageError(f"{name}: {text!r} is not a whole number of at least {least}")
    return int(text)


def _shard_index(name: str, text: str, count: int) -> int:
    """Read the index, or the name of a StatefulSet's pod, which ends in `-` and the index."""
    pod = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?-([0-9]{1,9})", text)
    index = pod[2] if pod else text
    if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= count:
        raise UsageError(f"{name}: {text!r} is not a valid shard: shards are numbered 0 to {count - 1}")
    return int(index)
