"""`DiskStore`: entries in a SQLite database in a directory (`disk:///dir`)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from ..._checks import check_bound, check_int
from ..._places import settled
from ..._threads import offload
from ...backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.engine import translated
from ...backend.record import Record, new_version
from ...clock import NEVER, TTL, Clock, deadline_after, system_clock
from ...codec import LARGE, RAW_BYTES, Codec
from ...errors import ConfigurationError, SatchelError, StoreError, safe_repr
from ...names import Ref, check_ref
from .cache import RecordCache
from .changes import Changes
from .commits import ForeignCommits
from .errors import check_of_connection, check_of_file, translate
from .read_only import connect_to_read, why_read_only
from .read_times import ReadTimes
from .reads import Reads
from .room import Room, may_be_full
from .schema import FILE_NAME, connect, open_file, prepare
from .thread import SQLiteThread

if TYPE_CHECKING:
    import aiosqlite

    from .lent import LentConnection

D = TypeVar("D")
R = TypeVar("R")

_UNREAD = Record(b"", RAW_BYTES, "", 0.0)
_LARGEST_VALUE = 999_990_000  # SQLite's own limit is 1,000,000,000 bytes for a row


class DiskStore(BaseStore):
    """Store that keeps entries in a SQLite database, for any number of processes on one machine at once.

    Concurrent writes share a transaction. Past `max_size`, expired entries are evicted first, then the least recently
    read or written. Times of reads are kept in memory and saved with a later write.

    Args:
        directory: Directory of the database, created if needed with access for its owner only. `~` is the user's home;
            a relative path is resolved now. None for a temporary directory, which is removed when the store is closed.
        connection: An open aiosqlite connection to use instead. It stays open and keeps its settings.
        max_size: Maximum bytes of all entries: names, encoded values and 100 bytes each. None for no limit.
        cache_size: Maximum bytes of entries to remember after they were read or written, so that a `get` of one needs
            no thread as long as nobody else has changed the database; 0 to remember none.
        durability: `"normal"` loses nothing when the process dies, but may lose the last writes when the machine does;
            `"full"` loses none then either, and waits for the disk at each transaction.
        codec: Encodes values; JSON by default.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the database belongs to
            another program or a later release.
        IntegrityError: At the first call: the database is damaged.
    """

    url_parts = {"path": "directory"}  # noqa: RUF012  # the base says ClassVar
    _shield_writes: ClassVar[bool] = False
    _checksums = "none"  # made in the connection's thread instead, to spare the event loop

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        connection: aiosqlite.Connection | None = None,
        max_size: int | None = None,
        cache_size: int = 4_000_000,
        durability: Literal["normal", "full"] = "normal",
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if connection is not None and (directory is not None or durability != "normal"):
            raise ConfigurationError("connection excludes directory and durability: the connection has its own")
        if durability not in ("normal", "full"):
            raise ConfigurationError(f'durability must be "normal" or "full", got {safe_repr(durability)}')
        check_bound("max_size", max_size)
        check_int("cache_size", cache_size, 0)
        self._directory = None if directory is None else _path(directory)
        self._connection = connection
        self._lent = None if connection is None else "a connection"
        self._max_size = max_size
        self._max_value_bytes = min(max_size or _LARGEST_VALUE, _LARGEST_VALUE)
        self._max_alone = min(LARGE - 1, self._max_value_bytes)
        self._durability = durability
        self._remove_directory: weakref.finalize[..., DiskStore] | None = None
        self._read_only: str | None = None
        super().__init__(codec=codec, clock=clock)
        self._cache = RecordCache(cache_size, clock)
        self._read_times: ReadTimes | None = None
        self._writer: SQLiteThread | LentConnection
        self._reader: tuple[SQLiteThread, Reads] | None = None
        self._reads_alone = False

    def __repr__(self) -> str:
        if self._connection is not None:
            return "DiskStore(connection=...)"
        return "DiskStore()" if self._directory is None else f"DiskStore({str(self._directory)!r})"

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        try:
            record = self._cache.find((collection, key)) if self._lifecycle.ready else None
        except TypeError:  # an unhashable name
            record = None
        if record is None:
            record = await self._read_alone(collection, key)
            if record is _UNREAD:
                return await super().get(collection, key, default)
            return default if record is None else await self._engine.value("get", (collection, key), record)
        if self._read_times is not None:
            self._read_times.note([(collection, key)])
            self._write_down_reads()
        try:
            return self._serializer.decode(record)
        except SatchelError as error:
            raise self._call_failed(error, "get", collection, key) from (error.__cause__ or error)

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing an earlier value and its deadline."""
        ref = check_ref(collection, key, self.max_key_bytes)
        record = self._record_of_lone_put(value, ttl)
        if record is None:
            await super().put(collection, key, value, ttl=ttl)
            return
        loop = self._lifecycle.begin("put")
        if not self._lifecycle.ready:  # it was open on an event loop that has ended
            self._lifecycle.leave(loop)
            await super().put(collection, key, value, ttl=ttl)
            return
        try:
            begun = self._cache.begin_change([ref])
            refusal = await self._writer.run(self._changes.put_one, ref, record)
            if refusal is None:
                self._cache.keep(begun, [(ref, record)])
                if ttl is not None:
                    self._count_deadlines(1)
        except Exception as error:
            raise self._call_failed(translated(self, error, "put"), "put", *ref) from error
        finally:
            self._lifecycle.leave(loop)
        if refusal is not None:
            raise self._call_failed(refusal, "put", *ref)

    def _record_of_lone_put(self, value: object, ttl: TTL | None) -> Record | None:
        """Return the record of a small value that can bypass the queue; None if the put has to go through it."""
        if not self._lifecycle.ready or self._writer.busy or not self._engine.writes_nothing:
            return None
        now = self.clock()
        deadline = NEVER if ttl is None else deadline_after(ttl, now)
        codec, payload = RAW_BYTES, value if type(value) is bytes else None
        if payload is None:
            try:
                codec, payload = self._serializer.codec.number, self._serializer.codec.encode_if_small(value)
            except SatchelError:
                return None
        if payload is None or len(payload) > self._max_alone:
            return None
        return Record(payload, codec, new_version(), now, deadline)

    async def _read_alone(self, collection: str, key: str) -> Record | None:
        """Return the record of a live entry, read without the queue while nothing else is being read, which is quicker.

        The result is None if there is no live entry, and `_UNREAD` if the read has to go through the queue.
        """
        if self._reads_alone or not self._lifecycle.ready:
            return _UNREAD
        ref = check_ref(collection, key, self.max_key_bytes)
        loop = self._lifecycle.begin("get")
        self._reads_alone = True
        try:
            reader, reads = self._reader or (self._writer, self._reads)
            if reader.busy:
                return _UNREAD
            begun = self._cache.begin_read()
            record = await reader.run(reads.read_one, ref)
            self._cache.fill(begun, [ref], [record])
        except Exception:  # the read through the queue meets it again
            return _UNREAD
        finally:
            self._reads_alone = False
            self._lifecycle.leave(loop)
        if record is None:
            return None
        if type(record) is not Record:
            return _UNREAD
        return record if record.deadline == NEVER or record.deadline > self.clock() else None

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        found = self._cache.find_all(refs)
        if found is not None:
            if self._read_times is not None:
                self._read_times.note(refs)
                self._write_down_reads()
            return found
        reader, reads = await self._reading()
        begun = self._cache.begin_read()
        outcomes = await reader.run(reads.read, refs)
        self._cache.fill(begun, refs, outcomes)
        self._write_down_reads()
        return outcomes

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        reader, reads = await self._reading()
        return await reader.run(reads.read_heads, refs)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        begun = self._cache.begin_change([ref for ref, _ in records])
        outcomes: Sequence[WriteResult]
        if len(records) == 1:
            outcomes = [await self._writer.run(self._changes.put_one, *records[0])]
        else:
            outcomes = await self._change(self._changes.put, records)
        self._cache.keep(begun, [put for put, refusal in zip(records, outcomes, strict=True) if refusal is None])
        return outcomes

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        self._cache.begin_change(refs)
        changes = self._changes
        change = changes.change_one if len(refs) == 1 else changes.change
        return await self._writer.run(changes.remove, change, changes.delete, refs, now)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        begun = self._cache.begin_change([ref for ref, _, _ in items])
        outcomes = await self._change(self._changes.put_if, items, now)
        self._cache.keep(
            begun, [(ref, record) for (ref, record, _), done in zip(items, outcomes, strict=True) if done is True]
        )
        return outcomes

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        self._cache.begin_change([ref for ref, _ in items])
        return await self._remove(self._changes.delete_if, items, now)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        self._cache.begin_change([ref for ref, _ in items])
        change = self._changes.change_one if len(items) == 1 else self._changes.change
        return await self._writer.run(change, self._changes.touch, items, now)

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._keys_after(collection, prefix, "", now)

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        while page := await self._page(Reads.keys, collection, prefix, after, now):
            yield page
            after = page[-1]

    async def _count(self, collection: str, prefix: str, now: float) -> int:
        reader, reads = await self._reading()
        return await self._with_timeout(reader.run(Reads.count, reads, collection, prefix, now))

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        after = ""
        while page := await self._page(Reads.collections, after, now):
            yield page
            after = page[-1]

    async def _page(self, read: Callable[..., list[str]], *arguments: Any) -> list[str]:
        reader, reads = await self._reading()
        return await reader.run(read, reads, *arguments)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        self._cache.forget_all()
        return await self._remove(self._changes.destroy_collection, collection, now)

    async def _destroy(self, now: float) -> bool:
        self._cache.forget_all()
        was_live = await self._remove(self._changes.destroy, now)
        if self._connection is None:
            await self._writer.run(self._changes.shrink)
        return was_live

    async def _cull(self, now: float) -> int:
        count = 0
        while culled := await self._remove(self._changes.cull, now):
            count += culled
            self._cache.forget_removed()
        return count

    async def _first_deadline(self) -> float:
        return await self._writer.run(self._changes.first_deadline)

    async def _ping(self) -> None:
        await self._read_heads([("ping", "ping")])

    def _change(self, work: Callable[..., R], *arguments: Any) -> Awaitable[R]:
        return self._writer.run(self._changes.change, work, *arguments)

    def _remove(self, work: Callable[..., R], *arguments: Any) -> Awaitable[R]:
        return self._writer.run(self._changes.remove, self._changes.change, work, *arguments)

    def _write_down_reads(self) -> None:
        if self._read_times is not None and self._read_times.full and not self._writer.busy:
            self._writer.run(self._changes.note_reads_unless_locked)

    async def _reading(self) -> tuple[SQLiteThread | LentConnection, Reads]:
        """Return the thread to read with: the writing one, until a read first meets a write, then a second one."""
        if self._reader is None and self._writer.busy and self._directory is not None and self._read_only is None:
            async with self._opening_reader:
                if self._reader is None:
                    await self._open_reader(self._directory / FILE_NAME)
        return self._reader or (self._writer, self._reads)

    # Opening and closing.

    async def _open(self) -> None:
        self._opening_reader = asyncio.Lock()
        if self._connection is None:
            self._writer = await SQLiteThread.start(self._connect)
        else:
            self._writer = self._borrowed(self._connection)
        try:
            await self._writer.run(self._prepare, self._writer.database)
        except BaseException:
            await self._writer.close()
            raise
        if isinstance(self._writer, SQLiteThread) and self._read_only is None:
            self._foreign_commits = ForeignCommits(self._writer, self._check)
            self._cache.start(self._writer, self._foreign_commits)

    async def _open_reader(self, file: Path) -> None:
        """Open a second connection; if that fails, reads keep waiting for writes."""
        with suppress(sqlite3.Error, RuntimeError, MemoryError):
            reader = await SQLiteThread.start(lambda: self._connect_reader(file))
            self._reader = reader, Reads(reader.database, check=self._check, read_times=self._read_times)
            self._foreign_commits.add_reader(reader)

    async def _close(self) -> None:
        self._cache.stop()
        if self._read_times is not None:
            with suppress(sqlite3.Error, SatchelError):  # losing the times of reads is better than failing to close
                await self._change(self._changes.note_reads)
        if self._reader is not None:
            await self._reader[0].close()
            self._reader = None
        await self._writer.close()
        if self._remove_directory is not None:
            await offload(self._remove_directory)

    def _discard(self) -> None:
        for thread in self._let_go():
            thread.drop()

    def _disown(self) -> None:
        super()._disown()
        disowned = [thread.disown() for thread in self._let_go()]
        if not all(disowned):
            self._lent = self._lent or "a connection that was in the middle of its work"

    def _let_go(self) -> list[SQLiteThread | LentConnection]:
        self._cache.stop()
        self._reads_alone = False
        threads: list[SQLiteThread | LentConnection] = [] if self._reader is None else [self._reader[0]]
        if "_writer" in vars(self):
            threads.append(vars(self).pop("_writer"))
        self._reader = None
        return threads

    @staticmethod
    def _borrowed(connection: aiosqlite.Connection) -> LentConnection:
        from .lent import LentConnection  # noqa: PLC0415  # it imports aiosqlite, needed only with connection=

        return LentConnection(connection)

    def _connect(self) -> sqlite3.Connection:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="satchel-"))
            self._remove_directory = weakref.finalize(self, _remove, str(self._directory), os.getpid())
        file = self._directory / FILE_NAME
        self._read_only = why_read_only(file)
        if self._read_only is not None:
            database, self._check = connect_to_read(file)
        else:
            database = self._connect_to_write(self._directory)
            self._check = check_of_file(file)
        return database

    def _connect_reader(self, file: Path) -> sqlite3.Connection:
        self._check()  # SQLite would create the file again
        return open_file(str(file))

    def _connect_to_write(self, directory: Path) -> sqlite3.Connection:
        try:
            return connect(directory, self._durability)
        except sqlite3.OperationalError as error:
            if not may_be_full(error):
                raise
        Room(directory).give_up()  # there was no space for a file that SQLite needs beside the database
        return connect(directory, self._durability)

    def _prepare(self, database: sqlite3.Connection) -> None:
        prepare(
            database,
            bound=self._max_size is not None,
            mine=self._connection is None,
            read_only=self._read_only is not None,
        )
        if self._connection is not None:
            self._check = check_of_connection(database)
        bounded = self._max_size is not None and self._read_only is None  # otherwise times of reads would be saved
        self._read_times = ReadTimes() if bounded else None
        self._reads = Reads(database, check=self._check, read_times=self._read_times)
        self._changes = Changes(
            database,
            max_size=self._max_size,
            clock=self.clock,
            check=self._check,
            room=self._room(database),
            read_only=self._read_only,
            commits_itself=self._connection is None,
            read_times=self._read_times,
            removed=self._cache.removed,
        )

    def _room(self, database: sqlite3.Connection) -> Room | None:
        """Reserve space for removals, also in a temporary directory: without it, a full disk would prevent removals."""
        if self._directory is None or self._read_only is not None:
            return None
        room = Room(self._directory)
        room.keep()
        room.limit(database)
        return room

    def _map_error(self, error: Exception) -> SatchelError | None:
        where = "the connection's database" if self._connection is not None else f"{self._directory}"
        if isinstance(error, (sqlite3.Error, UnicodeDecodeError)):
            return translate(error, where)
        if isinstance(error, OSError):
            return StoreError(f"{where} cannot be used: {error.strerror}; make it a writable directory")
        return None


def _path(directory: str | os.PathLike[str]) -> Path:
    if not isinstance(directory, (str, os.PathLike)):
        raise ConfigurationError(f"directory must be a str or a path, got {type(directory).__name__}")
    text = os.fspath(directory)
    if not isinstance(text, str):
        raise ConfigurationError(f"directory must be a str or a path of str, got one of {type(text).__name__}")
    if not text:
        raise ConfigurationError('directory is empty; give "." for the current one, or None for a temporary one')
    try:
        named = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        named = False
    if not named:
        raise ConfigurationError(f"directory must be a name that file systems allow, got {safe_repr(text)}")
    return settled(text, "directory")


def _remove(directory: str, process: int) -> None:
    if os.getpid() == process:  # not in a child of fork, which may exit first
        shutil.rmtree(directory, ignore_errors=True)
