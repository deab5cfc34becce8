"""One poll of one account: the one place where its failures end, and where what it learnt is committed."""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from exporter.config.accounts import Account
from exporter.config.thresholds import CREDITS_WITHOUT_LIMIT
from exporter.errors import (
    AuthError,
    ForbiddenError,
    InternalError,
    InvalidResponseError,
    PollError,
    PollTimeoutError,
    RateLimitedError,
    ServerError,
    UnreachableError,
)
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling import ledger
from exporter.polling.limits import KeyTarget, Limits, Wait, cooldown_seconds
from exporter.polling.slots import Slots
from exporter.providers.base import Answer, Options, Provider, refusal
from exporter.readings import AccountKey, AccountState, Failure, Part, Usage
from exporter.runtime.clock import Clock
from exporter.runtime.logs import fields
from exporter.runtime.redaction import MESSAGE_RUN, READING_RUN, KeyParts, Redactor, change_texts, escape
from exporter.transport.client import RawAnswer

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often one request is sent at most, the first time included."""
FIRST_BACKOFF = 0.5
"""Seconds before the second attempt, on average; each further wait is twice as long."""
LONGEST_REFUSAL_REST = 3600.0
"""The longest time in seconds between two polls with a key that the vendor refuses (401, 403)."""
_LONGEST_MESSAGE = 300
_LONGEST_TEXT = 20_000
"""Characters that are kept of any text in an answer."""


class Connection(Protocol):
    """What sends a request: a ``transport.Transport``."""

    def get(self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float) -> RawAnswer:
        """Return the answer within ``timeout`` seconds; raise a PollError."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a poll ended: when the next one is due, in monotonic seconds, and what put this one off, if anything."""

    next_due: float
    wait: Wait | None = None


@dataclass(slots=True)
class _Memory:
    """Of one account, in monotonic seconds: when each part was asked for, and until when a refused key rests."""

    asked: dict[str, float] = field(default_factory=dict)
    refused_until: float = float("-inf")


class Poller:
    """Polls accounts; thread-safe, one poll of an account at a time."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        connect: Callable[[Account], Connection],
        limits: Limits,
        store: Store,
        save: Callable[[AccountKey, AccountState], None],
        slots: Slots,
        clock: Clock,
        redactor: Redactor,
        metrics: SelfMetrics,
        pause: Callable[[float], object],
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """``save`` commits a state before it can be scraped; ``pause`` waits some seconds, less when stopping."""
        self._providers = providers
        self._connect = connect
        self._limits = limits
        self._store = store
        self._save = save
        self._slots = slots
        self._clock = clock
        self._redactor = redactor
        self._metrics = metrics
        self._pause = pause
        self._is_stopping = is_stopping
        self._memories: dict[AccountKey, _Memory] = {}
        self._keeping = threading.RLock()

    def first_due(self, account: Account) -> float:
        """Return when a restored account is due, in monotonic seconds: not before its next poll would have been."""
        now = self._clock.monotonic()
        next_poll = self._store.state(account.id).next_poll
        if next_poll is None:
            return now
        # No poll is planned further ahead: where it seems so, the clock was set back while nobody was here.
        return now + min(max(0.0, next_poll - self._clock.wall()), account.interval * 1.5)

    def lift_refusals(self) -> None:
        """Let keys that were refused be tried again, as a reload does."""
        for key, memory in list(self._memories.items()):
            memory.refused_until = float("-inf")
            with self._keeping:  # a poll that ends now must not be undone by the state from before it
                account, state = self._store.account(key), self._store.state(key)
                if account is not None and state.refusals:
                    self._keep(account, replace(state, refusals=0, refused_key="", refused_until=None))

    def forget(self, keep: Callable[[AccountKey], bool]) -> None:
        """Drop what is remembered of accounts that are no longer there."""
        for key in [key for key in list(self._memories) if not keep(key)]:  # polls under way add to them meanwhile
            self._memories.pop(key, None)

    def poll(self, account: Account) -> Result:
        """Poll the account once, or find that it has to wait; never raises."""
        start = self._clock.monotonic()
        try:
            return self._poll(account, start)
        except Exception:
            logger.exception("a poll ended in a bug", extra=_about(account))
            state = self._store.state(account.id)
            return self._conclude(account, state, start, InternalError("a bug in the exporter; see its log"))

    def _poll(self, account: Account, start: float) -> Result:
        state = self._store.state(account.id)
        memory = self._memory(account)
        try:
            key = account.key.read()
        except PollError as error:
            return self._conclude(account, state, start, error)
        self._redactor.add(key)
        if state.refusals and start < memory.refused_until and _is_refused(key, state.refused_key):
            next_due = self._slots.after(account.id, account.interval, start)
            return Result(next_due, Wait(memory.refused_until - start, "refused"))
        target = KeyTarget(account.provider, account.base_url, key)
        wait = self._limits.admit(target, account.max_requests_per_minute)
        if wait is not None:
            return self._put_off(account, state, target, wait, start)
        with self._metrics.polls_in_flight.track_inprogress():
            call = _Call(self, account, target, start + account.timeout)
            try:
                usage = self._fetch(account, "usage", call)
            except PollError as error:
                if self._is_stopping() and isinstance(error, UnreachableError):
                    # Cut by us: no poll, and due again after the restart.
                    return Result(start)
                if isinstance(error, (AuthError, ForbiddenError)):
                    state = replace(state, refusals=state.refusals + 1, refused_key=_hidden(key))
                return self._conclude(account, state, start, error, target)
            state = self._read(account, state, usage)
            state = self._collect_others(account, state, memory, call)
        return self._conclude(account, state, start, None, target)

    def _fetch(self, account: Account, part: str, call: _Call) -> Part:
        endpoint = self._providers[account.provider].endpoints[part]
        options = Options(account.max_operations, account.credit_rates)
        try:
            return endpoint.fetch(call.get, options)
        except PollError as error:
            words = self._redactor.redact(str(error), _LONGEST_TEXT)
            words = KeyParts(call.target.key, MESSAGE_RUN).redact(words)
            raise type(error)(escape(words)[:_LONGEST_MESSAGE]) from None

    def _collect_others(self, account: Account, state: AccountState, memory: _Memory, call: _Call) -> AccountState:
        """Ask for the billing parts that are due; a failure of theirs counts, and leaves the rest alone."""
        for part in account.collect:
            endpoint = self._providers[account.provider].endpoints[part]
            now = self._clock.monotonic()
            if part == "usage" or now - memory.asked.get(part, float("-inf")) < endpoint.every:
                continue
            try:
                value = self._fetch(account, part, call)
            except _OutOfTurn:
                break
            except PollError as error:
                logger.warning("%s could not be read: %s", part, error, extra=_about(account, reason=error.reason))
                state = replace(state, failures=_counted(state.failures, error.reason))
            else:
                wall = self._clock.wall()
                state = replace(state, parts={**state.parts, part: value}, part_times={**state.part_times, part: wall})
            memory.asked[part] = now
            state = replace(state, part_asked={**state.part_asked, part: self._clock.wall()})
        return state

    def _read(self, account: Account, state: AccountState, usage: Part) -> AccountState:
        """Take a good usage answer; one that was generated before the last one is kept out, and the last one ages."""
        wall = self._clock.wall()
        before, read_before = state.usage, state.part_times.get("usage")
        book = state.ledger
        if isinstance(usage, Usage):
            if before is not None and ledger.is_lagging(book, usage):
                logger.info("the answer is older than the last one and was left out", extra=_about(account))
                return replace(state, last_success=wall)
            # The limit of the reading before: the one that reads 0 may have no limit left either.
            limit = before.monthly_limit if before is not None else None
            warning = account.thresholds.credits.warning.amount(limit, CREDITS_WITHOUT_LIMIT.warning.value)
            book = ledger.advance(book, usage, wall, warning)
        if usage.rejected and (before is None or before.rejected != usage.rejected):
            logger.warning(
                "could not be read in the answer: %s",
                ", ".join(usage.rejected[:10]),
                extra=_about(account),
            )
        return replace(
            state,
            parts={**state.parts, "usage": usage},
            part_times={**state.part_times, "usage": wall},
            ledger=book,
            last_success=wall,
            reading_gap=None if read_before is None else max(0.0, wall - read_before),
        )

    def _put_off(self, account: Account, state: AccountState, target: KeyTarget, wait: Wait, now: float) -> Result:
        """Come back when the key may be used; such a poll is no poll, and counts nowhere."""
        slot = self._slots.after(account.id, account.interval, now)
        next_due = min(slot, now + wait.seconds)
        resting = replace(self._with_cooldown(state, target), next_poll=self._wall(max(next_due, now + wait.seconds)))
        self._store.publish(account, resting, settled=wait.reason == "cooldown")
        logger.debug("put off for %.1f s: %s", wait.seconds, wait.reason, extra=_about(account))
        return Result(next_due, wait)

    def _conclude(
        self,
        account: Account,
        state: AccountState,
        start: float,
        error: PollError | None,
        target: KeyTarget | None = None,
    ) -> Result:
        """Count the finished poll, commit what is known now, and say when the next one is due."""
        key, memory = account.id, self._memory(account)
        before, now = state.failure, self._clock.monotonic()
        next_due = next_poll = self._slots.after(key, account.interval, max(now, start + account.interval / 2))
        if error is None:
            state = replace(state, failure=None, refusals=0, refused_key="", refused_until=None)
        else:
            state = replace(
                state,
                failure=Failure(error.reason, str(error)),
                failures=_counted(state.failures, error.reason),
            )
        if isinstance(error, (AuthError, ForbiddenError)):
            rest = max(account.interval, min(LONGEST_REFUSAL_REST, account.interval * 2 ** min(state.refusals, 20)))
            memory.refused_until = now + rest - account.interval / 2
            state = replace(state, refused_until=self._wall(memory.refused_until))
        while state.refusals and next_poll < memory.refused_until:
            next_poll += account.interval
        if target is not None:
            state = self._with_cooldown(state, target)
            next_poll = max(next_poll, now + (self._limits.cooldown(target) or 0.0))
        self._metrics.poll_duration.labels(account.provider).observe(now - start)
        self._keep(
            account,
            replace(
                state,
                polls=state.polls + 1,
                last_poll=self._clock.wall(),
                last_duration=now - start,
                next_poll=self._wall(next_poll),
            ),
        )
        _tell(account, before, error, now - start)
        return Result(next_due)

    def _with_cooldown(self, state: AccountState, target: KeyTarget) -> AccountState:
        until = self._limits.cooldown_until(target)
        return state if until is None else replace(state, cooldown_until=until)

    def _keep(self, account: Account, state: AccountState) -> None:
        """Commit a state, then show it, unless a reload has replaced the account meanwhile."""
        key = account.id
        with self._keeping:
            if self._store.account(key) is account:
                self._save(key, state)
                self._store.publish(account, state)

    def _memory(self, account: Account) -> _Memory:
        key = account.id
        memory = self._memories.get(key)
        if memory is None:
            state = self._store.state(key)
            now, wall = self._clock.monotonic(), self._clock.wall()
            memory = self._memories[key] = _Memory(
                {part: now - max(0.0, wall - asked) for part, asked in state.part_asked.items()}
            )
            if state.refused_until is not None:
                memory.refused_until = now + min(LONGEST_REFUSAL_REST, state.refused_until - wall)
        return memory

    def _wall(self, monotonic: float) -> float:
        return self._clock.wall() + monotonic - self._clock.monotonic()


class _OutOfTurn(PollError):
    """The key may send no further request now; its first one was sent."""

    reason = RateLimitedError.reason


class _Call:
    """The requests of one poll: each is counted before it is sent, all end by the deadline."""

    def __init__(self, poller: Poller, account: Account, target: KeyTarget, deadline: float) -> None:
        self.target = target
        self._poller = poller
        self._account = account
        self._deadline = deadline
        self._admitted = True

    def get(self, path: str, params: Mapping[str, str] | None = None, accept: tuple[int, ...] = ()) -> Answer:
        """Send a GET; try again after a connection failure or a 5xx while time and the key's limits allow."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(path, params or {}, accept)
            except (UnreachableError, ServerError):
                backoff = FIRST_BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311  jitter is no secret
                if (
                    attempt == ATTEMPTS
                    or backoff >= self._left()
                    or self._poller._limits.cooldown(self.target) is not None
                ):
                    raise
                if self._poller._pause(backoff) or not self._admit():
                    raise
        raise AssertionError("unreachable")

    def _left(self) -> float:
        return self._deadline - self._poller._clock.monotonic()

    def _admit(self) -> bool:
        limits, account = self._poller._limits, self._account
        self._admitted = limits.admit(self.target, account.max_requests_per_minute) is None
        return self._admitted

    def _once(self, path: str, params: Mapping[str, str], accept: tuple[int, ...]) -> Answer:
        if not self._admitted and not self._admit():
            raise _OutOfTurn("the key's requests of this minute are used up")
        self._admitted = False
        left = self._left()
        if left <= 0:
            raise PollTimeoutError("no time was left for this request")
        provider = self._poller._providers[self._account.provider]
        connection = self._poller._connect(self._account)
        began = self._poller._clock.monotonic()
        try:
            raw = connection.get(path, params, {provider.key_header: self.target.key}, left)
        finally:
            self._poller._limits.ended(self.target, began)
        rest = cooldown_seconds(raw.status, raw.headers, raw.document, self._poller._clock.wall())
        if rest is not None:
            self._poller._limits.rest(self.target, rest)
        document = self._without_keys(raw.document)
        if 200 <= raw.status < 300 or raw.status in accept:
            return Answer(raw.status, document)
        raise refusal(raw.status, document)

    def _without_keys(self, document: object) -> object:
        """Return an answer that may be shown. It is the one place where a vendor's texts come in."""
        parts, redactor = KeyParts(self.target.key, READING_RUN), self._poller._redactor
        try:
            return change_texts(document, lambda text: escape(parts.redact(redactor.redact(text, _LONGEST_TEXT))))
        except RecursionError:
            raise InvalidResponseError("the answer is nested too deeply") from None


def _counted(failures: Mapping[str, int], reason: str) -> Mapping[str, int]:
    return {**failures, reason: failures.get(reason, 0) + 1}


def _about(account: Account, **more: object) -> Mapping[str, Mapping[str, object]]:
    return fields(provider=account.provider, account=account.name, **more)


def _tell(account: Account, before: Failure | None, error: PollError | None, seconds: float) -> None:
    """Log how a poll ended; a warning where it fails for a reason that the last one did not have."""
    if error is not None and (before is None or before.reason != error.reason):
        logger.warning("poll failed: %s", error, extra=_about(account, reason=error.reason))
    elif error is None and before is not None:
        logger.info("poll succeeded again", extra=_about(account))
    else:
        logger.debug("polled in %.3f s", seconds, extra=_about(account, reason=error.reason if error else ""))


def _hidden(key: str, salt: str | None = None) -> str:
    """Return a salted hash, to tell after a restart whether the key is still the one that was refused."""
    salt = salt or secrets.token_hex(16)
    return salt + ":" + hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()


def _is_refused(key: str, hidden: str) -> bool:
    return hmac.compare_digest(_hidden(key, hidden.partition(":")[0] or None), hidden)
