"""The entries of a `DiskStore` in SQL. Everything here runs in the connection's thread."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ...backend.base import Condition
from ...backend.record import Record
from ...clock import NEVER, Clock
from ...errors import IntegrityError, StoreError, ValueTooLargeError
from ...names import Ref
from .room import Room, may_be_full
from .schema import INLINE, empty

R = TypeVar("R")

_DAMAGED = "a stored entry is damaged: its checksums do not match"
_OVERHEAD = 100
_AT_ONCE = 500
_MOST_NOTED = 1000

_HUGE = 1024 * 1024
"""A larger value goes through SQLite's incremental I/O, which leaves the interpreter free while bytes are copied."""
_HEADER = "deadline, deadline_checksum, codec, version, updated_at, checksum"
_FOUND = "FROM satchel_entries WHERE collection = ? AND key = ?"
_READ = f"""
    SELECT {_HEADER}, CASE WHEN large IS NULL THEN payload
        WHEN size <= {_HUGE} THEN (SELECT payload FROM satchel_payloads WHERE id = large) END, large
    {_FOUND}
"""  # noqa: S608  # the parts are above
_READ_HEAD = f"SELECT {_HEADER} {_FOUND}"
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
"""
_FIRST_DEADLINE = "SELECT min(deadline) FROM satchel_entries WHERE deadline IS NOT NULL"
_BYTES = "SELECT value FROM satchel_meta WHERE name = 'bytes'"
_OLDEST = "SELECT size FROM satchel_entries ORDER BY used, collection, key LIMIT ?"
_EVICT = """
    DELETE FROM satchel_entries WHERE (collection, key) IN
        (SELECT collection, key FROM satchel_entries ORDER BY used, collection, key LIMIT ?)
"""
_RECOUNT = """
    UPDATE satchel_meta SET value = (SELECT coalesce(sum(size), 0) FROM satchel_entries) WHERE name = 'bytes'
"""
# The search begins at the later of prefix and last key: at the prefix, each page would go over all pages before it.
_KEYS = """
    SELECT CAST(key AS BLOB) FROM satchel_entries
    WHERE collection = ?1 AND key >= max(?2, ?4) AND key < CAST(?3 AS TEXT) AND +key > ?4
    AND (deadline IS NULL OR deadline > ?5) ORDER BY key LIMIT ?6
"""
_COUNT = """
    SELECT count(*) FROM satchel_entries
    WHERE collection = ? AND key >= ? AND key < CAST(? AS TEXT) AND (deadline IS NULL OR deadline > ?)
"""
_NEXT_COLLECTION = """
    SELECT CAST(collection AS BLOB) FROM satchel_entries
    WHERE collection > ? AND (deadline IS NULL OR deadline > ?) ORDER BY collection LIMIT 1
"""
_ANY = "SELECT 1 FROM satchel_entries WHERE (deadline IS NULL OR deadline > ?) LIMIT 1"
_ANY_IN = "SELECT 1 FROM satchel_entries WHERE collection = ? AND (deadline IS NULL OR deadline > ?) LIMIT 1"

_DOUBLE = struct.Struct(">d")


class Entries:
    """Reads and changes entries; each change is one transaction.

    Args:
        database: The connection.
        max_size: Keep at most so many bytes of entries; None for no bound.
        clock: Gives the present as seconds since the Unix epoch.
        check: Is called before each piece of work, and raises when the database is not to be used any more.
        room: What is kept in reserve for removals; None for no such thing.
        read_only: Why the database cannot be written; None if it can.
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
    ) -> None:
        self._database = database
        self._cursor = database.cursor()
        self._cursor.row_factory = None
        self._execute = self._cursor.execute
        self._max_size = max_size if read_only is None else None  # or reads would be written down
        self._clock = clock
        self._check = check
        self._room = room
        self._read_only = read_only
        self._read_at: dict[Ref, int] = {}

    def read(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        """Return records, expired ones too; an error for a damaged one."""
        self._check()
        row = self._execute(_READ, refs[0]).fetchone() if len(refs) == 1 else None
        if len(refs) == 1 and not _lies_apart(row):
            outcomes = [_record(refs[0], row)]
        else:  # taking the lock to read once halves the time of a batch
            outcomes = self._in_one_view(lambda ref: _record(ref, self._whole_row(ref)), refs)
        self._note(refs)
        return outcomes

    def read_heads(self, refs: Sequence[Ref]) -> list[Record | IntegrityError | None]:
        """Return records without their values, which are not looked at."""
        self._check()
        outcomes = self._in_one_view(lambda ref: _head(self._execute(_READ_HEAD, ref).fetchone()), refs)
        self._note(refs)
        return outcomes

    def _in_one_view(self, read: Callable[[Ref], R], refs: Sequence[Ref]) -> list[R]:
        self._execute("BEGIN")
        try:
            return [read(ref) for ref in refs]
        finally:
            self._execute("ROLLBACK")

    def _whole_row(self, ref: Ref) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(_READ, ref).fetchone()
        if row is None or not _lies_apart(row):
            return row
        try:
            with self._database.blobopen("satchel_payloads", "payload", row[-1], readonly=True) as blob:
                return (*row[:-2], blob.read(), None)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
        except (TypeError, OverflowError):
            pass  # what says where the value is is no number of a row
        return row  # without a value an entry is damaged

    def _note(self, refs: Sequence[Ref]) -> None:
        """Remember that entries were read just now, where that decides what makes room."""
        if self._max_size is not None:
            self._read_at |= dict.fromkeys(refs, time.time_ns())
            if len(self._read_at) > _MOST_NOTED:
                with self._unless_locked():
                    self.change(self.note_reads)
                self._read_at.clear()

    def change(self, work: Callable[..., R], *arguments: Any) -> R:
        """Do some of the work below as one transaction, with making room after it."""
        if self._read_only is not None:
            raise StoreError(f"the database can only be read: {self._read_only}; make a new store where it can")
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

    def remove(self, work: Callable[..., R], *arguments: Any) -> R:
        """Do what `change` does, for what only removes: on a full disk with the room that is kept for it."""
        try:
            return self.change(work, *arguments)
        except sqlite3.OperationalError as error:
            if self._room is None or not may_be_full(error):
                raise
        self._room.give_up()
        self._room.empty_log(self._database)
        try:
            result = self.change(work, *arguments)
            self._room.empty_log(self._database)
        finally:
            self._room.keep()
        return result

    def put(self, records: Sequence[tuple[Ref, Record]]) -> list[ValueTooLargeError | None]:
        """Store records, but for those that alone pass the bound."""
        used = time.time_ns()
        most = self._max_size
        outcomes = [None if most is None else _refusal(ref, record, most) for ref, record in records]
        self._cursor.executemany(
            _PUT,
            [
                self._row(ref, record, used + at)
                for at, ((ref, record), refusal) in enumerate(zip(records, outcomes, strict=True))
                if refusal is None
            ],
        )
        return outcomes

    def delete(self, refs: Sequence[Ref], now: float) -> list[bool]:
        """Remove entries; say which lived."""
        deleted = [self._execute(_DELETE_SEEN, ref).fetchall() for ref in refs]
        return [bool(rows) and (rows[0][0] is None or rows[0][0] > now) for rows in deleted]

    def put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> list[bool | ValueTooLargeError]:
        """Store each record where the condition holds; say where."""
        done = [self._living(ref, now) == condition for ref, _, condition in items]
        refusals = iter(self.put([(ref, record) for (ref, record, _), holds in zip(items, done, strict=True) if holds]))
        return [holds and (next(refusals) or True) for holds in done]

    def delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> list[bool]:
        """Remove each entry that has the version; say which had."""
        done = [self._living(ref, now) == version for ref, version in items]
        self._cursor.executemany(_DELETE, [ref for (ref, _), holds in zip(items, done, strict=True) if holds])
        return done

    def touch(self, items: Sequence[tuple[Ref, float]], now: float) -> list[bool]:
        """Give living entries new deadlines; say which lived."""
        return [self._execute(_TOUCH, (*_deadline(deadline), *ref, now)).rowcount == 1 for ref, deadline in items]

    def cull(self, now: float) -> int:
        """Remove some expired entries; return how many, 0 when none are left."""
        return self._execute(_CULL, (now, _AT_ONCE)).rowcount

    def first_deadline(self) -> float:
        """Return the earliest deadline of all entries, `NEVER` if none has one or nothing can be removed."""
        self._check()
        first: float | None = self._execute(_FIRST_DEADLINE).fetchone()[0]
        return NEVER if first is None or self._read_only is not None else first

    def destroy_collection(self, collection: str, now: float) -> bool:
        """Remove a collection; say whether anything in it lived."""
        lived = self._execute(_ANY_IN, (collection, now)).fetchone() is not None
        self._execute("DELETE FROM satchel_entries WHERE collection = ?", (collection,))
        return lived

    def destroy(self, now: float) -> bool:
        """Remove all entries; say whether any lived."""
        lived = self._execute(_ANY, (now,)).fetchone() is not None
        empty(self._cursor)
        return lived

    def shrink(self) -> None:
        """Give the space of removed entries back to the file system, unless another process is at work."""
        with self._unless_locked():
            self._execute("VACUUM")
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def keys(self, collection: str, prefix: str, after: str, now: float) -> list[str]:
        """Return a page of keys of living entries, those after a key, in order."""
        self._check()
        # No byte of UTF-8 is 0xff, so what begins with the prefix sorts before it and that byte.
        arguments = (collection, prefix, prefix.encode() + b"\xff", after, now, _AT_ONCE)
        return [_text(key) for (key,) in self._execute(_KEYS, arguments).fetchall()]

    def count(self, collection: str, prefix: str, now: float) -> int:
        """Return how many live entries have keys with a prefix."""
        self._check()
        count: int = self._execute(_COUNT, (collection, prefix, prefix.encode() + b"\xff", now)).fetchone()[0]
        return count

    def collections(self, after: str, now: float) -> list[str]:
        """Return a page of collections with living entries, those after a name, in order."""
        self._check()
        page: list[str] = []
        while len(page) < _AT_ONCE and (row := self._execute(_NEXT_COLLECTION, (after, now)).fetchone()):
            after = _text(row[0])
            page.append(after)
        return page

    def note_reads(self) -> None:
        """Write down when entries were read, which until then is only remembered."""
        self._cursor.executemany(_NOTE, [(used, *ref) for ref, used in self._read_at.items()])
        self._read_at.clear()

    @contextlib.contextmanager
    def _unless_locked(self) -> Iterator[None]:
        """Leave off what is not worth waiting for, where another process holds the lock."""
        ((patience,),) = self._execute("PRAGMA busy_timeout").fetchall()
        self._execute("PRAGMA busy_timeout = 0").fetchall()
        try:
            yield
        except sqlite3.OperationalError:
            pass  # the space is used again, and when entries were read is forgotten
        finally:
            self._execute(f"PRAGMA busy_timeout = {patience:d}").fetchall()

    def _living(self, ref: Ref, now: float) -> str | None:
        """Return the version of a living entry."""
        row = self._execute(_STATE, ref).fetchone()
        return None if row is None or (row[1] is not None and row[1] <= now) else row[0].hex()

    def _row(self, ref: Ref, record: Record, used: int) -> tuple[Any, ...]:
        payload: bytes | None = record.payload
        size = _size(ref, record)
        large = None
        if len(record.payload) > INLINE:
            large, payload = self._put_payload(record.payload), None
        version = bytes.fromhex(record.version)
        kept = (record.codec, version, record.updated_at, record.checksum_with(ref), used, size, large, payload)
        return (*ref, *_deadline(record.deadline), *kept)

    def _put_payload(self, payload: bytes) -> Any:
        if len(payload) <= _HUGE:
            return self._execute(_PUT_PAYLOAD, (payload,)).lastrowid
        row: Any = self._execute(_PUT_ZEROS, (len(payload),)).lastrowid
        with self._database.blobopen("satchel_payloads", "payload", row) as blob:
            blob.write(payload)
        return row

    def _make_room(self, max_size: int) -> None:
        """Remove expired entries, then the least recently used, until the rest fits."""
        if self._read_at:
            self.note_reads()
        while self._bytes() > max_size and self.cull(self._clock()):
            pass
        while (excess := self._bytes() - max_size) > 0:
            count = 0
            sizes = self._execute(_OLDEST, (_AT_ONCE,)).fetchall()
            for (size,) in sizes:
                excess, count = excess - size, count + (excess > 0)
            if excess > 0 and len(sizes) < _AT_ONCE:  # even all entries are less than what the count is too much
                self._execute(_RECOUNT)
            else:
                self._execute(_EVICT, (count,))

    def _bytes(self) -> int:
        count: int = self._execute(_BYTES).fetchone()[0]
        return count


def _record(ref: Ref, row: tuple[Any, ...] | None) -> Record | IntegrityError | None:
    if row is None:
        return None
    deadline, deadline_checksum, codec, version, updated_at, checksum, payload, _ = row
    try:
        if deadline is None:
            deadline, expected = NEVER, _NEVER[1]
        else:
            expected = zlib.crc32(_DOUBLE.pack(deadline))
        if expected == deadline_checksum and type(payload) is type(version) is bytes and type(codec) is int:
            name = version.hex()
            Record(payload, codec, name, updated_at, deadline, ref, checksum).verify()
            return Record(payload, codec, name, updated_at, deadline)
    except (IntegrityError, TypeError, ValueError, struct.error):
        pass  # a column that is not even of its type is as damaged as one that its checksum refuses
    return IntegrityError(_DAMAGED)


def _head(row: tuple[Any, ...] | None) -> Record | IntegrityError | None:
    if row is None:
        return None
    deadline, deadline_checksum, codec, version, updated_at, _ = row
    try:
        if _deadline(NEVER if deadline is None else deadline)[1] == deadline_checksum:
            return Record(b"", codec, version.hex(), updated_at, NEVER if deadline is None else deadline)
    except (AttributeError, TypeError, ValueError, struct.error):
        pass  # as above
    return IntegrityError(_DAMAGED)


def _lies_apart(row: tuple[Any, ...] | None) -> bool:
    """Say whether a value was left out of what was read, as it is too large for it."""
    return row is not None and row[-2] is None and row[-1] is not None


def _size(ref: Ref, record: Record) -> int:
    return len(record.payload) + len(ref[0].encode()) + len(ref[1].encode()) + _OVERHEAD


def _refusal(ref: Ref, record: Record, max_size: int) -> ValueTooLargeError | None:
    if (size := _size(ref, record)) <= max_size:
        return None
    return ValueTooLargeError(f"the entry has {size} bytes, more than the store's max_size of {max_size}")


def _deadline(deadline: float) -> tuple[float | None, int]:
    return _NEVER if deadline == NEVER else (deadline, zlib.crc32(_DOUBLE.pack(deadline)))


_NEVER = (None, zlib.crc32(_DOUBLE.pack(NEVER)))


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise IntegrityError("the name of a stored entry is damaged: it is not UTF-8") from None
