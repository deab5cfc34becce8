"""Every exception of the exporter.

    ExporterError
    ├── UsageError            wrong flags: exit status 2
    ├── ConfigError           wrong configuration, every problem at once: exit status 2
    ├── StartError            cannot go on (port taken, state file in use): exit status 1
    ├── StateUnavailable      the state file cannot be used now: who asks goes on from memory
    └── PollError             one poll of one account failed; ``reason`` is the metric's label value
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
        └── InternalError         internal          a bug of ours

A cool-down or an exhausted request budget is not an error: see ``limits``.
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
    """The program cannot go on; the message is one line for the operator."""


class StateUnavailable(ExporterError):
    """The state file cannot be read or written now; the failure is already counted and logged."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a file: where it is, what is wrong and what would be right."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(ExporterError):
    """A configuration is refused; ``problems`` holds all of its mistakes, in file order."""

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
    """The vendor answered 401: the key is not valid."""

    reason = "auth"


class ForbiddenError(PollError):
    """The vendor answered 403: the key may not read the usage."""

    reason = "forbidden"


class PaymentRequiredError(PollError):
    """The vendor answered 402: the account has no credits left."""

    reason = "payment_required"


class RateLimitedError(PollError):
    """The vendor answered 429: the key made too many requests."""

    reason = "rate_limited"


class ClientError(PollError):
    """The vendor answered with a redirect or a 4xx that has no class of its own."""

    reason = "client_error"


class ServerError(PollError):
    """The vendor answered with a 5xx."""

    reason = "server_error"


class PollTimeoutError(PollError):
    """The poll's deadline passed before a whole answer was there."""

    reason = "timeout"


class UnreachableError(PollError):
    """The vendor could not be reached: DNS, refused, TLS, reset."""

    reason = "connection"


class InvalidResponseError(PollError):
    """The answer is not JSON, has the wrong envelope, is too large, or says that it failed."""

    reason = "invalid_response"


class InternalError(PollError):
    """A bug in the exporter, kept to the one account that met it."""

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
"""Every value of the ``reason`` label, in the order in which it is exported."""
