"""Reads of a `DiskStore`'s entries in SQL. Everything here runs in a connection's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...backend.record import Record
from ...errors import IntegrityError
from ...names import Ref
from .read_times import ReadTimes
from .rows import HUGE, head_of, lies_apart, name_of, record_of

R = TypeVar("R")

_AT_ONCE = 500
_HEADER = "deadline, deadline_checksum, codec, version, updated_at, checksum"
_FOUND = "FROM satchel_entries WHERE collection = ? AND key = ?"
_READ = f"""
    SELECT {_HEADER}, CASE WHEN large IS NULL THEN payload
        WHEN size <= {HUGE} THEN (SELECT payload FROM satchel_payloads WHERE id = large) END, large
    {_FOUND}
"""  # noqa: S608  # the parts are above
_READ_HEAD = f"SELECT {_HEADER} {_FOUND}"
# The search begins at the later of prefix and last key: from the prefix, each page would read all earlier ones again.
_KEYS = """
    SELECT CAST(key AS BLOB) FROM satchel_entries
    WHERE collection = ? AND key >= max(?, ?) AND key < CAST(? AS TEXT) AND +key > ?
    AND (deadline IS NULL OR deadline > ?) ORDER BY key LIMIT ?
"""
_COUNT = """
    SELECT count(*) FROM satchel_entries
    WHERE collection = ? AND key >= ? AND key < CAST(? AS TEXT) AND (deadline IS NULL OR deadline > ?)
"""
_NEXT_COLLECTION = """
    SELECT CAST(collection AS BLOB) FROM satchel_entries
    WHERE collection > ? AND (deadline IS NULL OR deadline > ?) ORDER BY collection LIMIT 1
"""


class Reads:
    """Statements that read entries.

    Args:
        database: The connection.
        check: Function called before each piece of work; it raises when the database must no longer be used.
        read_times: Records the times of reads; None where they are not needed.
    """

    def __init__(
        self, database: sqlite3.Connection, *, check: Callable[[], None], read_times: ReadTimes | None
    ) -> None:
        self._database = database
        cursor = database.cursor()
        cursor.row_factory = None
        self._execute = cursor.execute
        self._check = check
        self._read_times = read_times

    def read(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        """Return records, including expired ones; an error for each damaged one."""
        if len(refs) == 1:
            return [self.read_one(refs[0])]
        self._check()
        # Taking the read lock only once halves the time of a batch.
        outcomes = self._in_one_view(lambda ref: record_of(ref, self._whole_row(ref)), refs)
        if self._read_times is not None:
            self._read_times.note(refs)
        return outcomes

    def read_one(self, ref: Ref) -> Record | IntegrityError | None:
        """Return one record, as `read` does."""
        self._check()
        row = self._execute(_READ, ref).fetchone()
        if lies_apart(row):
            (row,) = self._in_one_view(self._whole_row, [ref])
        if self._read_times is not None:
            self._read_times.note([ref])
        return record_of(ref, row)

    def read_heads(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        """Return records without their values, which are not read."""
        self._check()
        outcomes = self._in_one_view(lambda ref: head_of(self._execute(_READ_HEAD, ref).fetchone()), refs)
        if self._read_times is not None:
            self._read_times.note(refs)
        return outcomes

    def keys(self, collection: str, prefix: str, after: str, now: float) -> list[str]:
        """Return a page of the keys of live entries, sorted, those after a given key."""
        self._check()
        # No byte of UTF-8 is 0xff, so every key with the prefix sorts before the prefix followed by that byte.
        arguments = (collection, prefix, after, prefix.encode() + b"\xff", after, now, _AT_ONCE)
        return [name_of(key) for (key,) in self._execute(_KEYS, arguments).fetchall()]

    def count(self, collection: str, prefix: str, now: float) -> int:
        """Return how many live entries have a key with a prefix."""
        self._check()
        count: int = self._execute(_COUNT, (collection, prefix, prefix.encode() + b"\xff", now)).fetchone()[0]
        return count

    def collections(self, after: str, now: float) -> list[str]:
        """Return a page of the collections with live entries, sorted, those after a given name."""
        self._check()
        page: list[str] = []
        while len(page) < _AT_ONCE and (row := self._execute(_NEXT_COLLECTION, (after, now)).fetchone()):
            after = name_of(row[0])
            page.append(after)
        return page

    def _in_one_view(self, read: Callable[[Ref], R], refs: Sequence[Ref]) -> list[R]:
        self._execute("BEGIN")
        try:
            return [read(ref) for ref in refs]
        finally:
            self._execute("ROLLBACK")

    def _whole_row(self, ref: Ref) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(_READ, ref).fetchone()
        if row is None or not lies_apart(row):
            return row
        try:
            with self._database.blobopen("satchel_payloads", "payload", row[-1], readonly=True) as blob:
                return (*row[:-2], blob.read(), None)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
        except (TypeError, OverflowError):
            pass  # the reference to the value is not a row number
        return row  # without its value: the entry is damaged
