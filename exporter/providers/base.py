"""The parts of a provider, and helpers to read a vendor's responses.

A provider has a base URL, a header for the key, and one fetch function for each value of ``collect``.
"""

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
    """Return the error for a response with this status, with the vendor's message if it sent one."""
    error = _REFUSALS.get(status) or (errors.ServerError if status >= 500 else errors.ClientError)
    words = vendor_message(document)
    return error(f"HTTP {status}: {words}" if words else f"HTTP {status}")


def vendor_message(document: object) -> str:
    """Return the message of an error envelope as either vendor spells it, or the empty string."""
    if isinstance(document, Mapping):
        for name in ("message", "error_message", "error", "error_code"):
            if isinstance(document.get(name), str):
                return str(document[name])
    return ""


def envelope(document: object, succeeded: Callable[[Mapping[str, object]], bool]) -> object:
    """Return the ``data`` of a response. Raise InvalidResponseError for a wrong envelope or a reported failure."""
    if not isinstance(document, Mapping):
        raise errors.InvalidResponseError("the response is not a JSON object")
    if document.get("status") == "processing":
        raise errors.InvalidResponseError('the response has "status": "processing" and no data')
    if not succeeded(document):
        words = vendor_message(document)
        raise errors.InvalidResponseError(f"the vendor's response reports a failure{': ' + words if words else ''}")
    return document.get("data")


def data_object(data: object) -> Mapping[str, object]:
    """Return ``data`` as an object. Raise InvalidResponseError if it is not an object."""
    if not isinstance(data, Mapping):
        raise errors.InvalidResponseError("the response has no data object")
    return data


@dataclass(frozen=True, slots=True)
class VendorResponse:
    """A vendor's response with a status that the caller accepts. ``document`` is the decoded JSON."""

    status: int
    document: object


Refuses = Callable[[int, object], errors.PollError | None]
"""Returns the error that a response is by its status and document, None where it is a good one."""


class Get(Protocol):
    """Sends a request with the account's key, within the poll's deadline and the key's limits."""

    def __call__(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        refuses: Refuses | None = None,
    ) -> VendorResponse:
        """Return the response to a GET, or with ``body`` to a POST of this JSON.

        Raise a PollError for any status except 2xx and those in ``accept``, or as ``refuses`` says.
        """


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """The settings of an account for making its requests and reading the responses, and the Unix time."""

    max_operations: int = 100
    credit_rates: Mapping[str, float] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Price:
    """Money for one credit. ``currency`` is an ISO 4217 code."""

    amount: float
    currency: str


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a request carries of the key."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


Authorize = Callable[[str, float, Mapping[str, str]], Authorization]
"""Returns what a request carries, for a key, the Unix time and the variables of the account."""
NamedWait = Callable[[Mapping[str, str], object, float], float | None]
"""Returns the seconds of rest that a response names in a way of its own, from headers, document and Unix time."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A part to collect. ``every`` is the minimum time in seconds between two requests. 0 means at each poll."""

    fetch: Callable[[Get, ParseOptions], Part]
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A vendor. ``endpoints`` has one entry for each value of ``collect``, and always has ``usage``.

    ``quotas`` are the thresholds that the vendor has besides credits. ``credit_rates`` are the published numbers
    of units that one credit buys. They are empty if the vendor bills in credits. Without ``authorize`` the key is sent
    as it is in ``key_header``. ``requests`` is how many a poll of the usage sends. ``interval``,
    ``max_requests_per_minute`` and ``price`` are defaults of its accounts, which must give all ``variables``.
    """

    title: str
    base_url: str
    key_header: str
    endpoints: Mapping[str, Endpoint]
    quotas: tuple[str, ...] = ()
    credit_rates: Mapping[str, float] = field(default_factory=dict)
    authorize: Authorize | None = None
    wait: NamedWait | None = None
    unit: str = "credits"
    variables: tuple[str, ...] = ()
    requests: int = 1
    interval: float | None = None
    max_requests_per_minute: int | None = None
    price: Price | None = None

    def authorization(self, key: str, now: float, variables: Mapping[str, str]) -> Authorization:
        """Return what a request carries of the key."""
        if self.authorize is None:
            return Authorization({self.key_header: key})
        return self.authorize(key, now, variables)

    @property
    def collect(self) -> tuple[str, ...]:
        """Return the values that ``collect`` may hold."""
        return tuple(self.endpoints)
