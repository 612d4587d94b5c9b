"""What can be wrong with the database under an open `DiskStore`, in satchel's errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ..._shortage import shortage_of_descriptors
from ...errors import IntegrityError, SatchelError, StoreError, StoreUnavailableError, ValueTooLargeError
from .schema import BUSY_SECONDS

DESCRIPTORS = 4  # those of a database, its log, the log's index and a temporary file


def translate(error: sqlite3.Error | UnicodeDecodeError, where: str) -> SatchelError | None:
    """Return the satchel error for one of SQLite's; None for those that say nothing to a user."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, UnicodeDecodeError):
        code = sqlite3.SQLITE_CORRUPT  # SQLite's message could not be decoded: it quotes what is damaged
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        used_up = shortage_of_descriptors(DESCRIPTORS)
        if used_up is not None:
            return used_up
    match code:
        case sqlite3.SQLITE_NOMEM:
            return StoreUnavailableError("the operating system gives no more memory: use less, or give it more")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailableError(
                f"{where} was locked by another process for {BUSY_SECONDS:.0f} s; end its transaction or try again"
            )
        case sqlite3.SQLITE_FULL:
            return StoreUnavailableError(
                f"{where} is full: the write was not made and nothing else changed; free some space, remove entries, "
                "or raise the quota"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreError(f"{where} cannot be written: let this user write the directory and the files in it")
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"{where} cannot be read or written: the operating system reports an error of the disk")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR | sqlite3.SQLITE_CONSTRAINT:
            # The last two because our statements fit the tables that we made, so these must have changed.
            return IntegrityError(
                f"the database in {where} is damaged, or not one of SQLite's: "
                "restore it from a backup, or move it away to begin anew"
            )
        case sqlite3.SQLITE_TOOBIG:
            return ValueTooLargeError("the encoded value is larger than this build of SQLite takes")
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreError("the connection of the store has been closed; make a new store")
    return None


def check_of_file(file: Path) -> Callable[[], None]:
    """Return what raises when the database that is open now is no longer the one in the file."""
    name = os.fspath(file)
    opened = file.stat()

    def check() -> None:
        try:
            found = os.stat(name)  # noqa: PTH116  # a Path takes as long again, at each call
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != opened.st_ino or found.st_dev != opened.st_dev:
            raise StoreError(f"{file} was removed or replaced while it was open; close the store and make a new one")

    return check


def check_of_connection(database: sqlite3.Connection) -> Callable[[], None]:
    """Return what raises while the caller's own transaction is open: what is stored in it might be rolled back."""

    def check() -> None:
        if database.in_transaction:
            raise StoreUnavailableError("the connection has a transaction open; commit it before using the store")

    return check
