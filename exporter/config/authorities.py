"""Which authorities may sign a vendor's certificate: from the configuration, else from the usual variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.runtime.files import read_file

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Authorities:
    """Files of certificates in PEM form, and what names them."""

    named_by: str
    paths: tuple[str, ...]

    def load_into(self, context: ssl.SSLContext) -> None:
        """Trust these certificates; raise ValueError, with a sentence, where there are none."""
        flaws = [flaw for path in self.paths if (flaw := _load(path, context))]
        if len(flaws) == len(self.paths):
            raise ValueError(flaws[0])

    def flaw(self) -> str | None:
        """Return why these cannot serve as authorities, or None where they can."""
        import ssl  # few configurations name such a file, and check-config must answer at once

        try:
            self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except ValueError as error:
            return str(error)
        return None


def _load(path: str, context: ssl.SSLContext) -> str | None:
    import ssl

    try:
        # The comments of such files may be in any encoding, the certificates are ASCII.
        context.load_verify_locations(cadata=read_file(path).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None
