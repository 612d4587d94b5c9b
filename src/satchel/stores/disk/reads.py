"""Reads of a `DiskStore`'s entries in SQL. Everything here runs in a connection's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

from ...backend.record import Record
from ...errors import IntegrityError
from ...names import Ref
from .read_times import ReadTimes
from .rows import PAYLOAD, head_of, lies_apart, name_of, record_of

A = TypeVar("A")
R = TypeVar("R")

_AT_ONCE = 500
_HEADER = "deadline, deadline_checksum, codec, version, updated_at, checksum"
_FOUND = "FROM satchel_entries WHERE collection = ? AND key = ?"
_READ = f"SELECT {_HEADER}, {PAYLOAD}, large {_FOUND}"
_TOGETHER = 100
# In the order of the names, which the outer loop of a LEFT JOIN goes through.
_READ_TOGETHER = f"""
    SELECT {_HEADER}, {PAYLOAD}, large
    FROM (VALUES {", ".join(["(?, ?)"] * _TOGETHER)}) AS asked
    LEFT JOIN satchel_entries ON collection = asked.column1 AND key = asked.column2
"""  # noqa: S608  # as above
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
        outcomes = self._in_one_view(self._records, refs)
        if self._read_times is not None:
            self._read_times.note(refs)
        return outcomes

    def read_one(self, ref: Ref) -> Record | IntegrityError | None:
        """Return one record, as `read` does."""
        self._check()
        row = self._execute(_READ, ref).fetchone()
        if lies_apart(row):
            row = self._in_one_view(self._whole_row, ref)
        if self._read_times is not None:
            self._read_times.note([ref])
        return record_of(ref, row)

    def read_heads(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        """Return records without their values, which are not read."""
        self._check()
        outcomes = self._in_one_view(self._heads, refs)
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

    def _in_one_view(self, read: Callable[[A], R], asked: A) -> R:
        # Taking the read lock only once halves the time of a batch.
        self._execute("BEGIN")
        try:
            return read(asked)
        finally:
            self._execute("ROLLBACK")

    def _records(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        outcomes: list[Record | IntegrityError | None] = []
        for start in range(0, len(refs), _TOGETHER):
            part = refs[start : start + _TOGETHER]
            outcomes += map(record_of, part, self._rows(part))
        return outcomes

    def _rows(self, refs: Sequence[Ref]) -> list[tuple[Any, ...] | None]:
        if len(refs) < _TOGETHER:
            return [self._whole_row(ref) for ref in refs]
        rows = self._execute(_READ_TOGETHER, list(chain.from_iterable(refs))).fetchall()
        return [self._completed(row) if lies_apart(row) else None if row[1] is row[3] is None else row for row in rows]

    def _heads(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        return [head_of(self._execute(_READ_HEAD, ref).fetchone()) for ref in refs]

    def _whole_row(self, ref: Ref) -> tuple[Any, ...] | None:
        row = self._execute(_READ, ref).fetchone()
        return self._completed(row) if lies_apart(row) else row

    def _completed(self, row: Any) -> tuple[Any, ...]:
        """Return a row with its value, which is too large for a column."""
        try:
            with self._database.blobopen("satchel_payloads", "payload", row[-1], readonly=True) as blob:
                return (*row[:-2], blob.read(), None)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
        except (TypeError, OverflowError):
            pass  # the reference to the value is not a row number
        whole: tuple[Any, ...] = row
        return whole  # without its value: the entry is damaged
