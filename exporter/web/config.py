"""Reads the file behind ``--web.config.file`` and makes what a connection needs of it.

``config_schema`` has the keys. ``config_file`` follows changes. docs/web-config.md explains every key.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config import checking, yaml
from exporter.config.document import Location, Map, Unreadable
from exporter.config.rules import kind
from exporter.errors import ConfigError, Problem
from exporter.runtime.files import read_file
from exporter.web.config_schema import NO_BURST, Tls, WebFile
from exporter.web.rate_limit import RateLimit
from exporter.web.settings import WebConfig
from exporter.web.tls import CLIENT_AUTH, VERSIONS, TlsSettings, make_context, usable_curve

Stamp = tuple[int, ...]
"""Times, size and place of a file, which differ after it has changed."""


@dataclass(frozen=True)
class Reading:
    """The configuration that was read, or its problems."""

    config: WebConfig
    problems: tuple[Problem, ...]
    stamps: Mapping[Path, Stamp | None]
    """Every file that was read, as it was before the reading."""

    def result(self) -> WebConfig:
        """Return the configuration. Raises ConfigError with all problems."""
        if self.problems:
            raise ConfigError(self.problems)
        return self.config


def load(path: Path, environ: Mapping[str, str]) -> WebConfig:
    """Return what the file says. Raises ConfigError with all problems."""
    return read(path, environ).result()


def read(path: Path, environ: Mapping[str, str]) -> Reading:
    """Read the file, and every file that it names."""
    stamps = {path: stamp(path)}
    document = yaml.read(str(path), environ)
    root = Location(document)
    raw = document.value if isinstance(document.value, Map) else {}
    if not isinstance(document.value, (Map, Unreadable)) and document.value is not None:
        message = f"must be a mapping (lines with `key: value`), not {kind(document.value)}"
        document.problems.append(root.problem(message))
    checked = checking.check(WebFile, raw, {})
    document.problems.extend(root.at(*path).problem(sentence) for path, sentence in checked.mistakes)
    findings = _Findings(document.problems)
    tls = _tls(_Section("tls_server_config", root, raw, checked, findings), _NamedFiles(path.parent, stamps))
    rate_limit = _rate_limit(_Section("rate_limit", root, raw, checked, findings))
    http = checked.model.http_server_config
    headers = {} if http is None or http.headers is None else http.headers.model_dump(by_alias=True)
    config = WebConfig(
        tls=tls,
        allowed_sans=frozenset((checked.model.tls_server_config or Tls()).client_allowed_sans or ()),
        headers=tuple((name.lower(), value) for name, value in headers.items() if value),
        users=checked.model.basic_auth_users or {},
        rate_limit=rate_limit,
        warnings=tuple(findings.warnings),
    )
    problems = sorted(findings.problems, key=lambda problem: problem.line or 0)
    return Reading(config, tuple(problems), stamps)


def stamp(file: Path) -> Stamp | None:
    """Return what differs after the file has changed, or None if the file cannot be looked at."""
    try:
        found = file.stat()
    except (OSError, UnicodeEncodeError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


@dataclass(frozen=True)
class _NamedFiles:
    """The certificates and keys that the file names. Their paths are relative to its directory."""

    directory: Path
    stamps: dict[Path, Stamp | None]

    def read(self, name: str) -> bytes:
        path = self.directory / name
        self.stamps[path] = stamp(path)
        return read_file(path)


@dataclass(frozen=True)
class _Findings:
    """Problems and warnings found so far."""

    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Section:
    """A block of the file, whose values are checked against each other."""

    name: str
    root: Location
    raw: Mapping[str, object]
    checked: checking.Checked[WebFile]
    findings: _Findings

    def has(self, *names: str) -> bool:
        """Return whether one of the keys is written, or any key if none is named. The value may be wrong."""
        written = self.raw.get(self.name)
        return isinstance(written, Map) and any(name in written for name in names or written)

    def lacks(self, *names: str) -> bool:
        """Return whether all of the keys are missing and none is misspelt."""
        return not self.has(*names) and not any(self.has_mistake(name) for name in names)

    def has_mistake(self, name: str = "") -> bool:
        """Return whether a key, or anything in the block, has a mistake."""
        return self.checked.hits(*self._path(name))

    def problem(self, message: str, name: str = "") -> None:
        """Note a mistake of a key, or of the whole block."""
        self.findings.problems.append(self.root.at(*self._path(name)).problem(message))

    def warn(self, message: str, name: str) -> None:
        """Note what should be changed about a key."""
        self.findings.warnings.append(self.root.at(*self._path(name)).problem(message))

    def _path(self, name: str) -> tuple[str, ...]:
        return (self.name, name) if name else (self.name,)


def _rate_limit(section: _Section) -> RateLimit | None:
    rate = section.checked.model.rate_limit
    if rate is None or not rate.interval:
        return None
    if not section.has("burst"):
        section.problem("needs burst, the number of requests that may come at once")
    elif rate.burst == 0:
        section.problem(f"{NO_BURST}, because 0 would refuse every request", "burst")
    return RateLimit(rate.interval, rate.burst) if rate.burst else None


def _tls(section: _Section, files: _NamedFiles) -> ssl.SSLContext | None:
    """Return the context that the block describes, or None if the block is missing or wrong."""
    if not section.has():
        return None
    tls = section.checked.model.tls_server_config or Tls()
    before = len(section.findings.problems)
    settings = TlsSettings(
        cert=_pem(section, files, "cert", tls.cert, tls.cert_file) or b"",
        key=_pem(section, files, "key", tls.key, tls.key_file) or b"",
        client_ca=_pem(section, files, "client_ca", tls.client_ca, tls.client_ca_file),
        client_auth=CLIENT_AUTH[tls.client_auth_type] or ssl.CERT_NONE,
        minimum=tls.min_version,
        maximum=tls.max_version,
        ciphers=tuple(tls.cipher_suites or ()),
        curves=tuple(tls.curve_preferences or ()),
        prefer_server=tls.prefer_server_cipher_suites,
    )
    _check_certificates(section)
    _check_client_certificates(section, tls)
    _check_versions(section, tls)
    if section.has_mistake() or len(section.findings.problems) > before:
        return None
    _warn_of_tls(section, tls)
    try:
        return make_context(settings)
    except ValueError as error:
        name, message = error.args
        section.problem(message, name if section.has(name) else f"{name}_file")
        return None


def _pem(section: _Section, files: _NamedFiles, name: str, text: str | None, file: str | None) -> bytes | None:
    """Return the PEM from the file or from the text, or None if it is missing or wrong."""
    if section.has(name) and section.has(f"{name}_file"):
        section.problem(f"is given twice. Keep one of {name} and {name}_file", name)
        return None
    if file is None:
        return None if text is None else text.encode()
    try:
        return files.read(file)
    except (OSError, UnicodeEncodeError) as error:
        # Do not repeat the path, because it may be a key that was written in the wrong place.
        reason = error.strerror if isinstance(error, OSError) else "its name is not valid UTF-8"
        section.problem(f"cannot be read: {reason}", f"{name}_file")
        return None


def _check_certificates(section: _Section) -> None:
    if section.lacks("cert", "cert_file"):
        section.problem("needs cert_file or cert, because there is no TLS without a certificate")
    if section.lacks("key", "key_file"):
        section.problem("needs key_file or key, because a certificate needs its private key")


def _check_client_certificates(section: _Section, tls: Tls) -> None:
    if section.has_mistake("client_auth_type"):
        return
    if tls.client_auth_type == "NoClientCert" and section.has("client_ca", "client_ca_file"):
        section.problem("client_ca_file needs `client_auth_type: RequireAndVerifyClientCert`")
    if tls.client_allowed_sans is None:
        return
    if not tls.client_allowed_sans:
        message = "is empty, which would refuse every client. List the names that may connect, or leave the key out"
        section.problem(message, "client_allowed_sans")
    elif CLIENT_AUTH[tls.client_auth_type] is not ssl.CERT_REQUIRED:
        message = "needs `client_auth_type: RequireAndVerifyClientCert`, because otherwise it has no effect"
        section.problem(message, "client_allowed_sans")


def _check_versions(section: _Section, tls: Tls) -> None:
    if section.has_mistake("min_version") or section.has_mistake("max_version"):
        return
    order = list(VERSIONS)
    if order.index(tls.min_version) > order.index(tls.max_version):
        section.problem(f"{tls.max_version} is below min_version {tls.min_version}", "max_version")


def _warn_of_tls(section: _Section, tls: Tls) -> None:
    required = CLIENT_AUTH[tls.client_auth_type] is ssl.CERT_REQUIRED
    if required and not section.has("client_ca", "client_ca_file") and not tls.client_allowed_sans:
        message = "admits a certificate of any authority that the system trusts, because client_ca_file is missing"
        section.warn(message, "client_auth_type")
    if tls.curve_preferences and len(tls.curve_preferences) > 1:
        message = f"only {usable_curve(tls.curve_preferences)} is used, because Python's ssl takes one curve"
        section.warn(message, "curve_preferences")
