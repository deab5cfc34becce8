"""The command line: flags and their environment variables, one function per subcommand, exit statuses.

0: asked to stop, or done. 1: could not go on. 2: wrong flags or configuration.
Everything heavy is imported where it is used: ``--help`` and ``check-config`` must answer at once.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from exporter import __version__
from exporter.errors import ConfigError, Problem, StartError, UsageError
from exporter.options import DEFAULT_LISTEN, Options
from exporter.runtime.logs import FORMATS, LEVELS, configure


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; its environment variable is its name in capitals behind ``VIDEO_API_EXPORTER_``."""

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
    Flag("config.file", "The configuration.", "config.yaml", metavar="FILE"),
    Flag(
        "web.listen-address",
        "Address to serve on, such as :10390, 127.0.0.1:0 or [::1]:10390. Repeatable; in the variable,"
        " separate several with commas.",
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
        "Address that serves /-/healthy and /-/ready alone, plain and open, for probes. Off by default.",
        metavar="ADDRESS",
    ),
    Flag(
        "web.allowed-hosts",
        "Names by which browsers may reach the exporter, separated by commas. Addresses always may. Repeatable."
        " Any name by default.",
        metavar="HOSTS",
        repeatable=True,
    ),
    Flag("log.level", "Least severe level to log.", "info", choices=tuple(LEVELS)),
    Flag("log.format", "Format of log lines.", "logfmt", choices=FORMATS),
    Flag(
        "shard.index",
        "Number of this shard, from 0; or the name of a StatefulSet's pod, which ends in it.",
        "0",
        metavar="N",
    ),
    Flag("shard.count", "How many shards share the accounts.", "1", metavar="N"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments; return its exit status."""
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        # prometheus_client would keep every metric in files there. That is for servers that fork, and we do not.
        os.environ.pop(name, None)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an account's name may not fit the terminal's encoding
    try:
        return _main(argv)
    except BrokenPipeError:
        return _without_output(1)
    except OSError as error:
        # What fails when standard output is written has no file name.
        return _fail(_without_output(1), f"{error.filename or 'standard output'}: {error.strerror or error}")


def _main(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace, Mapping[str, str]], int] = arguments.run
    try:
        status = run(arguments, os.environ)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _fail(2, str(error))
    except ConfigError as error:
        return _fail(2, str(error))
    except StartError as error:
        return _fail(1, str(error))
    except KeyboardInterrupt:
        return 130


def _without_output(status: int) -> int:
    """Throw away what cannot be written: the interpreter must not fail once more when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _fail(status: int, message: str) -> int:
    print(message, file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse's own passes over a failure to write.
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        message = message.replace("ignored explicit argument", "takes no value, but was given")
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="video-api-exporter",
        description="Prometheus exporter for accounts with hosted video-AI APIs (VideoDB, VidNavigator)."
        " Without a command: poll and serve until SIGTERM or SIGINT.",
        epilog="Each flag has an environment variable: --config.file is VIDEO_API_EXPORTER_CONFIG_FILE.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_flags(parser)
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, help_: str, run: Callable[[argparse.Namespace, Mapping[str, str]], int]) -> _Parser:
        added: _Parser = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    check = command("check-config", "Check the configuration and print every problem of it.", _check_config)
    poll = command("poll", "Poll accounts once and print what they answer; the way to try a key.", _poll)
    poll.add_argument("accounts", nargs="*", metavar="ACCOUNT", help="name, or provider/name; all by default")
    poll.add_argument("--output", choices=("table", "json", "prometheus"), default="table")
    schema = command("config-schema", "Print the JSON Schema of the configuration, for editors.", _config_schema)
    schema.add_argument("--web", action="store_true", help="of the web configuration")
    demo = command("demo", "Serve the metrics of simulated vendors: everything without a key.", _demo)
    demo.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second (default: 1)")
    for child, names in (
        (check, ("config.file", "web.config.file")),
        (poll, ("config.file", "log.level", "log.format")),
        (demo, ("web.", "log.")),
    ):
        _add_flags(child, names, "127.0.0.1" + DEFAULT_LISTEN if child is demo else DEFAULT_LISTEN)
    return parser


def _add_flags(
    parser: argparse.ArgumentParser, prefixes: tuple[str, ...] = ("",), listen: str = DEFAULT_LISTEN
) -> None:
    for flag in FLAGS:
        if not flag.name.startswith(prefixes):
            continue
        # No default here: a subcommand's would hide what was given before its name.
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


def _value(name: str, arguments: argparse.Namespace, environ: Mapping[str, str]) -> str | list[str] | bool:
    flag = next(flag for flag in FLAGS if flag.name == name)
    given = getattr(arguments, flag.field, None)
    if given is not None:
        return given  # type: ignore[no-any-return]  # argparse knows no types
    text = environ.get(flag.variable, "") or flag.default
    if flag.switch:
        if text.lower() not in ("", "0", "1", "true", "false", "yes", "no"):
            raise UsageError(f"{flag.variable}: {text!r} is neither true nor false")
        return text.lower() in ("1", "true", "yes")
    if flag.choices and text not in flag.choices:
        raise UsageError(f"{flag.variable}: {text!r} is none of {', '.join(flag.choices)}")
    return [part.strip() for part in text.split(",")] if flag.repeatable else text


def options(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    """Return the flags, each from the command line or else its variable; raise UsageError."""

    def text(name: str) -> str:
        return str(_value(name, arguments, environ))

    def texts(name: str) -> list[str]:
        value = _value(name, arguments, environ)
        return value if isinstance(value, list) else []

    path = text("web.telemetry-path")
    if not re.fullmatch(r"/[\w./-]*", path) or path == "/" or path.startswith(("/-/", "/api/", "/static/")):
        raise UsageError(f"--web.telemetry-path: {path!r} is no path that can be served; write one such as /metrics")

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
        enable_lifecycle=bool(_value("web.enable-lifecycle", arguments, environ)),
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
    """Read the index itself, or the name of a StatefulSet's pod, which is a name that ends in `-` and the index."""
    pod = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?-([0-9]{1,9})", text)
    index = pod[2] if pod else text
    if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= count:
        raise UsageError(f"{name}: {text!r} is not a valid shard: shards are numbered 0 to {count - 1}")
    return int(index)


def _serve(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return _run(options(arguments, environ), environ)


def _run(
    chosen: Options, environ: Mapping[str, str], announce: Callable[[Sequence[str]], None] = lambda _: None
) -> int:
    from exporter.app import serve
    from exporter.runtime.redaction import Redactor

    redactor = Redactor()
    log = configure(chosen.log_level, chosen.log_format, redactor)
    try:
        return serve(chosen, environ, redactor, log, announce)
    finally:
        log.close(1.0)


def _check_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.config.load import load
    from exporter.providers import PROVIDERS

    path = Path(str(_value("config.file", arguments, environ)))
    web = str(_value("web.config.file", arguments, environ))
    warnings: tuple[Problem, ...] = ()
    if web:
        from exporter.web.config import load as load_web_config

        warnings = load_web_config(Path(web), environ).warnings
    config = load(path, PROVIDERS, environ, strict=True)
    for warning in (*warnings, *config.warnings):
        print(f"{warning} (warning)", file=sys.stderr)
    count = len(config.accounts)
    print(f"{path}: OK, {count} account{'' if count == 1 else 's'}")
    return 0


def _config_schema(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    import json

    if arguments.web:
        from exporter.web.config_schema import json_schema as web_json_schema

        schema = web_json_schema()
    else:
        from exporter.config.load import json_schema
        from exporter.providers import PROVIDERS

        schema = json_schema(PROVIDERS)
    print(json.dumps(schema, indent=2))
    return 0


def _poll(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.poll import poll_once
    from exporter.runtime.redaction import Redactor

    redactor = Redactor()
    # Its table explains the failures: the log tells of more only where somebody asks for it.
    asked = _value("log.level", arguments, {"VIDEO_API_EXPORTER_LOG_LEVEL": "error", **environ})
    log = configure(str(asked), str(_value("log.format", arguments, environ)), redactor)
    path = Path(str(_value("config.file", arguments, environ)))
    try:
        return poll_once(path, arguments.accounts, arguments.output, environ, redactor)
    finally:
        log.close(1.0)


def _demo(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.demo.command import run_demo

    return run_demo(
        arguments.speed, options(arguments, environ), lambda chosen, announce: _run(chosen, environ, announce)
    )
