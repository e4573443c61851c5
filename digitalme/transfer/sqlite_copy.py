"""Copy an SQLite database while it is in use, and put a copy in its place."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection

from digitalme.errors import InvalidRequest
from digitalme.transfer import contents
from digitalme.transfer.backup_manifest import BadBackup
from digitalme.transfer.contents import Contents

PART = "database.sqlite3"
VENDOR = "sqlite"
WAIT_SECONDS = 20


def dump(to: Path) -> Contents:
    """Copy the database into a new file by SQLite's online backup, while calls go on; return what is in the copy."""
    with _opened(_path()) as source, _opened(to) as copy:
        source.backup(copy)
        # The copy shall be one file, without a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        return _contents(copy)


def present() -> Contents:
    """Return what the database holds now; nothing if there is no file yet."""
    if not _path().exists():
        return Contents({}, {}, {})
    with _opened(_path()) as database:
        return _contents(database)


def check(part: Path) -> Contents:
    """Return what a dump holds. Raises BadBackup if it is no sound database."""
    try:
        with _opened(part) as copy:
            if copy.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                raise BadBackup("The database in the backup is damaged. Take another backup.")
            return _contents(copy)
    except sqlite3.DatabaseError:
        raise BadBackup("The database in the backup cannot be read. Take another backup.") from None


def check_alone() -> None:
    """Raise InvalidRequest if another process has the database open."""
    if not _path().exists():
        return
    connection.close()
    with _opened(_path(), wait_seconds=1) as database:
        try:
            # SQLite leaves its log only if nobody else has the database open.
            alone = database.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        except sqlite3.OperationalError:
            alone = False
    if not alone:
        raise InvalidRequest("The database is in use. Stop web, worker and beat first.")


def restore(part: Path) -> None:
    """Put a dump in the place of the database, all of it or nothing."""
    connection.close()
    with _opened(part) as copy, _opened(_path()) as database:
        copy.backup(database)


def folder() -> Path:
    """Return where the database lies; it is made where there is none."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    return _path().parent


def _path() -> Path:
    return Path(connection.settings_dict["NAME"])


@contextlib.contextmanager
def _opened(path: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)
    try:
        yield database
    finally:
        database.close()


def _contents(database: sqlite3.Connection) -> Contents:
    def query(statement: str) -> list[Any]:
        return database.execute(statement).fetchall()

    database.execute("BEGIN")
    try:
        return contents.read(query, VENDOR)
    finally:
        database.execute("COMMIT")
