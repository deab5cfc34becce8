"""Sends the requests of a poll. Counts each one first, retries where that helps, and blanks keys in the response."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from exporter.config.accounts import Account
from exporter.errors import (
    InvalidResponseError,
    PollError,
    PollTimeoutError,
    RateLimitedError,
    ServerError,
    UnreachableError,
)
from exporter.polling.cooldown import cooldown_seconds
from exporter.polling.limits import Limits, Wait
from exporter.providers.base import Provider, Refuses, VendorResponse, refusal
from exporter.runtime.clock import Clock
from exporter.runtime.redaction import MESSAGE_RUN, READING_RUN, KeyParts, Redactor, change_texts, escape
from exporter.state.base import KeyTarget
from exporter.transport.client import RawResponse

ATTEMPTS = 3
"""How often one request is sent at most, with the first time."""
FIRST_BACKOFF_SECONDS = 0.5
"""Seconds before the second attempt, on average. Each further wait is twice as long."""
_ADMITTED_SECONDS = 3.0
"""How long an admission holds. A process that was suspended since may no longer be the one that may send."""
_MAX_MESSAGE_CHARACTERS = 300
_MAX_TEXT_CHARACTERS = 20_000
"""Characters that are kept of any text in a response."""


class VendorClient(Protocol):
    """Sends a request. Outside of tests it is a ``transport.Transport``."""

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float, body: object = None
    ) -> RawResponse:
        """Return the response to a GET, or with ``body`` to a POST, within ``timeout`` seconds; raise a PollError."""


class RequestBudgetError(PollError):
    """The key may send no further request now, after the poll has sent its first."""

    reason = RateLimitedError.reason


@dataclass(frozen=True, slots=True)
class _Request:
    """A request without its key, and the function that finds an error in its response."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: object
    refuses: Refuses


@dataclass(frozen=True, slots=True)
class Sender:
    """The parts that every request needs. ``pause`` waits some seconds, and returns true at once on a stop."""

    client_of: Callable[[Account], VendorClient]
    limits: Limits
    redactor: Redactor
    clock: Clock
    pause: Callable[[float], object]


class PollSession:
    """The requests of one poll, all with one key. All end by the deadline, a monotonic second.

    The first must be admitted until then already. The end of the block ends it, if it was not sent.
    """

    def __init__(
        self,
        sender: Sender,
        account: Account,
        provider: Provider,
        target: KeyTarget,
        deadline: float,
        admitted_at: float,
    ) -> None:
        """``admitted_at`` is the monotonic second before the first was admitted."""
        self._sender = sender
        self._account = account
        self._provider = provider
        self.target = target
        self._deadline = deadline
        self._admitted_at: float | None = admitted_at
        self._has_sent = False
        self.wait: Wait | None = None
        """Why the first request may not be sent, although it was admitted. Then nothing was sent."""
        self.status: int | None = None
        """The HTTP status of the last response."""

    def __enter__(self) -> PollSession:
        return self

    def __exit__(self, *_: object) -> None:
        if self._admitted_at is not None:
            self._sender.limits.end_request(self.target, self._deadline)

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        refuses: Refuses | None = None,
    ) -> VendorResponse:
        """Send a request. Retry after a connection failure or a 5xx while time and the key's limits allow."""
        by_status = partial(_refused_by_status, accept)
        request = _Request(path, params or {}, headers or {}, body, refuses or by_status)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(request)
            except (UnreachableError, ServerError):
                backoff = FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311  jitter is no secret
                is_cooling_down = self._sender.limits.cooldown(self.target) is not None
                if attempt == ATTEMPTS or backoff >= self._left() or is_cooling_down:
                    raise
                if self._sender.pause(backoff) or self._admit() is not None:
                    raise
        raise AssertionError("unreachable")

    def cleaned(self, error: PollError) -> PollError:
        """Return the error with a message that may be shown, because it is short, printable and without any key."""
        words = self._sender.redactor.redact(str(error), _MAX_TEXT_CHARACTERS)
        words = KeyParts(self.target.key, MESSAGE_RUN).redact(words)
        return type(error)(escape(words)[:_MAX_MESSAGE_CHARACTERS])

    def _left(self) -> float:
        return self._deadline - self._sender.clock.monotonic()

    def _admit(self) -> Wait | None:
        asked = self._sender.clock.monotonic()  # before the state is, because it may be suspended there too
        wait = self._sender.limits.admit(self.target, self._account.max_requests_per_minute, self._deadline)
        self._admitted_at = asked if wait is None else None
        return wait

    def _once(self, request: _Request) -> VendorResponse:
        now, admitted_at = self._sender.clock.monotonic(), self._admitted_at
        if admitted_at is None or now - admitted_at > _ADMITTED_SECONDS:
            # A poll that was suspended before its first request begins anew, because its time may be over.
            wait = self._admit() if self._has_sent else Wait(0.0, "budget")
            if wait is not None:
                self.wait = None if self._has_sent else wait
                raise RequestBudgetError("the key may send no further request now")
        left = self._left()
        if left <= 0:
            raise PollTimeoutError("no time was left for this request")
        self._has_sent, self._admitted_at = True, None
        limits, clock = self._sender.limits, self._sender.clock
        client = self._sender.client_of(self._account)
        self.status = None
        try:
            auth = self._provider.authorization(self.target.key, clock.wall(), self._account.variables)
            params, headers = {**request.params, **auth.query}, {**request.headers, **auth.headers}
            raw = client.get(request.path, params, headers, left, request.body)
        finally:
            limits.end_request(self.target, self._deadline)
        self.status = raw.status
        error = request.refuses(raw.status, raw.document)
        rest = self._rest(raw, isinstance(error, RateLimitedError))
        if rest is not None:
            limits.cool_down(self.target, rest)
        document = self._without_keys(raw.document)
        if error is not None:
            # Again with the cleaned response, because the message may quote it.
            raise request.refuses(raw.status, document) or error
        return VendorResponse(raw.status, document)

    def _rest(self, raw: RawResponse, is_limited: bool) -> float | None:
        """Return the seconds of the cool-down that this response starts, or None."""
        now = self._sender.clock.wall()
        wait = self._provider.wait
        named = wait(raw.headers, raw.document, now) if wait is not None else None
        return cooldown_seconds(429 if is_limited else raw.status, raw.headers, raw.document, now, named)

    def _without_keys(self, document: object) -> object:
        """Return the response without keys, so that it may be shown. Every text of a vendor comes through here."""
        parts, redactor = KeyParts(self.target.key, READING_RUN), self._sender.redactor
        try:
            return change_texts(
                document, lambda text: escape(parts.redact(redactor.redact(text, _MAX_TEXT_CHARACTERS)))
            )
        except RecursionError:
            raise InvalidResponseError("the response is nested too deeply") from None


def _refused_by_status(accept: tuple[int, ...], status: int, document: object) -> PollError | None:
    return None if 200 <= status < 300 or status in accept else refusal(status, document)
