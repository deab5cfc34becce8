"""The commands of the program, with a function for each, and their exit statuses.

0 means stopped on request or done, 1 that the program could not go on, 2 that flags or configuration are wrong.
Slow imports are inside functions, because ``--help`` and ``check-config`` must answer at once.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from exporter import __version__
from exporter.errors import ConfigError, Problem, StartError, UsageError
from exporter.flags import FLAGS, add_flags, options, value
from exporter.options import DEFAULT_LISTEN, Options
from exporter.runtime import signals
from exporter.runtime.files import reason
from exporter.runtime.output import OutputError, tell, write

if TYPE_CHECKING:
    from exporter.runtime.redaction import Redactor


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments ask for. Return the exit status."""
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        # prometheus_client would keep every metric in files there. That is for servers that fork, which this is not.
        os.environ.pop(name, None)
    # pydantic would search all installed packages for plugins, which would see every key.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an account's name may not fit the terminal's encoding
    try:
        arguments = _parser().parse_args(argv)
        if not arguments.daemon:
            signals.release()
        chosen: Callable[[argparse.Namespace, Mapping[str, str]], int] = arguments.run
        return chosen(arguments, os.environ)
    except (UsageError, ConfigError) as error:
        return _fail(2, str(error))
    except StartError as error:
        return _fail(1, str(error))
    except KeyboardInterrupt:
        return 130
    except OutputError as error:
        return _without_output(error)
    except OSError as error:
        return _fail(1, f"cannot go on: {f'{error.filename}: ' if error.filename else ''}{reason(error)}")


def _without_output(error: OutputError) -> int:
    # The interpreter must not fail again when it flushes standard output at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.is_unread:
        return 1
    return _fail(1, str(error))


def _fail(status: int, message: str) -> int:
    tell(message)
    return status


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse's own method ignores a failure to write. A reader that does not read must not hold the signals.
        signals.release()
        if file is sys.stdout:
            write(message)
        else:
            tell(message.rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        # No word of the command line is repeated, because a key may stand in the wrong place.
        message = re.sub(r"ignored explicit argument .*", "takes no value", message)
        message = re.sub(r"(invalid (?:choice|\w+ value)): .*?(?= \(choose from|$)", r"\1", message, flags=re.DOTALL)
        kind, _, words = message.partition(": ")
        if kind == "unrecognized arguments":
            known = ["--" + flag.name for flag in FLAGS]
            meant = [name for word in words.split() for name in get_close_matches(word.partition("=")[0], known, 1)]
            message = "an argument is not known" + (f"; did you mean {meant[0]}?" if meant else "")
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="video-api-exporter",
        description="Prometheus exporter for the credits and use of accounts with hosted video-AI APIs."
        " Without a command it polls and serves until SIGTERM or SIGINT.",
        epilog="Each flag has an environment variable, such as VIDEO_API_EXPORTER_CONFIG_FILE for --config.file.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_flags(parser)
    parser.set_defaults(run=_serve, daemon=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, help_: str, run: Callable[[argparse.Namespace, Mapping[str, str]], int]) -> _Parser:
        added: _Parser = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        added.set_defaults(run=run, daemon=run is _demo)
        return added

    check = command("check-config", "Check the configuration and print every mistake in it.", _check_config)
    poll = command("poll", "Poll accounts once and print the result, to try a key.", _poll)
    poll.add_argument("accounts", nargs="*", metavar="ACCOUNT", help="name or provider/name (default: all accounts)")
    poll.add_argument("--output", choices=("table", "json", "prometheus"), default="table")
    schema = command("config-schema", "Print the JSON Schema of the configuration, for editors.", _config_schema)
    schema.add_argument("--web", action="store_true", help="print the schema of the web configuration")
    providers = command("providers", "List the providers, or print the definition of one as YAML.", _providers)
    providers.add_argument("name", nargs="?", metavar="NAME", help="the provider to print (default: list all)")
    tried = command(
        "try-provider", "Show what each field of a recorded response becomes. Sends nothing.", _try_provider
    )
    _add_responses(tried)
    report = command("report", "Print what was spent in a span of days, from the history in the state.", _report)
    _add_span(report)
    demo = command("demo", "Serve the metrics of simulated vendors, without a key.", _demo)
    demo.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second (default: 1)")
    _add_copy(command("state", "Copy what the exporter keeps over a restart.", _copy_state))
    for child, names in (
        (check, ("config.file", "web.config.file")),
        (poll, ("config.file", "log.level", "log.format")),
        (providers, ("config.file",)),
        (tried, ("config.file",)),
        (report, ("config.file", "log.level", "log.format")),
        (demo, ("web.", "log.")),
    ):
        add_flags(child, names, "127.0.0.1" + DEFAULT_LISTEN if child is demo else DEFAULT_LISTEN)
    return parser


def _add_responses(tried: argparse.ArgumentParser) -> None:
    tried.add_argument("name", metavar="NAME", help="a preset, or a provider of the configuration")
    tried.add_argument(
        "--response",
        action="append",
        required=True,
        metavar="[REQUEST=]FILE",
        help="JSON file with the response; repeatable, with the name of a further request",
    )
    tried.add_argument("--status", type=_http_status, default=200, help="HTTP status of the response (default: 200)")


def _http_status(text: str) -> int:
    if not re.fullmatch("[1-5][0-9][0-9]", text):
        raise argparse.ArgumentTypeError("must be an HTTP status, which is a number from 100 to 599")
    return int(text)


def _add_copy(state: _Parser) -> None:
    does = "Copy a state file into a PostgreSQL database, while no exporter uses them."
    actions = state.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser, required=True)
    copy = actions.add_parser("copy", help=does, description=does, allow_abbrev=False)
    copy.add_argument("--from", dest="source", required=True, metavar="FILE", help="the state file")
    copy.add_argument(
        "--to",
        required=True,
        metavar="DATABASE",
        help="connection string without a password, or a file that holds a whole one",
    )


def _add_span(report: argparse.ArgumentParser) -> None:
    report.add_argument("--month", metavar="YYYY-MM", help="the month to report on (default: this one)")
    report.add_argument("--from", dest="first", metavar="DATE", help="the first day, in place of --month")
    report.add_argument("--to", dest="last", metavar="DATE", help="the last day, with --from (default: today)")
    report.add_argument(
        "--by",
        default="account",
        metavar="WHAT",
        help="account, provider, operation, day, month or label:NAME, such as label:team (default: account)",
    )
    outputs = ("table", "csv", "json", "html")
    report.add_argument("--output", choices=outputs, default="table", help="(default: table)")


def _serve(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return _run(options(arguments, environ), environ)


def _run(
    chosen: Options, environ: Mapping[str, str], announce: Callable[[Sequence[str]], None] = lambda _: None
) -> int:
    signals.watch_start()
    from exporter.app import serve
    from exporter.config.proxies import logins
    from exporter.runtime.logs import configure
    from exporter.runtime.redaction import Redactor

    redactor = Redactor(logins(environ))
    log = configure(chosen.log_level, chosen.log_format, redactor)
    try:
        return serve(chosen, environ, redactor, log, announce)
    finally:
        log.close(1.0)


def _check_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.config.load import load
    from exporter.providers import PROVIDERS

    path = Path(str(value("config.file", arguments, environ)))
    web = str(value("web.config.file", arguments, environ))
    warnings: tuple[Problem, ...] = ()
    if web:
        from exporter.web.config import load as load_web_config

        warnings = load_web_config(Path(web), environ).warnings
    config = load(path, PROVIDERS, environ, strict=True)
    for warning in (*warnings, *config.warnings):
        tell(f"{warning} (warning)")
    count = len(config.accounts)
    write(f"{path}: OK, {count} account{'' if count == 1 else 's'}\n")
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
    write(json.dumps(schema, indent=2) + "\n")
    return 0


def _poll(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.config.proxies import logins
    from exporter.poll import poll_once
    from exporter.runtime.redaction import Redactor

    redactor = Redactor(logins(environ))
    path = Path(str(value("config.file", arguments, environ)))
    with _errors_logged(arguments, environ, redactor):
        return poll_once(path, arguments.accounts, arguments.output, environ, redactor)


@contextmanager
def _errors_logged(arguments: argparse.Namespace, environ: Mapping[str, str], redactor: Redactor) -> Iterator[None]:
    """Log errors, or what another level asks for, because what the command prints explains the rest."""
    from exporter.runtime.logs import configure

    asked = value("log.level", arguments, {"VIDEO_API_EXPORTER_LOG_LEVEL": "error", **environ})
    log = configure(str(asked), str(value("log.format", arguments, environ)), redactor)
    try:
        yield
    finally:
        log.close(1.0)


def _report(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    import time

    from exporter.report.command import report
    from exporter.runtime.redaction import Redactor

    path = Path(str(value("config.file", arguments, environ)))
    days = (arguments.month, arguments.first, arguments.last)
    with _errors_logged(arguments, environ, Redactor(())):
        return report(path, days, arguments.by, arguments.output, environ, time.time())


def _providers(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.tryout import show_providers

    return show_providers(_config_if_there(arguments, environ), arguments.name, environ)


def _try_provider(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.tryout import try_provider

    path = _config_if_there(arguments, environ)
    return try_provider(path, arguments.name, arguments.response, arguments.status, environ)


def _config_if_there(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file, None where the default one is not there, because presets need none."""
    path = Path(str(value("config.file", arguments, environ)))
    default = next(flag.default for flag in FLAGS if flag.name == "config.file")
    return None if str(path) == default and not path.exists() else path


def _copy_state(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    from exporter.state.copying import copy_state

    write(copy_state(arguments.source, arguments.to))
    return 0


def _demo(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from exporter.demo.command import run_demo

    return run_demo(
        arguments.speed, options(arguments, environ), lambda chosen, announce: _run(chosen, environ, announce)
    )
