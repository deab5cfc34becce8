"""The command ``state copy``: everything in a state file, into a PostgreSQL database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from exporter.errors import StartError, UsageError
from exporter.runtime.clock import Clock, SystemClock
from exporter.runtime.files import read_file, reason
from exporter.state.database import FAULTS, Unusable, lock, open_for_reading, version
from exporter.state.retention import Execute
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.source import EXAMPLE, StateSource, is_url, url_problem


def copy_state(source: str, target: str, clock: Clock | None = None) -> str:
    """Copy a state file into a database and return what was copied, in words. Raises UsageError, StartError.

    ``target`` is a connection string without a password, or the path of a file that holds one.
    """
    if url_problem(source) is None or is_url(source):
        raise UsageError("state copy: --from must be a state file. Only a file can be copied, into a database")
    url = _url(target)
    if find_spec("psycopg") is None:
        raise UsageError("state copy: needs the package psycopg. Install video-api-exporter with the extra postgresql")
    from exporter.state.postgresql.copying import copy_into

    with _opened(Path(source)) as file:
        return copy_into(file, url, clock or SystemClock()).in_words()


def _url(target: str) -> StateSource:
    if url_problem(target) is None:
        return StateSource("url", target)
    if is_url(target):
        raise UsageError(f"state copy: --to {url_problem(target)}")
    try:
        content = read_file(target)
    except OSError as error:
        raise UsageError(
            f"state copy: --to is neither a connection string, such as {EXAMPLE}, nor a file that holds one:"
            f" {reason(error)}"
        ) from None
    if content.startswith(b"SQLite format 3\0"):
        raise UsageError("state copy: --to must be a PostgreSQL database. Only a file can be copied, into a database")
    text = content.decode(errors="replace").strip()
    if (wrong := url_problem(text)) is not None:
        raise UsageError(f"state copy: the content of the file of --to {wrong}")
    return StateSource("url_file", target)


@contextmanager
def _opened(path: Path) -> Iterator[Execute]:
    """Open a state file for reading, locked as by an exporter, so that none writes it meanwhile."""
    if not path.exists():
        raise UsageError(f"state copy: there is no state file {path}")
    try:
        held = lock(path)
    except StartError:
        raise StartError(f"state copy: an exporter uses {path}. Stop it first") from None
    try:
        with closing(open_for_reading(path)) as db:
            if version(db) < SCHEMA_VERSION:
                raise StartError(
                    f"state copy: an earlier release wrote {path}. Start this release on it once, which converts it"
                )
            db.execute("BEGIN")
            yield db.execute
    except (*FAULTS, Unusable) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise StartError(f"state copy: state file {path} cannot be read: {why}") from None
    finally:
        if held is not None:
            os.close(held)
