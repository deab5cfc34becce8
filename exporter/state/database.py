"""Makes, checks, opens, locks and renames the SQLite file. ``sqlite`` decides when."""

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
from exporter.runtime.files import reason
from exporter.state.schema import MIGRATIONS, SCHEMA_VERSION, SCHEMAS

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x76616578  # "vaex" marks a file as the exporter's own
_BUSY_SECONDS = 0.25  # how long a poll waits for another process's transaction
_SALT_BYTES = 32
# UnicodeDecodeError, because SQLite quotes a damaged schema in its message, and the module cannot decode that.
FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)


class Unusable(Exception):
    """The file can never be used. ``why`` becomes part of its name when it is renamed."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


class Database:
    """The file, the connection to it, and the daemon's lock on it."""

    def __init__(self, path: Path, clock: Clock, *, exclusive: bool) -> None:
        self._path = path
        self._clock = clock
        self._exclusive = exclusive
        self._inode = 0
        self._lock: int | None = None
        self.connection: sqlite3.Connection | None = None

    def prepare(self) -> None:
        """Make folder and file, take the daemon's lock, make the file private, and check that it can be written."""
        require_regular(self._path)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._exclusive and self._lock is None:
            self._lock = lock(self._path)
        make_private(self._path)
        for needed in (self._path, self._path.parent):  # SQLite's own message does not name the reason
            if not os.access(needed, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise OSError(f"{needed} cannot be written")

    def connect(self) -> sqlite3.Connection:
        """Open the file for writing. Raises Unusable, sqlite3.Error."""
        self.connection = open_for_writing(self._path)
        self._inode = self._path.stat().st_ino
        if version(self.connection) < SCHEMA_VERSION:
            self._migrate(self.connection)
        return self.connection

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Bring the file to this release's schema, unless a daemon of an earlier release uses it (StartError)."""
        held = None if self._exclusive else lock(self._path)
        try:
            migrate(db)
        finally:
            if held is not None:
                os.close(held)

    def is_gone(self) -> bool:
        """Return whether the path names another file now. SQLite would still write to the old one."""
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
        """Close the connection and release the lock."""
        self.disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def set_aside(self, why: str) -> Path | None:
        """Rename the file, so that a new one can be made. Return its new path, or None if it must stay."""
        self.disconnect()
        held: int | None = None
        if not self._exclusive:
            # Do not rename the file of a running daemon. Only the holder of the lock may do that.
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
    """Open a state file, and make it if it does not exist. Raises Unusable, sqlite3.Error."""
    db = _connect(str(path))
    try:
        if _is_fresh(db):
            # Write both settings in one transaction with the schema, because they are part of the file.
            _use_wal(db)
            db.execute("BEGIN IMMEDIATE")
            if _is_fresh(db):  # another process may have been faster
                for statement in SCHEMAS[SCHEMA_VERSION].split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO salt VALUES (?)", (secrets.token_bytes(_SALT_BYTES),))
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
        _inspect(db)
        _use_wal(db)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 4194304")
    except BaseException as error:
        db.close()
        if is_corrupt(error):
            raise Unusable("corrupt", str(error)) from error
        raise
    return db


def migrate(db: sqlite3.Connection) -> None:
    """Bring an older file to this release's schema in one transaction, so that it is never between two of them."""
    db.execute("BEGIN IMMEDIATE")
    while (before := version(db)) < SCHEMA_VERSION:
        for statement in ";".join(MIGRATIONS[before]).split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {before + 1}")
    db.execute("COMMIT")


def require_regular(path: Path) -> None:
    """Raise OSError for a folder or device, which must stay, and for a named pipe, whose opening never ends."""
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file")


def open_for_reading(path: Path, *, thorough: bool = True) -> sqlite3.Connection:
    """Open a state file that is not to be written. Raises Unusable, sqlite3.Error. ``thorough`` looks for damage."""
    require_regular(path)
    # SQLite would make -wal and -shm beside a file in WAL mode, or fail in a read-only folder. If there is no -wal,
    # the file was closed properly and nobody changes it, so it can be opened as immutable.
    is_open = path.with_name(path.name + "-wal").exists()
    for option in ("mode=ro", "mode=ro&immutable=1") if is_open else ("mode=ro&immutable=1",):
        db = _connect(f"file:{quote(str(path))}?{option}")
        try:
            _inspect(db, thorough)
        except (*FAULTS, Unusable) as error:
            db.close()
            failure = error
            if str(error) == "database is locked":  # as immutable it would lack what is in the -wal
                break
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


def _use_wal(db: sqlite3.Connection) -> None:
    """Turn WAL mode on. SQLite itself does not wait here for a process that does the same at this moment."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if str(error) != "database is locked" or time.monotonic() > end:
                raise
            time.sleep(0.005)
        else:
            return


def _schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()


def _is_fresh(db: sqlite3.Connection) -> bool:
    return _pragma(db, "application_id") == 0 and _pragma(db, "user_version") == 0 and not _schema(db)


def _inspect(db: sqlite3.Connection, thorough: bool = True) -> None:
    """Raise Unusable unless this is an intact state file with the schema of this release or an earlier one."""
    if _is_fresh(db):
        raise Unusable("foreign", "it is empty")
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise Unusable("foreign", "another program's SQLite file")
    number = version(db)
    if number > SCHEMA_VERSION:
        raise Unusable("newer", f"it has schema {number} of a later release, and this release reads {SCHEMA_VERSION}")
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(SCHEMAS.get(number, ""))
        if _schema(db) != _schema(model):
            raise Unusable("corrupt", "not the schema that this release writes")
    salts = db.execute("SELECT salt FROM salt").fetchall()
    if len(salts) != 1 or not isinstance(salts[0][0], bytes) or len(salts[0][0]) != _SALT_BYTES:
        raise Unusable("corrupt", "no salt")
    for table in (
        ("accounts", "requests", "cooldowns") if thorough else ()
    ):  # the history is large, and is checked where it is read
        (verdict,) = db.execute(f"PRAGMA integrity_check({table})").fetchone()
        if verdict != "ok":
            raise Unusable("corrupt", verdict)


def version(db: sqlite3.Connection) -> int:
    """Return the number of the file's schema."""
    return _pragma(db, "user_version")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def is_corrupt(error: BaseException) -> bool:
    """Return whether the file is damaged or not an SQLite file, and not only out of reach for now."""
    # A full disk, a lock and a read-only file have classes of their own in the module. A malformed file
    # and a file that is not a database raise the base class.
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError)


def lock(path: Path) -> int | None:
    """Take the daemon's lock and return its descriptor, or None if the file system has no locks.

    Raises StartError if another process has it. The kernel releases the lock when the process ends in any
    way. The lock file stays, because two daemons could lock two files of one name if it were removed.
    """
    beside = path.with_name(f"{path.name}.lock")
    make_private(beside)
    try:
        descriptor = os.open(beside, os.O_RDWR)
    except OSError:  # a read-only disk, where reading is enough for a lock
        descriptor = os.open(beside, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        who = f"another exporter (pid {holder})" if holder.isdigit() else "another exporter"
        raise StartError(f"state file {path} is in use by {who}. Give each exporter its own state file") from None
    except OSError as error:
        os.close(descriptor)
        why = reason(error)
        logger.warning("state file %s cannot be locked: %s. Make sure that no other exporter uses it", path, why)
        return None
    with suppress(OSError):  # the pid is only for the error message of another exporter
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def make_private(path: Path) -> None:
    """Make the file if it does not exist, and let only its owner read it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Do not open the file here, because closing any descriptor of a database drops SQLite's locks on it.
        if path.stat().st_mode & 0o077:
            with suppress(OSError):  # it is another user's file
                path.chmod(0o600)
        return
    try:
        if os.geteuid() == 0:
            # Root may run `poll` before the daemon's first start, and the daemon must be able to use the file.
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    finally:
        os.close(descriptor)
