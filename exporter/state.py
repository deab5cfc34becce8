"""The state file: what must outlive the process, in SQLite, committed before it is shown to anyone.

It holds the last state of each account (this module), and the recent requests and cool-downs of each
key (``limits``). It is never worth an outage: a file that cannot be used is set aside, a disk that
cannot be written is counted, logged once and tried again, and the exporter runs on from memory.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from exporter.clock import Clock
from exporter.errors import StartError, StateUnavailable
from exporter.readings import AccountState

logger = logging.getLogger(__name__)

AccountKey = tuple[str, str]
T = TypeVar("T")

APPLICATION_ID = 0x76616578  # "vaex": tells our files from other programs' SQLite files
SCHEMA_VERSION = 1
# When a row was written. The checks let a damaged file be found out before anyone reckons with its times.
_MOMENT = """
    boot TEXT NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL,
    CHECK (typeof(monotonic) = 'real' AND abs(monotonic) < 1e12),
    CHECK (typeof(wall) = 'real' AND abs(wall) < 1e12)
"""
SCHEMA = f"""
CREATE TABLE salt(salt BLOB NOT NULL);
CREATE TABLE accounts(
    account TEXT PRIMARY KEY, state BLOB NOT NULL, checksum INTEGER NOT NULL, saved_at REAL NOT NULL
);
CREATE TABLE requests(id INTEGER PRIMARY KEY, key BLOB NOT NULL, writer BLOB NOT NULL, {_MOMENT});
CREATE INDEX requests_by_key ON requests(key);
CREATE TABLE cooldowns(
    key BLOB PRIMARY KEY, seconds REAL NOT NULL, {_MOMENT},
    CHECK (typeof(seconds) = 'real' AND seconds BETWEEN 0 AND 21600)
) WITHOUT ROWID;
"""
KEEP_REMOVED_SECONDS = 30 * 86400.0
_BUSY_SECONDS = 0.25  # how long a poll waits for another process's transaction
_RETRY_SECONDS = 5.0  # how long a file that failed is left alone
_SALT_BYTES = 32
# SQLite quotes a damaged schema in its message, which the module then cannot decode.
_FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)


class _Unusable(Exception):
    """The file will never do: ``why`` becomes part of the name under which it is set aside."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


class StateFile:
    """One SQLite file, used by any number of threads; opened with ``open``."""

    def __init__(self, path: Path, clock: Clock, *, exclusive: bool) -> None:
        # SQLite puts -wal and -shm beside the file that a link points to; so do we with what we set aside.
        self._path = Path(os.path.realpath(path))
        self._clock = clock
        self._exclusive = exclusive
        self._mutex = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._closed = False
        self._failures = 0
        self._retry_at = float("-inf")
        self._complaints: set[str] = set()
        self._unsaved: dict[AccountKey, bytes] = {}

    @classmethod
    def open(cls, path: Path, clock: Clock, *, exclusive: bool) -> StateFile:
        """Open the file, or make it with its folders; a file that cannot be used costs its content at most.

        ``exclusive`` is for the daemon: a second one on the same file raises StartError. ``poll`` by hand
        opens it beside a running daemon.
        """
        state = cls(path, clock, exclusive=exclusive)
        with suppress(OSError):  # connecting meets the same fault and reports it
            state._prepare()
        with suppress(StateUnavailable):
            state.write(lambda _: None)
        return state

    @property
    def write_failures(self) -> int:
        """Return how many changes could not be committed since the start."""
        return self._failures

    def load(self) -> dict[AccountKey, AccountState]:
        """Return every account in the file, removed ones too; unreadable rows are logged and skipped."""
        decode = TypeAdapter(AccountState).validate_json
        states: dict[AccountKey, AccountState] = {}
        with suppress(StateUnavailable):
            for name, content, checksum in self.read(
                lambda db: db.execute("SELECT account, state, checksum FROM accounts").fetchall()
            ):
                try:
                    if checksum != _checksum(name, content):
                        raise ValueError("the checksum does not match")
                    provider, account = json.loads(name)
                    states[provider, account] = decode(content)
                except (ValueError, TypeError) as error:  # one bad row must not cost the others
                    logger.warning("state file %s: account %s is skipped: %s", self._path, name, error)
        return states

    def save(self, account: AccountKey, state: AccountState) -> None:
        """Commit the state of one account; what cannot be written now is kept for the next save."""
        content = _encode(state)
        with self._mutex:
            self._unsaved[account] = content
            with suppress(StateUnavailable):
                self.write(self._put_accounts)
                self._unsaved.clear()

    def forget(self, keep: Iterable[AccountKey]) -> None:
        """Drop the accounts that are not in ``keep`` and were last saved more than 30 days ago.

        So an account that was taken out for a while, or moved to another shard and back, finds its
        ledger again.
        """
        kept = {_name(account) for account in keep}
        before = self._clock.wall() - KEEP_REMOVED_SECONDS

        def drop(db: sqlite3.Connection) -> None:
            old = db.execute("SELECT account FROM accounts WHERE saved_at < ?", (before,)).fetchall()
            gone = [(name,) for (name,) in old if name not in kept]
            db.executemany("DELETE FROM accounts WHERE account = ?", gone)

        with suppress(StateUnavailable):
            self.write(drop)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a transaction of its own and commit it; StateUnavailable: nothing was written."""
        with self._mutex:
            if self._closed:
                raise StateUnavailable(f"state file {self._path} is closed")
            try:
                try:
                    result = self._commit(work)
                except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                    if not (_is_corrupt(error) and self._set_aside("corrupt", error)):
                        raise
                    result = self._commit(work)
            except (*_FAULTS, _Unusable, StartError) as error:
                self._failed(error)
                raise StateUnavailable(str(error)) from error
            except StateUnavailable:
                self._failures += 1
                raise
            if self._complaints:
                logger.info("state file %s is written again", self._path)
                self._complaints.clear()
            return result

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on what was committed last, also on a full or read-only disk; or StateUnavailable."""
        with self._mutex:
            try:
                if self._db is not None:
                    return work(self._db)
                with closing(self._open_read_only()) as db:
                    return work(db)
            except (*_FAULTS, _Unusable) as error:
                if not self._complaints:
                    self._complain(error)
                raise StateUnavailable(str(error)) from error

    def close(self) -> None:
        """Write what is left, close the file and let another daemon have it; saves after this are ignored."""
        with self._mutex:
            if self._unsaved:
                self._retry_at = float("-inf")
                with suppress(StateUnavailable):
                    self.write(self._put_accounts)
            self._closed = True
            self._disconnect()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    # -- accounts

    def _put_accounts(self, db: sqlite3.Connection) -> None:
        now = self._clock.wall()
        for account, content in self._unsaved.items():
            name = _name(account)
            db.execute(
                "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " state = excluded.state, checksum = excluded.checksum, saved_at = excluded.saved_at",
                (name, content, _checksum(name, content), now),
            )

    # -- the connection

    def _commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._connected()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._disconnect()
        self._retry_at = self._clock.monotonic() + _RETRY_SECONDS
        self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Log a fault, once until the file can be written again."""
        if str(error) not in self._complaints:
            self._complaints.add(str(error))
            logger.error(
                "state file %s cannot be used: %s; running on from memory, which ends with the process",
                self._path,
                error,
            )

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            if self._clock.monotonic() < self._retry_at:
                raise StateUnavailable(f"state file {self._path} failed a moment ago")
            self._prepare()
            try:
                self._db = self._open()
            except _Unusable as error:
                if not self._set_aside(error.why, error):
                    raise
                self._db = self._open()
        return self._db

    def _prepare(self) -> None:
        """Make folder and file, take the daemon's lock, see that we can write it and nobody else reads it."""
        if self._path.exists() and not self._path.is_file():
            raise OSError("it is not a regular file")  # a folder, a device: nothing to set aside
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._exclusive and self._lock is None:
            self._lock = _lock(self._path)
        _make_private(self._path)
        for needed in (self._path, self._path.parent):  # SQLite would only say that it is unable to open it
            if not os.access(needed, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise OSError(f"{needed} cannot be written")

    def _open(self) -> sqlite3.Connection:
        db = _connect(str(self._path))
        try:
            if _is_fresh(db):
                # Both settings are part of the file, written with the schema or not at all.
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN IMMEDIATE")
                if _is_fresh(db):  # another process may have been faster
                    for statement in SCHEMA.split(";"):
                        db.execute(statement)
                    db.execute("INSERT INTO salt VALUES (?)", (secrets.token_bytes(_SALT_BYTES),))
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                db.execute("COMMIT")
            _inspect(db)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA journal_size_limit = 4194304")
        except BaseException as error:
            db.close()
            if _is_corrupt(error):
                raise _Unusable("corrupt", str(error)) from error
            raise
        return db

    def _open_read_only(self) -> sqlite3.Connection:
        # A file in WAL mode can be read without writing to its folder only where -wal and -shm are there
        # already; where they are not, it was closed properly, and SQLite may be told that nobody changes it.
        for option in ("mode=ro", "mode=ro&immutable=1"):
            db = _connect(f"file:{quote(str(self._path))}?{option}")
            try:
                _inspect(db)
            except (*_FAULTS, _Unusable) as error:
                db.close()
                failure = error
            else:
                return db
        raise failure

    def _set_aside(self, why: str, error: Exception) -> bool:
        """Rename a file that cannot be used, so that a new one can be made; False where it must stay."""
        self._disconnect()
        lock: int | None = None
        if not self._exclusive:
            # A daemon may be at work on this file: only who could be the daemon may move it.
            try:
                lock = _lock(self._path)
            except StartError:
                return False
        try:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock.wall()))
            aside = self._path.with_name(f"{self._path.name}.{why}-{stamp}")
            number = 1
            while aside.exists():
                number += 1
                aside = self._path.with_name(f"{self._path.name}.{why}-{stamp}-{number}")
            for suffix in ("-wal", "-shm", "-journal", ""):
                with suppress(FileNotFoundError):
                    os.replace(f"{self._path}{suffix}", f"{aside}{suffix}")
        finally:
            if lock is not None:
                os.close(lock)
        logger.error("state file %s is %s (%s): set aside as %s", self._path, why, error, aside)
        return True


def _connect(database: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        database,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=database.startswith("file:"),
    )
    db.text_factory = lambda raw: raw.decode(errors="replace")
    return db


def _schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()


def _is_fresh(db: sqlite3.Connection) -> bool:
    return _pragma(db, "application_id") == 0 and _pragma(db, "user_version") == 0 and not _schema(db)


def _inspect(db: sqlite3.Connection) -> None:
    """Raise _Unusable unless this is a whole file of ours in the schema of this version."""
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise _Unusable("foreign", "another program's SQLite file")
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise _Unusable("newer", f"schema {version} of a later release, this one reads {SCHEMA_VERSION}")
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(SCHEMA)
        if version != SCHEMA_VERSION or _schema(db) != _schema(model):
            raise _Unusable("corrupt", "not the schema that this release writes")
    salts = db.execute("SELECT salt FROM salt").fetchall()
    if len(salts) != 1 or not isinstance(salts[0][0], bytes) or len(salts[0][0]) != _SALT_BYTES:
        raise _Unusable("corrupt", "no salt")
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _Unusable("corrupt", verdict)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _is_corrupt(error: BaseException) -> bool:
    # The module has classes of their own for all that may pass (a full disk, a lock, a read-only file);
    # a malformed file and one that is no database are left to the base class.
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError)


def _lock(path: Path) -> int | None:
    """Take the daemon's lock and return its descriptor; None where the file system has no locks.

    Raises StartError where another process has it. The lock is the kernel's and ends with the process,
    however that ends; so the file beside it stays: removing it would let two daemons lock two files of
    one name.
    """
    beside = path.with_name(f"{path.name}.lock")
    _make_private(beside)
    try:
        descriptor = os.open(beside, os.O_RDWR)
    except OSError:  # a read-only disk: a lock needs no more
        descriptor = os.open(beside, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        who = f"another exporter (pid {holder})" if holder.isdigit() else "another exporter"
        raise StartError(f"state file {path} is in use by {who}; give each a file of its own") from None
    except OSError as error:
        os.close(descriptor)
        logger.warning("state file %s cannot be locked: %s; see that no second exporter uses it", path, error)
        return None
    with suppress(OSError):  # the pid only helps whoever is refused
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _make_private(path: Path) -> None:
    """Make the file where there is none, and let nobody but its owner read it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Not opened to look at it: closing any descriptor of a database drops SQLite's locks on it.
        if path.stat().st_mode & 0o077:
            with suppress(OSError):  # another user's file, open to us: theirs to close
                path.chmod(0o600)
        return
    try:
        if os.geteuid() == 0:
            # Root's `poll` by hand before the daemon's first start: the daemon must be able to use the file.
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    finally:
        os.close(descriptor)


def _name(account: AccountKey) -> str:
    return json.dumps(account)


def _checksum(name: str, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(name.encode()))


def _encode(state: AccountState) -> bytes:
    text = json.dumps(state, default=_plain, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair, which a vendor's text may hold, has no UTF-8: it becomes a question mark.
    return text.encode(errors="replace")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]  # only our dataclasses are left
