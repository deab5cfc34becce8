"""The connection to the database, made again when it is lost, and cut when an answer does not come in time."""

from __future__ import annotations

import logging
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from exporter.errors import StateUnavailableError
from exporter.state.postgresql import schema
from exporter.state.postgresql.clock import DatabaseClock
from exporter.state.postgresql.faults import Faults, reason
from exporter.state.source import StateSource

logger = logging.getLogger(__name__)

T = TypeVar("T")
DEADLINE_SECONDS = 2.0
"""Seconds that a poll waits for the database at most, for its turn and for the answer each."""
_CONNECT_SECONDS = 5
_PREPARE_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 0.25
# The server ends what we no longer wait for. The commits of the last second may be lost with the server, as they may
# in an SQLite file with `synchronous = NORMAL`; the exporter has them in memory.
_SETTINGS = (
    "SET statement_timeout = 10000",
    "SET idle_in_transaction_session_timeout = 5000",
    "SET synchronous_commit = off",
    # What a machine that is gone has locked is free within some seconds.
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 10000",
)


_LONG = 4
"""Characters of a password that is redacted within words too."""
_LATE = "it did not respond within {:g} seconds"
_CHANNEL = "video_api_exporter"
_TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"


class Link:
    """A connection that a thread of its own keeps. Thread-safe: one transaction at a time."""

    def __init__(self, source: StateSource, clock: DatabaseClock, *, is_replica: bool) -> None:
        self._source = source
        self._clock = clock
        self._faults = Faults(is_replica=is_replica)
        self._on_connect: list[Callable[[], None]] = []
        self._on_news: Callable[[], None] | None = None
        self._mutex = threading.Lock()
        self._cutting = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._due: float | None = None
        self._late = ""
        """Why the connection was cut by us, while a transaction waits on it."""
        self._tried = threading.Event()
        self._closing = threading.Event()
        self.salt = b""
        self.failures = 0
        self.connections = 0

    def open(self, *on_connect: Callable[[], None]) -> None:
        """Connect, and call ``on_connect`` after each connection.

        A database that does not answer within some seconds is connected later.
        """
        self._on_connect += on_connect
        threading.Thread(target=self._keep, name="state", daemon=True).start()
        self._tried.wait(_CONNECT_SECONDS + 1)

    def call_on_news(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` soon after another process has told news."""
        self._on_news = wake
        with suppress(StateUnavailableError):  # the next connection listens from its start
            self.run(lambda db: db.execute(f"LISTEN {_CHANNEL}"), "look")

    def tell_news(self, db: psycopg.Connection[Any]) -> None:
        """Tell the other processes when the transaction is committed."""
        db.execute(f"NOTIFY {_CHANNEL}")

    def learn_time(self, db: psycopg.Connection[Any]) -> None:
        """Set our clock by that of the database."""
        since = self._clock.monotonic()
        row = db.execute(_TIME).fetchone()
        if row is not None:
            self._clock.learn(row[0], since)

    @property
    def is_up(self) -> bool:
        """Return whether the database answers."""
        return self._connection is not None

    def run(
        self, work: Callable[[psycopg.Connection[Any]], T], purpose: Literal["look", "write", "save"] = "write"
    ) -> T:
        """Run ``work`` in a transaction. Raises StateUnavailableError after some seconds at the latest.

        A failed look is no failed write. A save writes all that is not written yet, so that it ends a fault.
        """
        if not self._mutex.acquire(timeout=DEADLINE_SECONDS):
            self.failures += purpose != "look"
            raise StateUnavailableError("the state database is slow")
        try:
            db = self._connection
            if db is None:
                self.failures += purpose != "look"
                raise StateUnavailableError("the state database is not connected")
            self._due = time.monotonic() + DEADLINE_SECONDS
            try:
                with db.transaction():
                    result = work(db)
                    # A connection alone shows nothing, because rights may be lost or the disk be full.
                    works_again = bool(self._faults.present) and _has_written(db)
            except (psycopg.Error, OSError) as error:
                self.failures += purpose != "look"
                self._lose(db, self._late or reason(error))
                raise StateUnavailableError(self._faults.present) from None
            finally:
                with self._cutting:
                    self._due, self._late = None, ""
            if works_again:
                self._faults.end(has_saved=purpose == "save")
            return result
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Close the connection."""
        self._closing.set()
        if self._mutex.acquire(timeout=DEADLINE_SECONDS):
            try:
                db, self._connection = self._connection, None
                if db is not None:
                    db.close()
            finally:
                self._mutex.release()

    def _keep(self) -> None:
        while not self._closing.is_set():
            if self.is_up:
                self._cut_late_answer()
                self._notice_end()
            else:
                self._connect()
                self._tried.set()
            self._closing.wait(_LOOK_SECONDS if self.is_up else _RETRY_SECONDS)
        self.close()  # again, because this thread may have made a connection meanwhile

    def _connect(self) -> None:
        url = ""
        try:
            url = self._source.url()
            # The connection ends by itself where the machine of the server is gone.
            db = psycopg.connect(
                url,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                application_name="video-api-exporter",
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=10000,
            )
        except (psycopg.Error, OSError, ValueError) as error:
            self._complain(without_password(str(error), url))
            return
        began = time.monotonic()
        try:
            self._prepare(db)
        except (psycopg.Error, OSError, schema.Unfit) as error:
            db.close()
            late = time.monotonic() - began >= _PREPARE_SECONDS
            self._complain(_LATE.format(_PREPARE_SECONDS) if late else without_password(str(error), url))

    def _prepare(self, db: psycopg.Connection[Any]) -> None:
        timer = threading.Timer(_PREPARE_SECONDS, cut, (db,))
        timer.daemon = True
        timer.start()
        try:
            for setting in _SETTINGS:
                db.execute(setting)
            salt = schema.prepare(db)
            self.learn_time(db)
            db.add_notify_handler(lambda notice: self._pass_on(db, notice.pid))
            if self._on_news is not None:
                db.execute(f"LISTEN {_CHANNEL}")
        finally:
            timer.cancel()
        if self.salt not in (b"", salt):
            logger.info("the state database is a new one. Everything that is known is written to it")
        self.salt, self._connection = salt, db
        self.connections += 1
        threading.Thread(target=self._tell, name="state-catch-up", daemon=True).start()

    def _tell(self) -> None:
        # In a thread of its own, because the keeper has to cut this too where no answer comes.
        for told in self._on_connect:
            with suppress(StateUnavailableError):
                told()

    def _cut_late_answer(self) -> None:
        with self._cutting:
            db, due = self._connection, self._due
            if db is not None and due is not None and time.monotonic() > due:
                self._late = _LATE.format(DEADLINE_SECONDS)
                cut(db)

    def _notice_end(self) -> None:
        """Read what the server sent on an idle connection, which is news, or its end. Waits for nothing."""
        if not self._mutex.acquire(blocking=False):
            return
        try:
            db = self._connection
            if db is not None and select.select([db.fileno()], [], [], 0)[0]:
                try:
                    db.pgconn.consume_input()
                    while (notice := db.pgconn.notifies()) is not None:
                        self._pass_on(db, notice.be_pid)
                except psycopg.Error as error:
                    self._lose(db, reason(error))
        finally:
            self._mutex.release()

    def _pass_on(self, db: psycopg.Connection[Any], sender: int) -> None:
        if self._on_news is not None and sender != db.info.backend_pid:
            self._on_news()

    def _lose(self, db: psycopg.Connection[Any], why: str) -> None:
        with suppress(psycopg.Error, OSError):
            db.close()
        self._connection = None
        self._complain(why)

    def _complain(self, why: str) -> None:
        self._faults.begin(why, was_reached=self.connections > 0)


def _has_written(db: psycopg.Connection[Any]) -> bool:
    """Return whether the transaction has changed something."""
    row = db.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
    return row is not None and bool(row[0])


def cut(db: psycopg.Connection[Any]) -> None:
    """Make the wait of another thread for this connection's answer fail at once."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=socket.dup(db.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def without_password(text: str, url: str) -> str:
    """Return a message of libpq as one line, without the connection string and its password."""
    try:
        password = str(conninfo_to_dict(url).get("password") or "")
    except psycopg.Error:
        return "the connection string cannot be read; a special character in its password must be percent-encoded"
    for secret in filter(None, (url, password, quote(password, safe=""))):
        # A short one may be a part of any word.
        pattern = re.escape(secret) if len(secret) >= _LONG else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, "<redacted>", text)
    return " ".join(text.split())
