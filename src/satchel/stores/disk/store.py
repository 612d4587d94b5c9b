"""`DiskStore`: entries in a SQLite database in a directory (`disk:///dir`)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

import aiosqlite

from ..._checks import check_bound
from ..._places import settled
from ..._threads import offload
from ...backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.record import Record
from ...clock import Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, SatchelError, StoreError, safe_repr
from ...names import Ref
from .entries import Entries
from .errors import check_of_connection, check_of_file, translate
from .read_only import connect_to_read, why_read_only
from .room import Room, may_be_full
from .schema import FILE_NAME, connect, prepare
from .thread import SQLiteThread

_LARGEST_VALUE = 999_990_000  # SQLite's own limit is 1,000,000,000 bytes for a row


class DiskStore(BaseStore):
    """Store that keeps entries in a SQLite database, for any number of processes on one machine at once.

    Concurrent writes share a transaction. With a `max_size`, expired entries go first when it is passed, then the least
    recently used: the one longest not got and not put. Reads are remembered and written down with a later write.

    Args:
        directory: Where the database is, made if need be, readable for its owner alone. A `~` is the user's home; a
            relative one is below the working directory of this moment. None for a temporary one, which goes when the
            store is closed.
        connection: An open aiosqlite connection to keep entries in instead. It stays open, and its settings stay.
        max_size: Keep at most so many bytes of entries: names, encoded values and 100 bytes each. None for no bound.
        durability: `"normal"` loses nothing when the process dies, but may lose the last writes when the machine does;
            `"full"` loses none then either, and waits for the disk at each transaction.
        codec: Encodes values; JSON by default.
        clock: Gives the present as seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the database is another
            program's, or of a later release.
        IntegrityError: At the first call: the database is damaged.
    """

    url_parts = {"path": "directory"}  # noqa: RUF012  # the base says ClassVar
    _shield_writes: ClassVar[bool] = False
    _checksums = "none"  # `Entries` makes them, in the connection's thread: the loop has less to do

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        connection: aiosqlite.Connection | None = None,
        max_size: int | None = None,
        durability: Literal["normal", "full"] = "normal",
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if connection is not None and (directory is not None or durability != "normal"):
            raise ConfigurationError("connection excludes directory and durability: both are its own matter")
        if durability not in ("normal", "full"):
            raise ConfigurationError(f'durability must be "normal" or "full", got {safe_repr(durability)}')
        check_bound("max_size", max_size)
        self._directory = None if directory is None else _path(directory)
        self._connection = connection
        self._lent = None if connection is None else "a connection"
        self._max_size = max_size
        self._max_value_bytes = min(max_size or _LARGEST_VALUE, _LARGEST_VALUE)
        self._durability = durability
        self._remove_directory: weakref.finalize[..., DiskStore] | None = None
        self._read_only: str | None = None
        super().__init__(codec=codec, clock=clock)

    def __repr__(self) -> str:
        if self._connection is not None:
            return "DiskStore(connection=...)"
        return "DiskStore()" if self._directory is None else f"DiskStore({str(self._directory)!r})"

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._thread.run(self._entries.read, refs)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._thread.run(self._entries.read_heads, refs)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        return await self._thread.run(self._entries.change, self._entries.put, records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._thread.run(self._entries.remove, self._entries.delete, refs, now)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return await self._thread.run(self._entries.change, self._entries.put_if, items, now)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._thread.run(self._entries.remove, self._entries.delete_if, items, now)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return await self._thread.run(self._entries.change, self._entries.touch, items, now)

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._keys_after(collection, prefix, "", now)

    async def _count(self, collection: str, prefix: str, now: float) -> int:
        return await self._with_timeout(self._thread.run(self._entries.count, collection, prefix, now))

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        while page := await self._thread.run(self._entries.keys, collection, prefix, after, now):
            yield page
            after = page[-1]

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        after = ""
        while page := await self._thread.run(self._entries.collections, after, now):
            yield page
            after = page[-1]

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._thread.run(self._entries.remove, self._entries.destroy_collection, collection, now)

    async def _destroy(self, now: float) -> bool:
        was_live: bool = await self._thread.run(self._entries.remove, self._entries.destroy, now)
        if self._connection is None:
            await self._thread.run(self._entries.shrink)
        return was_live

    async def _cull(self, now: float) -> int:
        count = 0
        while culled := await self._thread.run(self._entries.remove, self._entries.cull, now):
            count += culled
        return count

    async def _first_deadline(self) -> float:
        return await self._thread.run(self._entries.first_deadline)

    async def _ping(self) -> None:
        await self._thread.run(self._entries.read, [("ping", "ping")])

    # Opening and closing.

    async def _open(self) -> None:
        if self._connection is None:
            self._thread = await SQLiteThread.start(self._connect)
        else:
            self._thread = SQLiteThread(self._connection)
        try:
            self._entries = await self._thread.run(self._prepare, self._thread.database)
        except BaseException:
            await self._thread.close()
            raise

    async def _close(self) -> None:
        if self._max_size is not None:
            with suppress(sqlite3.Error, SatchelError):  # when entries were read is not worth a failure to close
                await self._thread.run(self._entries.change, self._entries.note_reads)
        await self._thread.close()
        if self._remove_directory is not None:
            await offload(self._remove_directory)

    def _discard(self) -> None:
        thread: SQLiteThread | None = vars(self).pop("_thread", None)
        if thread is not None:
            thread.drop()

    def _disown(self) -> None:
        super()._disown()
        thread: SQLiteThread | None = vars(self).pop("_thread", None)
        if thread is not None and not thread.disown():
            self._lent = self._lent or "a connection that was in the middle of its work"

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

    def _connect_to_write(self, directory: Path) -> sqlite3.Connection:
        try:
            return connect(directory, self._durability)
        except sqlite3.OperationalError as error:
            if not may_be_full(error):
                raise
        Room(directory).give_up()  # a file that SQLite needs beside the database had no room
        return connect(directory, self._durability)

    def _prepare(self, database: sqlite3.Connection) -> Entries:
        prepare(
            database,
            bound=self._max_size is not None,
            mine=self._connection is None,
            read_only=self._read_only is not None,
        )
        return Entries(
            database,
            max_size=self._max_size,
            clock=self.clock,
            check=check_of_connection(database) if self._connection is not None else self._check,
            room=self._room(database),
            read_only=self._read_only,
        )

    def _room(self, database: sqlite3.Connection) -> Room | None:
        """Keep room for removals, also in a temporary directory: without it, nothing can be removed on a full disk."""
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
        thread: SQLiteThread | None = vars(self).get("_thread")
        if type(error) is ValueError and thread and thread.closed:  # aiosqlite's way to say so
            return StoreError(f"the connection of {self!r} has been closed; make a new store")
        if isinstance(error, OSError):
            return StoreError(f"{where} cannot be used: {error.strerror}; make it a directory to write in")
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
        raise ConfigurationError(f"directory must be one that a file system can name, got {safe_repr(text)}")
    return settled(text, "directory")


def _remove(directory: str, process: int) -> None:
    if os.getpid() == process:  # not a child made by fork, whose exit comes first
        shutil.rmtree(directory, ignore_errors=True)
