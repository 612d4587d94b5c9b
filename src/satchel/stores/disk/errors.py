"""Translation of failures of an open `DiskStore`'s database to satchel's errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ..._shortage import shortage_of_descriptors
from ...errors import IntegrityError, SatchelError, StoreError, StoreUnavailableError, ValueTooLargeError
from .schema import BUSY_SECONDS

DESCRIPTORS = 4  # for the database, its log, the log's index and a temporary file


def translate(error: sqlite3.Error | UnicodeDecodeError, where: str) -> SatchelError | None:
    """Return the satchel error for an SQLite error; None for errors that mean nothing to a user."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if isinstance(error, UnicodeDecodeError):
        code = sqlite3.SQLITE_CORRUPT  # SQLite's message could not be decoded: it quotes what is damaged
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        used_up = shortage_of_descriptors(DESCRIPTORS)
        if used_up is not None:
            return used_up
    match code:
        case sqlite3.SQLITE_NOMEM:
            return StoreUnavailableError("the operating system has no more memory: use less, or allow the process more")
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
        case sqlite3.SQLITE_IOERR if extended == sqlite3.SQLITE_IOERR_WRITE:  # to SQLite, no other error is a full disk
            return StoreUnavailableError(
                f"{where} could not be written: a quota or a limit on the size of files leaves no room, or the disk is "
                "at fault; the write was not made: free some space, or look at the system's log"
            )
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"{where} cannot be read or written: the operating system reports a disk error")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR | sqlite3.SQLITE_CONSTRAINT:
            # The last two count as damage: our statements fit the tables that we made, so the tables must have changed.
            return IntegrityError(
                f"the database in {where} is damaged, or not an SQLite database: "
                "restore it from a backup, or move it away to start over"
            )
        case sqlite3.SQLITE_TOOBIG:
            return ValueTooLargeError("the encoded value is larger than this build of SQLite takes")
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreError("the connection of the store has been closed; make a new store")
    return None


def check_of_file(file: Path) -> Callable[[], None]:
    """Return a function that raises when the open database is no longer the one in the file."""
    name = os.fspath(file)
    opened = file.stat()

    def check() -> None:
        try:
            found = os.stat(name)  # noqa: PTH116  # a Path would double the time of each call
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != opened.st_ino or found.st_dev != opened.st_dev:
            raise StoreError(f"{file} was removed or replaced while it was open; close the store and make a new one")

    return check


def check_of_connection(database: sqlite3.Connection) -> Callable[[], None]:
    """Return a function that raises while the caller's own transaction is open, which might be rolled back."""

    def check() -> None:
        if database.in_transaction:
            raise StoreUnavailableError("the connection has a transaction open; commit it before using the store")

    return check
