"""What a provider is: a base URL, a header for the key, and one fetch function per thing that can be collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from exporter import errors
from exporter.readings import Part

_REFUSALS: Mapping[int, type[errors.PollError]] = {
    401: errors.AuthError,
    402: errors.PaymentRequiredError,
    403: errors.ForbiddenError,
    429: errors.RateLimitedError,
}


def refusal(status: int, document: object) -> errors.PollError:
    """Return the error that an answer with this status is, with the vendor's own words where it sent some."""
    error = _REFUSALS.get(status) or (errors.ServerError if status >= 500 else errors.ClientError)
    words = vendor_message(document)
    return error(f"HTTP {status}: {words}" if words else f"HTTP {status}")


def vendor_message(document: object) -> str:
    """Return the message of an error envelope, both vendors' spellings, or the empty string."""
    if isinstance(document, Mapping):
        for name in ("message", "error_message", "error", "error_code"):
            if isinstance(document.get(name), str):
                return str(document[name])
    return ""


def envelope(document: object, succeeded: Callable[[Mapping[str, object]], bool]) -> object:
    """Return the ``data`` of an answer; raise InvalidResponseError where it is none or says that it failed."""
    if not isinstance(document, Mapping):
        raise errors.InvalidResponseError("the answer is not a JSON object")
    if document.get("status") == "processing":
        raise errors.InvalidResponseError('the vendor answered "status": "processing" and no data')
    if not succeeded(document):
        words = vendor_message(document)
        raise errors.InvalidResponseError(f"the vendor answered without success{': ' + words if words else ''}")
    return document.get("data")


def data_object(data: object) -> Mapping[str, object]:
    """Return ``data`` as an object; raise InvalidResponseError where it is none."""
    if not isinstance(data, Mapping):
        raise errors.InvalidResponseError("the answer has no data object")
    return data


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's answer with a status that the caller takes; ``document`` is the decoded JSON."""

    status: int
    document: object


class Get(Protocol):
    """Send one GET to the account's vendor, with its key, within the poll's deadline and the key's limits."""

    def __call__(self, path: str, params: Mapping[str, str] | None = None, accept: tuple[int, ...] = ()) -> Answer:
        """Return the answer; raise a PollError for any status but 2xx and those in ``accept``."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an account's configuration says about reading its answers."""

    max_operations: int = 100
    credit_rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing to collect. ``every`` is the least time in seconds between two requests; 0: at each poll."""

    fetch: Callable[[Get, Options], Part]
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Provider:
    """One vendor. ``endpoints`` maps the values of ``collect`` to what they fetch; ``usage`` is always there.

    ``quotas`` names the thresholds that make sense for it beside credits; ``credit_rates`` are the published
    numbers of units that one credit buys, empty where the vendor bills in credits.
    """

    title: str
    base_url: str
    key_header: str
    endpoints: Mapping[str, Endpoint]
    quotas: tuple[str, ...] = ()
    credit_rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def collect(self) -> tuple[str, ...]:
        """Return the values that ``collect`` may hold."""
        return tuple(self.endpoints)
