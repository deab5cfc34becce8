"""All exceptions of the exporter.

    ExporterError
    ├── UsageError            a flag is wrong, exit status 2
    ├── ConfigError           the configuration is wrong, has every problem, exit status 2
    ├── StartError            the program cannot start (port taken, state file in use), exit status 1
    ├── StateUnavailableError the state file cannot be used now, the caller continues from memory
    ├── HeldElsewhereError    another replica polls the accounts of this key
    └── PollError             a poll of an account failed, ``reason`` is the value of the metric's label
        ├── CredentialError       credential        key file or variable unreadable, empty, not sendable
        ├── AuthError             auth              401
        ├── ForbiddenError        forbidden         403
        ├── PaymentRequiredError  payment_required  402
        ├── RateLimitedError      rate_limited      429
        ├── ClientError           client_error      any other 3xx and 4xx
        ├── ServerError           server_error      5xx
        ├── PollTimeoutError      timeout           the poll's deadline passed
        ├── UnreachableError      connection        DNS, refused, TLS, reset
        ├── InvalidResponseError  invalid_response  not JSON, wrong envelope, too large, refused in a 200
        └── InternalError         internal          a bug in the exporter

A cool-down is not an error, and neither is a key without requests left in this minute. See ``limits``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class ExporterError(Exception):
    """The base of all exceptions that the exporter raises on purpose."""


class UsageError(ExporterError):
    """A flag or its environment variable is wrong."""


class StartError(ExporterError):
    """The program cannot start. The message is one line for the operator."""


class StateUnavailableError(ExporterError):
    """The state file cannot be read or written now. The failure is already counted and logged."""


class HeldElsewhereError(ExporterError):
    """Another replica holds the lease of this key, so that this process may not send a request with it."""


@dataclass(frozen=True, order=True)
class Problem:
    """A mistake in a file, with its place and a message that says how to correct it."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(ExporterError):
    """A configuration is wrong. ``problems`` has all of its mistakes in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PollError(ExporterError):
    """One poll of one account failed."""

    reason: ClassVar[str]


class CredentialError(PollError):
    """The account's key cannot be read or cannot be sent in a header."""

    reason = "credential"


class AuthError(PollError):
    """The vendor responded with 401, because the key is not valid."""

    reason = "auth"


class ForbiddenError(PollError):
    """The vendor responded with 403, because the key may not read the usage."""

    reason = "forbidden"


class PaymentRequiredError(PollError):
    """The vendor responded with 402, because the account has no credits left."""

    reason = "payment_required"


class RateLimitedError(PollError):
    """The vendor responded with 429, because the key made too many requests."""

    reason = "rate_limited"


class ClientError(PollError):
    """The vendor responded with a redirect, or with a 4xx that has no reason of its own."""

    reason = "client_error"


class ServerError(PollError):
    """The vendor responded with a 5xx."""

    reason = "server_error"


class PollTimeoutError(PollError):
    """The poll's timeout passed before the whole response had arrived."""

    reason = "timeout"


class UnreachableError(PollError):
    """The vendor could not be reached (DNS, refused, TLS, reset)."""

    reason = "connection"


class InvalidResponseError(PollError):
    """The response is not JSON, has the wrong envelope, is too large, or says that it failed."""

    reason = "invalid_response"


class InternalError(PollError):
    """A bug in the exporter made the poll of this account fail. Other accounts are polled."""

    reason = "internal"


POLL_ERRORS: tuple[type[PollError], ...] = (
    AuthError,
    ForbiddenError,
    PaymentRequiredError,
    RateLimitedError,
    ClientError,
    ServerError,
    PollTimeoutError,
    UnreachableError,
    InvalidResponseError,
    CredentialError,
    InternalError,
)
REASONS = tuple(error.reason for error in POLL_ERRORS)
"""All values of the ``reason`` label, in the order of the exposition."""
