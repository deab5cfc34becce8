"""Makes, checks, opens, locks and sets aside the SQLite file; ``sqlite`` decides when and why."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from exporter.errors import StartError
from exporter.runtime.clock import Clock

logger = logging.getLogger(__name__)

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
_BUSY_SECONDS = 0.25  # how long a poll waits for another process's transaction
_SALT_BYTES = 32
# UnicodeDecodeError: SQLite quotes a damaged schema in its message, which the module then cannot decode.
FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)


class Unusable(Exception):
    """The file will never do: ``why`` becomes part of the name under which it is set aside."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


class Database:
    """The file, our connection to it, and the daemon's lock on it."""

    def __init__(self, path: Path, clock: Clock, *, exclusive: bool) -> None:
        self._path = path
        self._clock = clock
        self._exclusive = exclusive
        self._inode = 0
        self._lock: int | None = None
        self.connection: sqlite3.Connection | None = None

    def prepare(self) -> None:
        """Make folder and file, take the daemon's lock, see that we can write it and nobody else reads it."""
        if self._path.exists() and not self._path.is_file():
            raise OSError("it is not a regular file")  # a folder, a device: nothing to set aside
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._exclusive and self._lock is None:
            self._lock = lock(self._path)
        make_private(self._path)
        for needed in (self._path, self._path.parent):  # SQLite would only say that it is unable to open it
            if not os.access(needed, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise OSError(f"{needed} cannot be written")

    def connect(self) -> sqlite3.Connection:
        """Open the file for writing; raises Unusable, sqlite3.Error."""
        self.connection = open_for_writing(self._path)
        self._inode = self._path.stat().st_ino
        return self.connection

    def is_gone(self) -> bool:
        """Return whether the name has another file now. SQLite would go on writing to the one that is open."""
        try:
            return self.connection is not None and self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def disconnect(self) -> None:
        """Close the connection and keep the lock."""
        if self.connection is not None:
            with suppress(sqlite3.Error):
                self.connection.close()
            self.connection = None

    def close(self) -> None:
        """Close the connection and let another daemon have the file."""
        self.disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def set_aside(self, why: str) -> Path | None:
        """Rename the file, so that a new one can be made, and return where it is; None where it must stay."""
        self.disconnect()
        held: int | None = None
        if not self._exclusive:
            # A daemon may be at work on this file: only who could be the daemon may move it.
            try:
                held = lock(self._path)
            except StartError:
                return None
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
            if held is not None:
                os.close(held)
        return aside


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a file of ours, made where there is none; raises Unusable, sqlite3.Error."""
    db = _connect(str(path))
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
        if is_corrupt(error):
            raise Unusable("corrupt", str(error)) from error
        raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a file of ours on a disk that cannot be written; raises Unusable, sqlite3.Error."""
    # A file in WAL mode can be read without writing to its folder only where -wal and -shm are there
    # already; where they are not, it was closed properly, and SQLite may be told that nobody changes it.
    for option in ("mode=ro", "mode=ro&immutable=1"):
        db = _connect(f"file:{quote(str(path))}?{option}")
        try:
            _inspect(db)
        except (*FAULTS, Unusable) as error:
            db.close()
            failure = error
        else:
            return db
    raise failure


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
    """Raise Unusable unless this is a whole file of ours in the schema of this version."""
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise Unusable("foreign", "another program's SQLite file")
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise Unusable("newer", f"schema {version} of a later release, this one reads {SCHEMA_VERSION}")
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(SCHEMA)
        if version != SCHEMA_VERSION or _schema(db) != _schema(model):
            raise Unusable("corrupt", "not the schema that this release writes")
    salts = db.execute("SELECT salt FROM salt").fetchall()
    if len(salts) != 1 or not isinstance(salts[0][0], bytes) or len(salts[0][0]) != _SALT_BYTES:
        raise Unusable("corrupt", "no salt")
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise Unusable("corrupt", verdict)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def is_corrupt(error: BaseException) -> bool:
    """Tell whether the file is damaged, or none of SQLite's, rather than out of reach for now."""
    # What may pass (a full disk, a lock, a read-only file) has classes of its own in the module; a
    # malformed file and one that is no database are left to the base class.
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError)


def lock(path: Path) -> int | None:
    """Take the daemon's lock and return its descriptor; None where the file system has no locks.

    Raises StartError where another process has it. The lock is the kernel's and ends with the process,
    however that ends; so the file beside it stays: removing it would let two daemons lock two files of
    one name.
    """
    beside = path.with_name(f"{path.name}.lock")
    make_private(beside)
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


def make_private(path: Path) -> None:
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
