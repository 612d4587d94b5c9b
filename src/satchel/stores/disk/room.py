"""Reserved space for removing entries on a full disk: SQLite writes to its log before it frees anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from .schema import FILE_NAME

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # a module is what is expected here

RESERVE_NAME = "satchel.reserve"
_RESERVED = 8 * 1024 * 1024  # twice the usual size of SQLite's log
_USUAL_LOG = 1000  # pages
_SPARE = 8  # extra pages that a removal and a VACUUM write
_LARGEST_SHARE = 4  # at most this fraction (a quarter) of the free space
_LARGEST_VACUUM = 64 * 1024 * 1024  # VACUUM works in memory
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


def may_be_full(error: sqlite3.Error) -> bool:
    """Return whether space may help: SQLite reports quotas and limits on file sizes as disk errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _FULL


class Room:
    """Reserve file in a directory, which is given up so that entries can be removed.

    Args:
        directory: The directory of the database.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / RESERVE_NAME

    def keep(self) -> None:
        """Create the reserve if it is missing, unless there is too little space."""
        if self._file.exists():
            return
        with suppress(OSError):
            size = min(_RESERVED, shutil.disk_usage(self._file.parent).free // _LARGEST_SHARE)
            descriptor = os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                _fill(descriptor, size)
            except OSError:
                self.give_up()
            finally:
                os.close(descriptor)

    def give_up(self) -> None:
        """Remove the reserve."""
        with suppress(OSError):
            self._file.unlink()

    def empty_log(self, database: sqlite3.Connection) -> None:
        """Move the log into the database if there is enough space: an attempt without it would only use more.

        If there is too little, the database is compacted first, provided that the result fits.
        """
        with suppress(OSError, sqlite3.OperationalError):
            pages, unused, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
            free = shutil.disk_usage(self._file.parent).free
            grown = self._file.with_name(FILE_NAME).stat().st_size
            if pages * size - grown > free:
                if (pages - unused + _SPARE) * size > min(free, _LARGEST_VACUUM):
                    return
                database.execute("PRAGMA temp_store = MEMORY")
                database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def limit(self, database: sqlite3.Connection) -> None:
        """Keep the log short enough to be emptied with the reserve, and the database within the file size limit."""
        (size,) = database.execute("PRAGMA page_size").fetchone()
        with suppress(OSError):
            reserved = self._file.stat().st_size
            room = _RESERVED if reserved == _RESERVED else reserved // 4
            if resource is not None and (largest := resource.getrlimit(resource.RLIMIT_FSIZE)[0]) >= 0:
                database.execute(f"PRAGMA max_page_count = {max(1, largest // size)}").fetchall()
                room = min(room, largest // 8)
            if room // size < _USUAL_LOG:
                database.execute(f"PRAGMA wal_autocheckpoint = {max(1, room // size)}").fetchall()


_SIZES = ("page_count", "freelist_count", "page_size")


def _fill(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, max(1, size))
    else:
        os.write(descriptor, bytes(size))
