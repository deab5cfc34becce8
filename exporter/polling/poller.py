"""Polls one account, turns every failure into an ``AccountState``, and saves it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.config.thresholds import CREDITS_WITHOUT_LIMIT
from exporter.errors import AuthError, ForbiddenError, InternalError, PollError, UnreachableError
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.store import Store
from exporter.polling import ledger, refusals
from exporter.polling.commits import Commits
from exporter.polling.limits import Wait
from exporter.polling.requests import PollSession, RequestBudgetError, Sender
from exporter.polling.sharing import Sharing
from exporter.polling.slots import Slots
from exporter.providers.base import ParseOptions, Provider
from exporter.readings import AccountState, Failure, Part, Usage
from exporter.runtime.clock import Clock
from exporter.runtime.logs import fields
from exporter.state.base import KeyTarget

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a poll, with the monotonic second of the next one, and the reason if this one was put off."""

    next_due: float
    wait: Wait | None = None


@dataclass(slots=True)
class _Memory:
    """The monotonic seconds at which an account's parts were requested, and at which its refused key may be tried."""

    asked: dict[str, float] = field(default_factory=dict)
    refused_until: float = float("-inf")


class Poller:
    """Polls accounts. Thread-safe, but two polls of one account must not overlap."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        sender: Sender,
        store: Store,
        save: Callable[[AccountId, AccountState], AccountState],
        metrics: SelfMetrics,
        is_stopping: Callable[[], bool] = lambda: False,
        note_key: Callable[[AccountId, KeyTarget], None] | None = None,
    ) -> None:
        """Save each state with ``save`` before it can be scraped, and tell ``note_key`` which key a poll uses."""
        self._providers = providers
        self._sender = sender
        self._limits = sender.limits
        self._clock = sender.clock
        self._slots = Slots(sender.clock)
        self._store = store
        self._metrics = metrics
        self._is_stopping = is_stopping
        self._note_key = note_key or (lambda _account, _key: None)
        self._memories: dict[AccountId, _Memory] = {}
        self._sharing = Sharing()
        self.commits = Commits(store, save)

    def first_due(self, account: Account) -> float:
        """Return the monotonic second at which an account is due. A restored one keeps the time of its next poll."""
        now = self._clock.monotonic()
        next_poll = self._store.state(account.id).next_poll
        if next_poll is None:
            return now
        # No poll is planned further ahead than this. If it seems so, the clock was set back between the runs.
        return now + min(max(0.0, next_poll - self._clock.wall()), account.interval * 1.5)

    def use_providers(self, providers: Mapping[str, Provider]) -> None:
        """Poll with these providers from now on, as a reload says."""
        self._providers = providers

    def lift_refusals(self) -> None:
        """Let refused keys be tried again, as a reload does."""
        for key, memory in list(self._memories.items()):
            memory.refused_until = float("-inf")
            if self._store.state(key).refusals:
                self.commits.change(key, _without_refusals, save=True)

    def forget(self, keep: Callable[[AccountId], bool]) -> None:
        """Forget the accounts that are no longer there."""
        for key in [key for key in list(self._memories) if not keep(key)]:  # a copy, because running polls add accounts
            self._memories.pop(key, None)
        self._sharing.forget(keep)

    def poll(self, account: Account) -> Result:
        """Poll the account once, or find that it has to wait; never raises."""
        start = self._clock.monotonic()
        try:
            return self._poll(account, start)
        except Exception:
            logger.exception("unexpected exception while polling", extra=_about(account))
            state = replace(self._store.state(account.id), last_status=None)
            error = InternalError("unexpected exception in the exporter; see its log")
            return self._conclude(account, state, start, error)

    def _poll(self, account: Account, start: float) -> Result:
        state = self._store.state(account.id)
        memory = self._memory(account)
        try:
            key = account.key.read()
        except PollError as error:
            return self._conclude(account, replace(state, last_status=None), start, error)
        self._sender.redactor.add(key)
        if state.refusals and start < memory.refused_until and refusals.is_key_of(key, state.refused_key):
            next_due = self._slots.after(account.id, account.interval, start)
            return Result(next_due, Wait(memory.refused_until - start, "refused"))
        target = KeyTarget(account.provider, account.base_url, key)
        self._sharing.note(account.id, target)
        self._note_key(account.id, target)
        asked, deadline = self._clock.monotonic(), start + account.timeout
        wait = self._limits.admit(target, account.max_requests_per_minute, deadline)
        if wait is not None:
            return self._put_off(account, state, target, wait, start)
        session = PollSession(self._sender, account, self._providers[account.provider], target, deadline, asked)
        with self._metrics.polls_in_flight.track_inprogress(), session:
            return self._poll_with(account, state, session, start)

    def _poll_with(self, account: Account, state: AccountState, session: PollSession, start: float) -> Result:
        """Send the requests of a poll, of which the first is admitted."""
        target = session.target
        try:
            usage = self._fetch(account, "usage", session)
        except PollError as error:
            if session.wait is not None:
                return self._put_off(account, state, target, session.wait, start)
            if self._is_stopping() and isinstance(error, UnreachableError):
                # The exporter cut this poll itself. It counts nowhere, and the account is due after the restart.
                return Result(start)
            if isinstance(error, (AuthError, ForbiddenError)):
                state = replace(state, refusals=state.refusals + 1, refused_key=refusals.hashed(target.key))
            return self._conclude(account, replace(state, last_status=session.status), start, error, target)
        state = _with_usage(account, state, usage, self._clock.wall(), session.status)
        return self._conclude(account, self._collect_others(account, state, session), start, None, target)

    def _fetch(self, account: Account, part: str, session: PollSession) -> Part:
        options = ParseOptions(account.max_operations, account.credit_rates, account.variables, self._clock.wall())
        try:
            return self._providers[account.provider].endpoints[part].fetch(session.get, options)
        except PollError as error:
            raise session.cleaned(error) from None

    def _collect_others(self, account: Account, state: AccountState, session: PollSession) -> AccountState:
        """Request the billing parts that are due. The failure of one is counted, and leaves the others as they are."""
        memory = self._memory(account)
        for part in account.collect:
            endpoint = self._providers[account.provider].endpoints[part]
            now = self._clock.monotonic()
            if part == "usage" or now - memory.asked.get(part, float("-inf")) < endpoint.every:
                continue
            try:
                value = self._fetch(account, part, session)
            except RequestBudgetError:
                break
            except PollError as error:
                logger.warning("%s cannot be read: %s", part, error, extra=_about(account, reason=error.reason))
                state = replace(state, failures=_counted(state.failures, error.reason))
            else:
                wall = self._clock.wall()
                state = replace(state, parts={**state.parts, part: value}, part_times={**state.part_times, part: wall})
            memory.asked[part] = now
            state = replace(state, part_asked={**state.part_asked, part: self._clock.wall()})
        return state

    def _put_off(self, account: Account, state: AccountState, target: KeyTarget, wait: Wait, now: float) -> Result:
        """Put the poll off until the key may be used. It is not counted as a poll."""
        slot = self._slots.after(account.id, account.interval, now)
        if wait.reason == "elsewhere":
            return Result(slot, wait)
        next_due = min(slot, now + wait.seconds)
        next_poll, rests = self._wall(max(next_due, now + wait.seconds)), wait.reason == "cooldown"
        self.commits.change(
            account.id,
            lambda state: self._with_cooldown(replace(state, next_poll=next_poll), target),
            save=rests and self._limits.cooldown_until(target) != state.cooldown_until,  # for the other replicas
            first_poll_done=rests,
        )
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
        """Count the finished poll, commit the new state, and return when the next poll is due."""
        key, memory = account.id, self._memory(account)
        before, now = state.failure, self._clock.monotonic()
        next_due = next_poll = self._slots.after(key, account.interval, max(now, start + account.interval / 2))
        state = _with_outcome(state, error)
        if isinstance(error, (AuthError, ForbiddenError)):
            backoff = refusals.backoff_seconds(account.interval, state.refusals)
            memory.refused_until = now + backoff - account.interval / 2
            state = replace(state, refused_until=self._wall(memory.refused_until))
        while state.refusals and next_poll < memory.refused_until:
            next_poll += account.interval
        at, took, planned = self._clock.wall(), now - start, self._wall(next_poll)
        state = replace(state, next_poll=planned, polls=state.polls + 1, last_poll=at, last_duration=took)
        if target is not None:
            state, known = self._with_cooldown(state, target), state.cooldown_until
            if state.cooldown_until != known:
                self._show_cooldown_of_others(key, target)
        self._metrics.poll_duration.labels(account.provider).observe(took)
        self.commits.commit(account, state)
        _tell(account, before, error, took)
        return Result(next_due)

    def _with_cooldown(self, state: AccountState, target: KeyTarget) -> AccountState:
        until = self._limits.cooldown_until(target)
        if until is None:
            return state
        earliest = self._clock.wall() + (self._limits.cooldown(target) or 0.0)
        return replace(state, cooldown_until=until, next_poll=max(state.next_poll or 0.0, earliest))

    def _show_cooldown_of_others(self, account: AccountId, target: KeyTarget) -> None:
        """Show a new cool-down at the other accounts of the key, which are polled later."""
        for key in self._sharing.others(account, target):
            self.commits.change(key, lambda state: self._with_cooldown(state, target), save=False)

    def _memory(self, account: Account) -> _Memory:
        memory = self._memories.get(account.id)
        if memory is None:
            memory = self._memories[account.id] = _restored(self._store.state(account.id), self._clock)
        return memory

    def _wall(self, monotonic: float) -> float:
        return self._clock.wall() + monotonic - self._clock.monotonic()


def _restored(state: AccountState, clock: Clock) -> _Memory:
    now, wall = clock.monotonic(), clock.wall()
    memory = _Memory({part: now - max(0.0, wall - asked) for part, asked in state.part_asked.items()})
    if state.refused_until is not None:
        memory.refused_until = now + min(refusals.LONGEST_BACKOFF_SECONDS, state.refused_until - wall)
    return memory


def _with_usage(account: Account, state: AccountState, usage: Part, wall: float, status: int | None) -> AccountState:
    """Take a good usage response. One that is older than the last is left out, and the last one ages."""
    before, read_before = state.usage, state.part_times.get("usage")
    book = state.ledger
    if isinstance(usage, Usage):
        if before is not None and ledger.is_lagging(book, usage):
            logger.info("the response is older than the last one and was left out", extra=_about(account))
            return replace(state, last_success=wall, last_status=status)
        # Take the limit of the last reading, because a reading of 0 may have lost its limit too.
        limit = before.monthly_limit if before is not None else None
        warning = account.thresholds.credits.warning.amount(limit, CREDITS_WITHOUT_LIMIT.warning.value)
        book = ledger.advance(book, usage, wall, warning)
    if usage.rejected and (before is None or before.rejected != usage.rejected):
        names = ", ".join(usage.rejected[:10])
        logger.warning("fields of the response cannot be read: %s", names, extra=_about(account))
    return replace(
        state,
        parts={**state.parts, "usage": usage},
        part_times={**state.part_times, "usage": wall},
        ledger=book,
        last_success=wall,
        last_status=status,
        reading_gap=None if read_before is None else max(0.0, wall - read_before),
    )


def _with_outcome(state: AccountState, error: PollError | None) -> AccountState:
    if error is None:
        return replace(state, failure=None, refusals=0, refused_key="", refused_until=None)
    failure = Failure(error.reason, str(error))
    return replace(state, failure=failure, failures=_counted(state.failures, error.reason))


def _without_refusals(state: AccountState) -> AccountState:
    return replace(state, refusals=0, refused_key="", refused_until=None)


def _counted(failures: Mapping[str, int], reason: str) -> Mapping[str, int]:
    return {**failures, reason: failures.get(reason, 0) + 1}


def _about(account: Account, **more: object) -> Mapping[str, Mapping[str, object]]:
    return fields(provider=account.provider, account=account.name, **more)


def _tell(account: Account, before: Failure | None, error: PollError | None, seconds: float) -> None:
    """Log how a poll ended. A failure is a warning if the last poll did not fail for the same reason."""
    if error is not None and (before is None or before.reason != error.reason):
        logger.warning("poll failed: %s", error, extra=_about(account, reason=error.reason))
    elif error is None and before is not None:
        logger.info("poll succeeded again", extra=_about(account))
    else:
        logger.debug("polled in %.3f s", seconds, extra=_about(account, reason=error.reason if error else ""))
