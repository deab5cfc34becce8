"""Runs each account's polls at their times. The only module that knows APScheduler.

Each account has one next poll. It is set when the poll before it has ended, so polls of an account never overlap, and
none is dropped as missed. The polls that become due in the same moment share a job of APScheduler, which wakes its
thread twice for each job. Each provider and base URL has a pool of threads of its own, so a vendor that hangs delays no
other.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo

from apscheduler.executors.pool import ThreadPoolExecutor as JobExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from exporter.account_id import AccountId
from exporter.config.accounts import Account
from exporter.runtime.clock import Clock

logger = logging.getLogger(__name__)

MOMENT_SECONDS = 0.025
"""Polls that become due within this time begin together, at its end."""
HEARTBEAT_SECONDS = 5.0
OVERDUE_SECONDS = 120.0
"""Seconds after which polls that are due and have not ended count as hanging."""


class _MonotonicZone(tzinfo):
    """The monotonic clock as a time zone.

    APScheduler takes the time from ``datetime.now(zone)``, which follows the wall clock. After that is set back by an
    hour, it would poll nothing for an hour. With this zone it uses the monotonic clock, which never jumps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def at(self, monotonic: float) -> datetime:
        return datetime(1970, 1, 1, tzinfo=self) + timedelta(seconds=monotonic)

    def fromutc(self, _utc: datetime) -> datetime:
        return self.at(self._clock.monotonic())

    def utcoffset(self, _when: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, _when: datetime | None) -> None:
        return None

    def tzname(self, _when: datetime | None) -> str:
        return "monotonic"


class _Job:
    """The next poll of one account. ``account`` becomes another object when a reload changes the account."""

    __slots__ = ("account", "due", "moment")

    def __init__(self, account: Account, due: float) -> None:
        self.account = account
        self.due = due
        self.moment: int | None = None
        """The number of the moment in which it begins; None while the poll runs."""


class Scheduler:
    """Calls ``poll`` for each account when it is due. ``poll`` returns the monotonic second of the next one."""

    def __init__(
        self,
        poll: Callable[[Account], float],
        clock: Clock,
        observe_lag: Callable[[float], object],
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._concurrency = 1
        self._observe_lag = observe_lag
        self._zone = _MonotonicZone(clock)
        self._lock = threading.Lock()
        self._jobs: dict[AccountId, _Job] = {}
        self._waiting: dict[int, dict[_Job, AccountId]] = {}
        """The polls that begin in each moment."""
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._last_ends: dict[str, float] = {}
        """The monotonic second at which a poll of each pool last ended."""
        self._last_beat = clock.monotonic()
        self._running: set[_Job] = set()
        self._idle = threading.Condition(self._lock)
        self._stopping = threading.Event()
        self._scheduler = BackgroundScheduler(
            timezone=self._zone,
            executors={"default": JobExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )

    def start(self) -> None:
        """Begin to run the polls that are due."""
        self._scheduler.start()
        self._beat()

    def _beat(self) -> None:
        self._last_beat = self._clock.monotonic()
        if not self._stopping.is_set():
            self._add(self._beat, self._last_beat + HEARTBEAT_SECONDS)

    def _add(self, run: Callable[..., None], due: float, *args: object) -> None:
        """Run once when due. Only date triggers use the zone, because the others compute with the wall clock."""
        self._scheduler.add_job(run, DateTrigger(self._zone.at(due), timezone=self._zone), args=args)

    def trouble(self) -> str | None:
        """Describe what hangs, or return None. Takes no lock, because a thread that hangs may hold it."""
        now = self._clock.monotonic()
        if now - self._last_beat >= OVERDUE_SECONDS:
            return "the scheduler has given no sign of life for two minutes"
        for job in list(self._jobs.values()):
            if now - job.due < OVERDUE_SECONDS:
                continue
            # A pool that is late but does not hang still ends polls.
            since = max(job.due, self._last_ends.get(self._pool_of(job.account), now))
            if now - since >= max(OVERDUE_SECONDS, 2 * job.account.timeout):
                return f"polls of {job.account.provider} that were due have not ended for two minutes"
        return None

    def _pool_of(self, account: Account) -> str:
        return f"{account.provider} {account.base_url} {self._concurrency}"

    def replace(self, accounts: Iterable[Account], concurrency: int, first_due: Callable[[Account], float]) -> None:
        """Poll these accounts alone, at most ``concurrency`` of one provider and base URL at a time.

        An account that is the same object as before keeps its time. A changed one is due at once, and a new one at
        the time that ``first_due`` returns.
        """
        wanted = {account.id: account for account in accounts}
        with self._lock:
            self._concurrency = concurrency
            for key in [key for key in self._jobs if key not in wanted]:
                self._cancel(self._jobs.pop(key))
            for key, account in wanted.items():
                job = self._jobs.get(key)
                if job is None:
                    job = self._jobs[key] = _Job(account, first_due(account))
                    self._submit(key, job)
                elif job.account is not account:
                    job.account, job.due = account, self._clock.monotonic()
                    if job.moment is not None:
                        self._cancel(job)
                        self._submit(key, job)

    def _submit(self, key: AccountId, job: _Job) -> None:
        is_due = job.due <= self._clock.monotonic()  # then it begins at once
        job.moment = (math.floor if is_due else math.ceil)(job.due / MOMENT_SECONDS)
        waiting = self._waiting.get(job.moment)
        if waiting is None:
            waiting = self._waiting[job.moment] = {}
            self._add(self._begin, job.moment * MOMENT_SECONDS, job.moment)
        waiting[job] = key

    def _cancel(self, job: _Job) -> None:
        if job.moment is not None:
            self._waiting.get(job.moment, {}).pop(job, None)
        job.moment = None

    def _begin(self, moment: int) -> None:
        """Hand the polls of a moment to the pools of their upstreams."""
        with self._lock:
            for job, key in self._waiting.pop(moment).items():
                if self._stopping.is_set():
                    return
                try:
                    self._pool(job.account).submit(self._run, key, job, job.due)
                except RuntimeError:  # the poll waits for another thread of the pool
                    logger.error("no thread can be started; raise TasksMax= of the service, or `ulimit -u`")

    def _pool(self, account: Account) -> ThreadPoolExecutor:
        name = self._pool_of(account)
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = ThreadPoolExecutor(self._concurrency)
            self._last_ends[name] = self._clock.monotonic()
        return pool

    def _run(self, key: AccountId, job: _Job, due: float) -> None:
        with self._lock:
            # A reload may cancel a job after it was handed to its pool.
            if self._stopping.is_set() or self._jobs.get(key) is not job or job.due != due or job.moment is None:
                return
            job.moment = None
            account = job.account
            self._running.add(job)
        self._observe_lag(max(0.0, self._clock.monotonic() - due))
        next_due = due + account.interval
        try:
            next_due = self._poll(account)
        except Exception:
            logger.exception("unexpected exception while polling")
        finally:
            with self._lock:
                self._last_ends[self._pool_of(account)] = self._clock.monotonic()
                self._running.discard(job)
                self._idle.notify_all()
        with self._lock:
            if self._stopping.is_set() or self._jobs.get(key) is not job:
                return
            if job.due == due:  # else a reload has changed the account, and set the time
                job.due = next_due
            self._submit(key, job)

    def running(self) -> set[AccountId]:
        """Return the accounts that are being polled now, also those that are no longer to be polled."""
        with self._lock:
            return {job.account.id for job in self._running}

    def stop(self, timeout: float) -> bool:
        """Start no further poll; return whether the running polls ended within ``timeout`` seconds."""
        with self._lock:
            self._stopping.set()
        if self._scheduler.running:
            self._shut_down()
        for pool in self._pools.values():
            pool.shutdown(wait=False)
        with self._lock:
            return self._idle.wait_for(lambda: not self._running, timeout)

    def _shut_down(self) -> None:
        # APScheduler fails with a traceback if it is shut down while it hands out jobs. So it is paused first, and
        # get_jobs waits until it has handed them out.
        self._scheduler.pause()
        self._scheduler.get_jobs("default")
        self._scheduler.shutdown(wait=False)
