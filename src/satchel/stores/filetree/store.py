"""`FileTreeStore`: one readable file an entry, in a directory for each collection (`file:///directory`)."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from importlib.util import find_spec
from typing import Literal

from ..._places import settled
from ..._threads import Worker
from ...backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.record import Record
from ...backend.watching import Feed
from ...capability import Capability
from ...clock import NEVER, Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, SatchelError, StoreUnavailableError, UnsupportedOperationError, safe_repr
from ...names import Ref
from .system import SUPPORTED, problem
from .tree import Page, Scan, Tree

_PAGE = 50  # directories looked into for one page of collections
_PAUSE = 0.02  # seconds after each page of files that nobody waits for: others are to be read meanwhile


class FileTreeStore(BaseStore):
    """Store that keeps each entry in its own file, meant to be opened, compared and edited by people.

    `{collection}/{key}.json` holds an entry as indented JSON; `bytes`, and the output of codecs other than JSON, are in
    `{key}.bin`. Several processes may use one tree at once. An edit by hand counts as a write: it makes a new version.
    `docs/stores/filetree.md` describes the format.

    Args:
        data_directory: Directory of the collections, created if missing. A `~` is the user's home; a relative path is
            resolved against the current working directory.
        metadata_directory: Parent of the directory `.satchel`, with locks and the naming of files; the data directory
            by default. All stores on one data directory need the same.
        durability: `"normal"`: a finished write survives the death of the process; `"full"`: also a loss of power.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An argument is unusable, or this platform has no locks between processes.
    """

    url_parts = {"path": "data_directory"}  # noqa: RUF012  # the base says ClassVar
    _shield_writes = False  # one thread carries out all writes in order, cut off or not

    def __init__(
        self,
        data_directory: str | os.PathLike[str],
        *,
        metadata_directory: str | os.PathLike[str] | None = None,
        durability: Literal["normal", "full"] = "normal",
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if not SUPPORTED:
            raise ConfigurationError(
                "FileTreeStore needs the file locks and directory descriptors of a POSIX system; use DiskStore"
            )
        if durability not in ("normal", "full"):
            raise ConfigurationError(f'durability must be "normal" or "full", got {safe_repr(durability)}')
        self._data_directory = _directory("data_directory", data_directory)
        metadata = data_directory if metadata_directory is None else metadata_directory
        self._tree = Tree(
            self._data_directory, _directory("metadata_directory", metadata), durable=durability == "full"
        )
        self._missing = Capability.NONE if find_spec("watchfiles") else Capability.WATCH
        self._process = 0
        self._seen_first: float | None = None
        super().__init__(codec=codec, clock=clock)

    def __repr__(self) -> str:
        return f"FileTreeStore({self._data_directory!r})"

    async def _open(self) -> None:
        if self._process != os.getpid():  # a forked child has none of its parent's threads
            self._reader, self._writer = (
                Worker(f"satchel-filetree-{work}", self._tree.hurry) for work in ("read", "write")
            )
            self._process = os.getpid()
        await self._writer.run(self._tree.open)

    async def _close(self) -> None:
        self._tree.hurry()
        for thread in (self._reader, self._writer):
            await thread.run(_nothing)  # what a cancelled caller left behind
            thread.end()

    def _unsupported(self, operation: str) -> UnsupportedOperationError:
        if operation == "watch":
            return UnsupportedOperationError(
                f'{self!r} needs watchfiles to be watched, which is not installed: pip install "satchel[watch]"'
            )
        return super()._unsupported(operation)

    async def _watch(self, feed: Feed) -> None:
        thread, end = Worker("satchel-filetree-watch", _nothing), threading.Event()
        try:
            await thread.run(self._tree.report_changes, feed, end)
        finally:
            end.set()
            thread.end()
        raise StoreUnavailableError(f"files in {self._data_directory} are not watched any more")

    async def _ping(self) -> None:
        await self._reader.run(self._tree.ping)

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._reader.run(self._tree.read, refs)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._reader.run(self._tree.read_heads, refs)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        return await self._writer.run(self._tree.write, records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._tree.delete, refs, now)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._tree.put_if, items, now)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._tree.delete_if, items, now)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._tree.touch, items, now)

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        scan = await self._reader.run(self._tree.scan, collection)
        if scan is None:
            return
        try:
            while (page := await self._reader.run(scan.page, prefix, now)) is not None:
                yield page.keys
        finally:
            self._end(scan)

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        folders = await self._reader.run(self._tree.folders)
        for start in range(0, len(folders), _PAGE):
            yield await self._reader.run(self._tree.living_collections, folders[start : start + _PAGE], now)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._writer.run(self._tree.destroy_collection, collection, now)

    async def _destroy(self, now: float) -> bool:
        return await self._writer.run(self._tree.destroy, now)

    async def _cull(self, now: float) -> int:
        removed, first = 0, NEVER
        async with aclosing(self._pages(now)) as pages:
            async for folder, page in pages:
                first = min(first, page.first)
                if page.expired:
                    removed += await self._writer.run(self._tree.remove_expired, folder, page.expired, now)
        self._seen_first = first
        return removed

    async def _first_deadline(self) -> float:
        seen, self._seen_first = self._seen_first, None
        if seen is not None:
            return seen  # by the `cull` that has just been at every file
        first = NEVER
        async with aclosing(self._pages(-math.inf)) as pages:
            async for _, page in pages:
                first = min(first, page.first)
                await asyncio.sleep(_PAUSE)
        return first

    async def _pages(self, now: float) -> AsyncGenerator[tuple[str, Page]]:
        """Give the name of each collection's directory with what is in it."""
        for folder in await self._reader.run(self._tree.folders):
            scan = await self._reader.run(self._tree.scan_folder, folder)
            if scan is None:
                continue
            try:
                while (page := await self._reader.run(scan.page, "", now)) is not None:
                    yield folder, page
            finally:
                self._end(scan)

    def _end(self, scan: Scan) -> None:
        """Close a listing, after the page that a cancelled caller may have left under way."""
        try:
            self._reader.submit(scan.close)
        except RuntimeError:  # the store is closed, and this thread has ended
            scan.close()

    def _map_error(self, error: Exception) -> SatchelError | None:
        return problem(error, self._data_directory) if isinstance(error, OSError) else None

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return ref


def _directory(name: str, given: object) -> str:
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str) or not os.fspath(given):
        raise ConfigurationError(f"{name} must be the path of a directory, got {safe_repr(given)}")
    try:
        encoded = os.fsencode(given)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ConfigurationError(f"{name} must be a path that the file system can take, got {safe_repr(given)}")
    return str(settled(os.fspath(given), name))


def _nothing() -> None:
    """Come last in a thread's queue."""
