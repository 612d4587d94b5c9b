"""A `DiskStore` on read-only media: a read-only mount, or files without write permission."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ..._shortage import shortage_of_descriptors
from ...errors import StoreError
from .errors import DESCRIPTORS, check_of_file
from .schema import open_file, refuse_foreign

_NOT_READABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})


def why_read_only(file: Path) -> str | None:
    """Return why this process cannot write an existing database; None if it can, or there is none.

    SQLite silently opens such a database for reading, and even begins a transaction for writing.
    """
    if not file.exists() or _may(file, os.W_OK):
        return None
    return "it is on a read-only file system" if _is_mounted_read_only(file) else "this user may not write it"


def connect_to_read(file: Path) -> tuple[sqlite3.Connection, Callable[[], None]]:
    """Open a database that cannot be written.

    Returns:
        The connection, and a function that raises when it must no longer be used.

    Raises:
        ConfigurationError: The file is another program's.
        StoreError: SQLite cannot read it without writing beside it; the error says what to do.
    """
    try:
        return _opened(str(file), file), check_of_file(file)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _NOT_READABLE or shortage_of_descriptors(DESCRIPTORS) is not None:
            raise
    if not _may(file, os.R_OK):
        raise StoreError(f"{file} cannot be read: let this user read it, and the files beside it")
    # SQLite needs an index of its log beside the database; it is missing, and must not be created.
    if not _is_mounted_read_only(file):
        raise StoreError(
            f"{file} cannot be read: this user may not make the files that SQLite needs beside it; let this user write "
            "the directory and the files in it, keep a store open in a process that may, or mount it all read-only"
        )
    if _log_size(file):
        raise StoreError(
            f"{file} cannot be read: its last writes are in a log that SQLite cannot use on a read-only file system; "
            "open and close a store on it where it can be written"
        )
    check = _check_of_unchanged(file)
    # SQLite then uses neither locks nor log, which is safe only for a file that does not change.
    return _opened(f"{file.as_uri()}?mode=ro&immutable=1", file), check


def _opened(name: str, file: Path) -> sqlite3.Connection:
    database = open_file(name)
    try:
        refuse_foreign(database, file)
    except BaseException:
        database.close()
        raise
    return database


def _may(file: Path, mode: int) -> bool:
    # Opening and closing the file instead would drop the locks that SQLite holds on it in this process.
    return os.access(file, mode, effective_ids=os.access in os.supports_effective_ids)


def _is_mounted_read_only(file: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def _log_size(file: Path) -> int:
    try:
        return file.with_name(f"{file.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _check_of_unchanged(file: Path) -> Callable[[], None]:
    check_of_same_file = check_of_file(file)
    opened = _state(file)

    def check() -> None:
        check_of_same_file()
        # The file may still be written through another mount.
        if _state(file) != opened or _log_size(file):
            raise StoreError(f"{file} was changed while it was open for reading; close the store and make a new one")

    return check
