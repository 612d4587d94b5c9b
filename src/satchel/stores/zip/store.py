"""`ZipStore`: the entries of a zip archive, to be read (`zip:///path/to/archive.zip`)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import ClassVar

from ..._places import settled
from ..._threads import Worker
from ...backend.base import BaseStore, ChangeResult, ReadResult, WriteResult
from ...backend.record import Record
from ...clock import Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, ReadOnlyError, SatchelError, safe_repr
from ...names import Ref
from .archive import Archive, translate

_PAGE = 500
_DEFAULT_LARGEST = 256 * 1024 * 1024


class ZipStore(BaseStore):
    """Store that reads the entries of a zip archive, which `write_zip` or `satchel export --zip` wrote.

    Values, versions and deadlines are those of the export. `put` and `delete` raise `ReadOnlyError`.

    Args:
        path: The archive. It is opened by the first call, and read from then on, also if another one takes its place.
        max_value_bytes: The largest value that is read: an archive of a stranger may unpack to far more than its size.
        codec: Decodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An argument is unusable. At the first call: satchel did not write the archive.
    """

    url_parts: ClassVar = {"path": "path"}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_value_bytes: int = _DEFAULT_LARGEST,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
            raise ConfigurationError(f"path must be the path of a file, got {safe_repr(path)}")
        if type(max_value_bytes) is not int or max_value_bytes < 1:
            raise ConfigurationError(f"max_value_bytes must be a positive int, got {safe_repr(max_value_bytes)}")
        self._path = str(settled(os.fspath(path), "path"))
        self._max_value_bytes = max_value_bytes
        super().__init__(codec=codec, clock=clock)

    def __repr__(self) -> str:
        return f"ZipStore({self._path!r})"

    async def _open(self) -> None:
        self._thread = Worker("satchel-zip", _nothing)
        self._archive = await self._thread.run(Archive, self._path, self._max_value_bytes or _DEFAULT_LARGEST)

    async def _close(self) -> None:
        await self._thread.run(self._archive.close)
        self._thread.end()

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        archive = self._archive
        return await self._thread.run(lambda: [archive.read(ref) for ref in refs])

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        collections = self._archive.collections
        return [collections.get(collection, {}).get(key) for collection, key in refs]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        raise self._read_only("put")

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        raise self._read_only("delete")

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        keys = self._archive.collections.get(collection, {})
        for page in _pages(keys):
            yield [key for key in page if key.startswith(prefix) and keys[key].deadline > now]

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        for page in _pages(self._archive.collections):
            heads = self._archive.collections
            yield [name for name in page if any(head.deadline > now for head in heads[name].values())]

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._path) if isinstance(error, OSError) else None

    def _read_only(self, operation: str) -> ReadOnlyError:
        return ReadOnlyError(f"{self!r} is read-only, and refuses {operation}; write a new archive with write_zip")


def _pages(names: Iterable[str]) -> Iterator[list[str]]:
    """Iterate over names in pages, between which other tasks run."""
    left = iter(names)
    while page := list(islice(left, _PAGE)):
        yield page


def _nothing() -> None:
    """Hurry nothing: no call waits for others."""
