"""Changes of a `DiskStore`'s entries in SQL. Everything here runs in the connection's thread."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ...backend.base import Condition
from ...backend.record import Record
from ...clock import NEVER, Clock
from ...errors import SatchelError, StoreError, ValueTooLargeError
from ...names import Ref
from .read_times import ReadTimes
from .room import Room, may_be_full
from .rows import HUGE, deadline_columns, row_of, size_of
from .schema import INLINE, empty

R = TypeVar("R")

_AT_ONCE = 500
_STATE = "SELECT version, deadline FROM satchel_entries WHERE collection = ? AND key = ?"
_PUT = """
    INSERT INTO satchel_entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collection, key) DO UPDATE SET
        deadline = excluded.deadline, deadline_checksum = excluded.deadline_checksum, codec = excluded.codec,
        version = excluded.version, updated_at = excluded.updated_at, checksum = excluded.checksum,
        used = excluded.used, size = excluded.size, large = excluded.large, payload = excluded.payload
"""
_PUT_PAYLOAD = "INSERT INTO satchel_payloads (payload) VALUES (?)"
_PUT_ZEROS = "INSERT INTO satchel_payloads (payload) VALUES (zeroblob(?))"
_DELETE = "DELETE FROM satchel_entries WHERE collection = ? AND key = ?"
_DELETE_SEEN = "DELETE FROM satchel_entries WHERE collection = ? AND key = ? RETURNING deadline"
_TOUCH = """
    UPDATE satchel_entries SET deadline = ?, deadline_checksum = ?
    WHERE collection = ? AND key = ? AND (deadline IS NULL OR deadline > ?)
"""
_NOTE = "UPDATE satchel_entries SET used = max(used, ?) WHERE collection = ? AND key = ?"
_CULL = """
    DELETE FROM satchel_entries WHERE (collection, key) IN
        (SELECT collection, key FROM satchel_entries WHERE deadline <= ? LIMIT ?)
    RETURNING CAST(collection AS BLOB), CAST(key AS BLOB)
"""
_FIRST_DEADLINE = "SELECT min(deadline) FROM satchel_entries WHERE deadline IS NOT NULL"
_BYTES = "SELECT value FROM satchel_meta WHERE name = 'bytes'"
_OLDEST = "SELECT size FROM satchel_entries ORDER BY used, collection, key LIMIT ?"
_EVICT = """
    DELETE FROM satchel_entries WHERE (collection, key) IN
        (SELECT collection, key FROM satchel_entries ORDER BY used, collection, key LIMIT ?)
    RETURNING CAST(collection AS BLOB), CAST(key AS BLOB)
"""
_RECOUNT = """
    UPDATE satchel_meta SET value = (SELECT coalesce(sum(size), 0) FROM satchel_entries) WHERE name = 'bytes'
"""
_ANY = "SELECT 1 FROM satchel_entries WHERE (deadline IS NULL OR deadline > ?) LIMIT 1"
_ANY_IN = "SELECT 1 FROM satchel_entries WHERE collection = ? AND (deadline IS NULL OR deadline > ?) LIMIT 1"


class Changes:
    """Statements that change entries; each change is one transaction.

    Args:
        database: The connection.
        max_size: Maximum bytes of entries; None for no limit.
        clock: Returns the present as seconds since the Unix epoch.
        check: Function called before each piece of work; it raises when the database must no longer be used.
        room: Space reserved for removals; None for no reserve.
        read_only: Why the database cannot be written; None if it can.
        commits_itself: Whether the connection is known to commit each statement outside of a transaction; a caller's
            connection is not.
        read_times: Times of reads, where they decide what is evicted.
        removed: Receives, before the commit, the names of entries that this object chose and removed; None to discard
            them.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        *,
        max_size: int | None,
        clock: Clock,
        check: Callable[[], None],
        room: Room | None,
        read_only: str | None,
        commits_itself: bool,
        read_times: ReadTimes | None,
        removed: deque[Ref] | None,
    ) -> None:
        self._database = database
        self._cursor = database.cursor()
        self._cursor.row_factory = None
        self._execute = self._cursor.execute
        self._max_size = max_size
        self._clock = clock
        self._check = check
        self._room = room
        self._read_only = read_only
        self._commits_itself = commits_itself
        self._read_times = read_times
        self._removed = removed

    def change(self, work: Callable[..., R], *arguments: Any) -> R:
        """Run one of the methods below as one transaction, and make room at its end."""
        self._refuse_if_read_only()
        self._check()
        self._execute("BEGIN IMMEDIATE")
        try:
            result = work(*arguments)
            if self._max_size is not None:
                self._make_room(self._max_size)
            self._execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._execute("ROLLBACK")
            raise
        return result

    def put_one(self, ref: Ref, record: Record) -> ValueTooLargeError | None:
        """Store one record, unless it alone exceeds `max_size`; in one statement if nothing else has to be done."""
        alone = self._commits_itself and self._max_size is None and self._read_only is None
        if not alone or len(record.payload) > INLINE:
            return self.change(self.put, [(ref, record)])[0]
        self._check()
        self._execute(_PUT, row_of(ref, record, time.time_ns(), None))
        return None

    def change_one(self, work: Callable[..., R], *arguments: Any) -> R:
        """Do the same as `change` for a single statement, in half the time of a transaction."""
        if self._max_size is not None or not self._commits_itself:
            return self.change(work, *arguments)
        self._refuse_if_read_only()
        self._check()
        return work(*arguments)

    def remove(self, change: Callable[..., R], *arguments: Any) -> R:
        """Run a removal by `change` or `change_one`; on a full disk, use the reserved space."""
        try:
            return change(*arguments)
        except sqlite3.OperationalError as error:
            if self._room is None or not may_be_full(error):
                raise
        self._room.give_up()
        self._room.empty_log(self._database)
        try:
            result = change(*arguments)
            self._room.empty_log(self._database)
        finally:
            self._room.keep()
        return result

    def put(self, records: Sequence[tuple[Ref, Record]]) -> list[ValueTooLargeError | None]:
        """Store records, except any that alone exceeds `max_size`."""
        used = time.time_ns()
        outcomes = [self._refusal(ref, record) for ref, record in records]
        rows = [
            self._row(ref, record, used + at)
            for at, ((ref, record), refusal) in enumerate(zip(records, outcomes, strict=True))
            if refusal is None
        ]
        if len(rows) == 1:
            self._execute(_PUT, rows[0])  # `executemany` would leave a statement open that hinders closing
        else:
            self._cursor.executemany(_PUT, rows)
        return outcomes

    def delete(self, refs: Sequence[Ref], now: float) -> list[bool]:
        """Remove entries, and return which of them were live."""
        deleted = [self._execute(_DELETE_SEEN, ref).fetchall() for ref in refs]
        return [bool(rows) and (rows[0][0] is None or rows[0][0] > now) for rows in deleted]

    def put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> list[bool | ValueTooLargeError]:
        """Store each record whose condition holds, and return which were stored."""
        done = [self._living(ref, now) == condition for ref, _, condition in items]
        refusals = iter(self.put([(ref, record) for (ref, record, _), holds in zip(items, done, strict=True) if holds]))
        return [holds and (next(refusals) or True) for holds in done]

    def delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> list[bool]:
        """Remove each entry that has the given version, and return which were removed."""
        done = [self._living(ref, now) == version for ref, version in items]
        self._cursor.executemany(_DELETE, [ref for (ref, _), holds in zip(items, done, strict=True) if holds])
        return done

    def touch(self, items: Sequence[tuple[Ref, float]], now: float) -> list[bool]:
        """Give live entries new deadlines, and return which of them were live."""
        return [
            self._execute(_TOUCH, (*deadline_columns(deadline), *ref, now)).rowcount == 1 for ref, deadline in items
        ]

    def cull(self, now: float) -> int:
        """Remove a batch of expired entries, and return how many; 0 when none are left."""
        return self._removed_by(_CULL, now, _AT_ONCE)

    def first_deadline(self) -> float:
        """Return the earliest deadline of all entries; `NEVER` if none has one or nothing can be removed."""
        self._check()
        first: float | None = self._execute(_FIRST_DEADLINE).fetchone()[0]
        return NEVER if first is None or self._read_only is not None else first

    def destroy_collection(self, collection: str, now: float) -> bool:
        """Remove a collection, and return whether it had a live entry."""
        lived = self._execute(_ANY_IN, (collection, now)).fetchone() is not None
        self._execute("DELETE FROM satchel_entries WHERE collection = ?", (collection,))
        return lived

    def destroy(self, now: float) -> bool:
        """Remove all entries, and return whether one was live."""
        lived = self._execute(_ANY, (now,)).fetchone() is not None
        empty(self._cursor)
        return lived

    def shrink(self) -> None:
        """Return the space of removed entries to the file system, unless another process holds the lock."""
        with self._unless_locked():
            self._execute("VACUUM")
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def note_reads(self) -> None:
        """Save the times of reads, which until then are only in memory."""
        if self._read_times:
            self._cursor.executemany(_NOTE, [(used, *ref) for ref, used in self._read_times.take()])

    def note_reads_unless_locked(self) -> None:
        """Save the times of reads in a transaction; discard them if another process holds the lock."""
        with contextlib.suppress(sqlite3.Error, SatchelError), self._unless_locked():
            self.change(self.note_reads)
        if self._read_times:
            self._read_times.take()

    @contextlib.contextmanager
    def _unless_locked(self) -> Iterator[None]:
        """Give up the block, without waiting, if another process holds the lock."""
        ((patience,),) = self._execute("PRAGMA busy_timeout").fetchall()
        self._execute("PRAGMA busy_timeout = 0").fetchall()
        try:
            yield
        except sqlite3.OperationalError:
            pass  # the space is reused later, or the times of reads are lost
        finally:
            self._execute(f"PRAGMA busy_timeout = {patience:d}").fetchall()

    def _living(self, ref: Ref, now: float) -> str | None:
        """Return the version of a live entry."""
        row = self._execute(_STATE, ref).fetchone()
        return None if row is None or (row[1] is not None and row[1] <= now) else row[0].hex()

    def _row(self, ref: Ref, record: Record, used: int) -> tuple[Any, ...]:
        large = self._put_payload(record.payload) if len(record.payload) > INLINE else None
        return row_of(ref, record, used, large)

    def _put_payload(self, payload: bytes) -> Any:
        if len(payload) <= HUGE:
            return self._execute(_PUT_PAYLOAD, (payload,)).lastrowid
        row: Any = self._execute(_PUT_ZEROS, (len(payload),)).lastrowid
        with self._database.blobopen("satchel_payloads", "payload", row) as blob:
            blob.write(payload)
        return row

    def _refusal(self, ref: Ref, record: Record) -> ValueTooLargeError | None:
        if self._max_size is None or (size := size_of(ref, record)) <= self._max_size:
            return None
        return ValueTooLargeError(f"the entry has {size} bytes, more than the store's max_size of {self._max_size}")

    def _make_room(self, max_size: int) -> None:
        """Remove expired entries, then the least recently used, until the rest fits."""
        self.note_reads()
        while self._bytes() > max_size and self.cull(self._clock()):
            pass
        while (excess := self._bytes() - max_size) > 0:
            count = 0
            sizes = self._execute(_OLDEST, (_AT_ONCE,)).fetchall()
            for (size,) in sizes:
                excess, count = excess - size, count + (excess > 0)
            if excess > 0 and len(sizes) < _AT_ONCE:  # the count is wrong: evicting all entries would not be enough
                self._execute(_RECOUNT)
            else:
                self._removed_by(_EVICT, count)

    def _removed_by(self, statement: str, *arguments: float) -> int:
        """Remove entries that the statement chooses, and return how many."""
        rows = self._execute(statement, arguments).fetchall()
        if self._removed is not None:  # an entry with a damaged name is never remembered
            self._removed.extend([(name.decode(errors="replace"), key.decode(errors="replace")) for name, key in rows])
        return len(rows)

    def _refuse_if_read_only(self) -> None:
        if self._read_only is not None:
            raise StoreError(f"the database is read-only: {self._read_only}; make a new store when it can be written")

    def _bytes(self) -> int:
        count: int = self._execute(_BYTES).fetchone()[0]
        return count
