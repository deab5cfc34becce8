"""The file behind ``--web.config.file``, in the format of Prometheus' exporter-toolkit.

``load`` checks the file and makes everything that a connection needs of it; ``WebConfigFile`` does so again
when it, or a certificate that it names, has changed. docs/web-config.md has every key.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from exporter.config.rules import kind
from exporter.config.schema import unknown
from exporter.config.yaml import Map, Place, Seq, Unreadable, read
from exporter.errors import ConfigError, Problem
from exporter.web.tls import CLIENT_AUTH, CURVES, VERSIONS, TlsSettings, make_context, usable_curve
from exporter.web.tls import ciphers as check_ciphers

logger = logging.getLogger(__name__)

T = TypeVar("T")

_KEYS: dict[str, tuple[str, ...]] = {
    "tls_server_config": (
        *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type"),
        *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "curve_preferences"),
        "prefer_server_cipher_suites",
    ),
    "http_server_config": ("http2", "headers"),
    "basic_auth_users": (),
    "rate_limit": ("interval", "burst"),
}
_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_BCRYPT = re.compile(r"\$2[abxy]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_NO_BURST = "must be a whole number of at least 1"
_NO_HASH = "must be a bcrypt hash, such as `htpasswd -nBC 10 USER` prints behind the colon"
_GO_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?(?:ns|us|µs|μs|ms|s|m|h))+|0")
_GO_PART = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class RateLimit:
    """A token bucket for all requests: one more every ``interval`` seconds, at most ``burst`` at once."""

    interval: float
    burst: int


@dataclass(frozen=True)
class WebConfig:
    """What the file says, ready to be used."""

    tls: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] = frozenset()
    """Empty where any client certificate will do that the authority signed."""
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """bcrypt hashes by user name; empty where nobody is asked for a password."""
    rate_limit: RateLimit | None = None
    warnings: tuple[Problem, ...] = ()
    """What should be changed but stops nothing."""


def load(path: Path, environ: Mapping[str, str]) -> WebConfig:
    """Return what the file says; raise ConfigError with everything that is wrong with it."""
    return _Reader(path, environ).config()


class WebConfigFile:
    """The file as it is now. What it said before stays in force while it is wrong."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """Read the file for the first time; raises ConfigError."""
        self._path = path
        self._environ = environ
        reader = _Reader(path, environ)
        self._config = reader.config()
        self._stamps = reader.stamps
        _log_warnings(self._config)

    def current(self) -> WebConfig:
        """Return what the file says, read again if it or a file that it names has changed."""
        if any(_stamp(file) != stamp for file, stamp in self._stamps.items()):
            self._reload()
        return self._config

    def _reload(self) -> None:
        reader = _Reader(self._path, self._environ)
        try:
            config = reader.config()
            if (config.tls is None) is not (self._config.tls is None):
                message = "TLS is switched on or off by a restart alone"
                raise ConfigError([Problem(str(self._path), None, "tls_server_config", message)])
        except ConfigError as error:
            for problem in error.problems:
                logger.error("%s; what was read before stays in force", problem)
            return
        finally:
            self._stamps = reader.stamps
        logger.info("%s was read again", self._path)
        _log_warnings(config)
        self._config = config


def _log_warnings(config: WebConfig) -> None:
    for warning in config.warnings:
        logger.warning("%s", warning)


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


class _Reader:
    """One reading of the file; ``stamps`` has all files that it depends on, as they were before it."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._directory = path.parent
        self.stamps = {path: _stamp(path)}
        self._document = read(str(path), environ)
        self._problems = self._document.problems
        self._warnings: list[Problem] = []
        root = _Block(Place(self._document), self._document.value, tuple(_KEYS), self._problems)
        self._tls = root.block("tls_server_config")
        self._http = root.block("http_server_config")
        self._users = root.block("basic_auth_users")
        self._rate = root.block("rate_limit")
        self._cert_file = self._tls.get("cert_file", self._file)
        self._key_file = self._tls.get("key_file", self._file)
        self._ca_file = self._tls.get("client_ca_file", self._file)

    def config(self) -> WebConfig:
        """Return what the file says; raise ConfigError."""
        tls, sans = self._read_tls()
        config = WebConfig(
            tls=tls,
            allowed_sans=sans,
            headers=self._read_headers(),
            users=self._read_users(),
            rate_limit=self._read_rate_limit(),
            warnings=tuple(self._warnings),
        )
        if self._problems:
            raise ConfigError(sorted(self._problems, key=lambda problem: problem.line or 0))
        return config

    def _file(self, value: object) -> Path:
        path = self._directory / _text(value)
        self.stamps[path] = _stamp(path)
        return path

    def _read_tls(self) -> tuple[ssl.SSLContext | None, frozenset[str]]:
        block = self._tls
        if not block.has(*block.names):
            return None, frozenset()
        before = len(self._problems)
        cert = self._pem("cert", self._cert_file)
        key = self._pem("key", self._key_file)
        ca = self._pem("client_ca", self._ca_file)
        auth = block.get("client_auth_type", _client_auth) or "NoClientCert"
        sans = block.get("client_allowed_sans", _sans) or ()
        settings = TlsSettings(
            cert=cert or b"",
            key=key or b"",
            client_ca=ca,
            client_auth=CLIENT_AUTH[auth] or ssl.CERT_NONE,
            minimum=block.get("min_version", _one_of(tuple(VERSIONS))) or "TLS12",
            maximum=block.get("max_version", _one_of(tuple(VERSIONS))) or "TLS13",
            ciphers=block.get("cipher_suites", lambda value: check_ciphers(_texts(value))) or (),
            curves=block.get("curve_preferences", _curves) or (),
            prefer_server=block.get("prefer_server_cipher_suites", _flag, default=True),
        )
        if cert is None and not block.has("cert", "cert_file"):
            block.wrong("", "cert_file (or cert) is missing: without a certificate there is no TLS")
        if key is None and not block.has("key", "key_file"):
            block.wrong("", "key_file (or key) is missing: the certificate needs its private key")
        if auth == "NoClientCert" and block.has("client_ca", "client_ca_file"):
            block.wrong("", "client_ca_file needs `client_auth_type: RequireAndVerifyClientCert`")
        if sans and settings.client_auth is not ssl.CERT_REQUIRED:
            block.wrong(
                "client_allowed_sans",
                "needs `client_auth_type: RequireAndVerifyClientCert`, or it bars nobody",
            )
        if list(VERSIONS).index(settings.minimum) > list(VERSIONS).index(settings.maximum):
            block.wrong("max_version", f"{settings.maximum} is below min_version {settings.minimum}")
        if len(self._problems) > before:
            return None, frozenset()
        self._warn_of_tls(settings, sans)
        try:
            return make_context(settings), frozenset(sans)
        except ValueError as error:
            name, message = error.args
            block.wrong(name if block.has(name) else f"{name}_file", message)
            return None, frozenset()

    def _warn_of_tls(self, settings: TlsSettings, sans: Sequence[str]) -> None:
        if settings.client_auth is ssl.CERT_REQUIRED and settings.client_ca is None and not sans:
            message = "admits a certificate of any authority that the system trusts, because client_ca_file is missing"
            self._warnings.append(self._tls.problem("client_auth_type", message))
        if len(settings.curves) > 1:
            message = f"only {usable_curve(settings.curves)} is used, because Python's ssl takes one curve"
            self._warnings.append(self._tls.problem("curve_preferences", message))

    def _pem(self, name: str, file: Path | None) -> bytes | None:
        """Return what the file, or the text beside it, holds; None where that is wrong or not given."""
        if self._tls.has(name) and self._tls.has(f"{name}_file"):
            self._tls.wrong(name, f"is given twice: keep one of {name} and {name}_file")
            return None
        if file is None:
            text = self._tls.get(name, _text)
            return None if text is None else text.encode()
        try:
            return file.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._tls.wrong(f"{name}_file", f"{file} cannot be read: {reason}")
            return None

    def _read_headers(self) -> tuple[tuple[str, str], ...]:
        self._http.get("http2", _flag)  # HTTP/1.1 is what both sides agree on, whatever this says
        block = self._http.block("headers", tuple(_HEADERS))
        found = [(name, block.get(name, _header(name))) for name in block.names if name in _HEADERS]
        return tuple((name.lower(), value) for name, value in found if value)

    def _read_users(self) -> Mapping[str, bytes]:
        users: dict[str, bytes] = {}
        for name in self._users.names:
            if ":" in name:
                self._users.wrong(name, "a user name cannot have a colon: it ends the name in the request")
            if self._users.has(name):
                users[name] = self._users.get(name, _bcrypt_hash)
            else:
                # A user without a hash must not be left out in silence: the door would stand open.
                self._users.wrong(name, _NO_HASH)
        return users

    def _read_rate_limit(self) -> RateLimit | None:
        interval = self._rate.get("interval", _go_duration) or 0.0
        burst = self._rate.get("burst", _burst) or 0
        if interval and not self._rate.has("burst"):
            self._rate.wrong("", "burst is missing: how many requests may come at once, from 1")
        elif interval and self._rate.get("burst", _burst) == 0:
            self._rate.wrong("burst", f"{_NO_BURST}: with 0 every request would be refused")
        return RateLimit(interval, burst) if interval and burst else None


class _Block:
    """A mapping of the file, of which some keys are known."""

    def __init__(
        self, place: Place, value: object, known: tuple[str, ...], problems: list[Problem], free: bool = False
    ) -> None:
        self._place = place
        self._problems = problems
        self._value: Mapping[str, Any] = value if isinstance(value, Map) else {}
        self.names = tuple(self._value)
        if not isinstance(value, (Map, Unreadable)) and value is not None:
            self.wrong("", f"must be a mapping (lines with `key: value`), not {kind(value)}")
        for name in self._value:
            if not free and name not in known:
                self.wrong(name, unknown("key", name, known))

    def has(self, *names: str) -> bool:
        """Return whether one of the keys has a value."""
        return any(self._value.get(name) is not None for name in names)

    def get(self, name: str, check: Callable[[object], T], default: Any = None) -> Any:
        """Return a key's value as ``check`` makes it, or the default where it is left out or wrong."""
        value = self._value.get(name)
        if value is None or isinstance(value, Unreadable):
            return default
        try:
            return check(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def block(self, name: str, known: tuple[str, ...] = ()) -> _Block:
        """Return a mapping inside of this one."""
        known = known or _KEYS.get(name, ())
        return _Block(self._place.at(name), self._value.get(name), known, self._problems, free=not known)

    def wrong(self, name: str, message: str) -> None:
        """Note what is wrong with a key, or with the whole block."""
        self._problems.append(self.problem(name, message))

    def problem(self, name: str, message: str) -> Problem:
        """Return a problem of a key, or of the whole block."""
        return (self._place.at(name) if name else self._place).problem(message)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {kind(value)}; put it in quotes")
    if not value.strip():
        raise ValueError("is empty: write a value, or leave the key out")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, Seq):
        raise ValueError(f"must be a list (`[a, b]`, or lines with `- `), not {kind(value)}")
    return [_text(item) for item in value if not isinstance(item, Unreadable)]


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _one_of(known: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return str(value)

    return check


def _client_auth(value: object) -> str:
    name = _one_of(tuple(CLIENT_AUTH))(value)
    if CLIENT_AUTH[name] is None:
        raise ValueError(
            f"{name} is not possible: Python's ssl cannot ask for a certificate without checking it; "
            "use RequireAndVerifyClientCert, or VerifyClientCertIfGiven"
        )
    return name


def _sans(value: object) -> list[str]:
    found = _texts(value)
    if not found:
        raise ValueError("is empty and would bar everybody: name who may come in, or leave it out")
    return found


def _curves(value: object) -> tuple[str, ...]:
    names = tuple(_texts(value))
    for name in names:
        if name not in CURVES:
            raise ValueError(unknown("curve", name, CURVES))
    return names


def _header(name: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError(f"must be a text, not {kind(value)}; put it in quotes")
        known = _HEADERS[name]
        if known and value not in known:
            raise ValueError(f"must be {' or '.join(known)}")
        if not re.fullmatch(r"[\x20-\x7e]*", value):
            raise ValueError("holds a character that a header cannot carry; write it on one line, in ASCII")
        return value.strip()

    return check


def _bcrypt_hash(value: object) -> bytes:
    # The value is not repeated: who writes a password here by mistake must not find it in the log.
    if not isinstance(value, str) or not _BCRYPT.fullmatch(value):
        raise ValueError(_NO_HASH)
    return value.encode()


def _go_duration(value: object) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if not isinstance(value, str) or not _GO_DURATION.fullmatch(value):
        raise ValueError("must be a duration as Go writes it, such as 1s, 250ms or 1m30s; 0 switches it off")
    return sum(float(number) * _GO_UNITS[unit] for number, unit in _GO_PART.findall(value))


def _burst(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(_NO_BURST)
    return value
