"""Which authorities may sign a vendor's certificate: from the configuration, else from the usual variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.runtime.files import read_file, reason

if TYPE_CHECKING:
    import ssl

_MAX_BYTES = 16 << 20  # a bundle that explains each certificate in text has some megabytes


@dataclass(frozen=True, slots=True)
class Authorities:
    """Files of certificates in PEM form, and what names them; a variable may name ``directories`` of such files too."""

    named_by: str
    paths: tuple[str, ...]
    directories: bool = False
    beside: Authorities | None = None
    """Others that count too."""

    def load_into(self, context: ssl.SSLContext) -> None:
        """Trust the certificates of every path that has some; raise ValueError, with a sentence, where none has."""
        problems = [(path, problem) for path in self.paths if (problem := self._load(path, context))]
        if len(problems) == len(self.paths):
            path, problem = problems[0]
            # A path of the configuration is not repeated, because it may be a key in the wrong place.
            raise ValueError(f"{path} {problem}" if self.directories else problem)
        if self.beside is not None:
            self.beside.load_into(context)

    def _load(self, path: str, context: ssl.SSLContext) -> str | None:
        if not (self.directories and os.path.isdir(path)):
            return _load(path, context)
        try:
            files = [os.path.join(path, name) for name in sorted(os.listdir(path))]
        except OSError as error:
            return f"cannot be read: {reason(error)}"
        loaded = [file for file in files if _load(file, context) is None]
        if not loaded:
            return "holds no file with a certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        return None

    def problem(self) -> str | None:
        """Return why these cannot serve as authorities, or None where they can."""
        import ssl  # few configurations name such a file, and check-config must be quick

        try:
            self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except ValueError as error:
            return str(error)
        return None

    def version(self) -> tuple[object, ...]:
        """Return what changes when one of the files, or an entry of a directory, is replaced."""
        beside = () if self.beside is None else self.beside.version()
        return (*(_version(path) for path in self.paths), *beside)


def authorities_for(ca_file: Path | None, environ: Mapping[str, str]) -> Authorities | None:
    """Return what the configuration names, else what the first of the usual variables names, else None."""
    if ca_file is not None:
        return Authorities("ca_file", (str(ca_file),))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if environ.get(name):
            return Authorities(f"environment variable {name}", (environ[name],), directories=True)
    # OpenSSL uses these two together, and takes several directories.
    files = {name: environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)}
    paths = [path for text in files.values() for path in text.split(os.pathsep) if path]
    named_by = "environment variable" + "s" * (len(files) - 1) + " " + " and ".join(files)
    return Authorities(named_by, tuple(paths), directories=True) if paths else None


def _load(path: str, context: ssl.SSLContext) -> str | None:
    import ssl

    try:
        # The comments of such files may be in any encoding, the certificates are ASCII.
        context.load_verify_locations(cadata=read_file(path, _MAX_BYTES).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    return None


def _version(path: str) -> tuple[int, ...]:
    with suppress(OSError, ValueError):
        status = os.stat(path)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return ()
