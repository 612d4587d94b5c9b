"""Detection of changes to the database by others than this store, in the event loop's thread.

`PRAGMA data_version` returns a number that changes when another connection, of this process or another, has committed.
On an idle connection it leaves no transaction open, and touches only the memory that SQLite shares between processes;
after a change it also reads the first page of the log. The numbers of two connections are used:

* The number of the writing connection ignores its own commits: if it is unchanged, nobody else has committed.
* The number of the reading connection changes with any commit. It is read first, and it alone while the writing
  connection is busy: if it is the same as before the last time that the writing connection's was found unchanged, then
  nobody at all has committed since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from threading import Lock
from time import perf_counter
from typing import Any

from ...errors import StoreError
from .thread import SQLiteThread

_SLOW = 0.001
"""Seconds from which an answer counts as slow: SQLite slept in it, or the process had to wait for a CPU."""
_LONGEST_REST = 1024
"""Longest pause after a slow answer, as a multiple of the time that the answer took."""
_GLANCE = 0.001
"""Seconds for which a file that was found is not looked for again: looking takes nearly as long as the rest."""


class ForeignCommits:
    """Detector of commits by other connections.

    Args:
        writing: The only connection by which this store changes the database.
        check: Raises when the file is no longer the one that was opened.
    """

    def __init__(self, writing: SQLiteThread, check: Callable[[], None]) -> None:
        self._written = _Number(writing)
        self._read: _Number | None = None
        self._check = check
        self._check_at = self._ask_at = 0.0
        self._rest = 1

    def add_reader(self, reading: SQLiteThread) -> None:
        """Use the number of this connection too, from now on."""
        self._read = _Number(reading)

    @property
    def began(self) -> bool:
        """Whether commits are being detected."""
        return self._written.known is not None

    def none_since(self) -> bool | None:
        """Return whether there was no commit since the last answer; None if an answer would take a wait."""
        started = perf_counter()
        if started < self._ask_at:
            return None
        if started >= self._check_at:
            try:
                self._check()
            except StoreError:
                return None  # the next statement on the database raises it
            self._check_at = started + _GLANCE
        answer = self._compare()
        taken = perf_counter() - started
        if taken > _SLOW:  # the first pause is short, or a busy machine would hardly use the cache
            self._ask_at = started + taken * (1 + self._rest)
            self._rest = min(2 * self._rest, _LONGEST_REST)
        else:
            self._rest = 1
        return answer

    def _compare(self) -> bool | None:
        written, read = self._written, self._read
        seen = None
        if read is not None:
            seen = read.now()
            if seen is not None and seen == read.known:
                return True
        number = written.now()
        if number is None:
            return None
        if read is not None:
            read.known = seen  # it was read before the other one
        if number == written.known:
            return True
        written.known = number
        return False


class _Number:
    """Commit number of one connection.

    Attributes:
        known: The number when nobody else was known to have committed.
    """

    def __init__(self, thread: SQLiteThread) -> None:
        self._lock: Lock = thread.lock
        self._execute: Callable[[str], Any] = thread.database.cursor().execute
        self.known: int | None = None

    def now(self) -> int | None:
        """Return the number; None while the connection is busy or closed."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            number: int = self._execute("PRAGMA data_version").fetchall()[0][0]
        except sqlite3.Error:
            return None
        finally:
            self._lock.release()
        return number
