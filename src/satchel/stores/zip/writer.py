"""Writing an archive: streamed, under a temporary name, and published only if it is complete."""

from __future__ import annotations

import asyncio
import logging
import os
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ..._executor import own_threads
from ..._places import replaceable, settled
from ..._shielding import shielded
from ..._threads import Yielder, in_thread, offload
from ...backend.record import Record
from ...capability import Capability
from ...clock import NEVER
from ...codec import LARGE, RAW_BYTES, JsonCodec
from ...entry import Entry
from ...errors import ConfigurationError, missing_extra, safe_repr
from ...names import Ref, check_ref
from ...protocol import AsyncKeyValue, require
from .archive import MARK, member

logger = logging.getLogger("satchel")

_AT_ONCE = 100
_CODEC = JsonCodec()


async def write_zip(store: AsyncKeyValue, path: str | os.PathLike[str]) -> int:
    """Write all live entries of a store to a zip archive, and return how many there were.

    `ZipStore` reads it, with the same versions and deadlines. A file at the path is replaced once the archive is
    complete; if writing fails or is cancelled, it stays.

    Args:
        store: The store, which can list its collections and keys.
        path: The path of the archive.

    Raises:
        ConfigurationError: The path is unusable.
        UnsupportedOperationError: The store cannot list its collections or keys.
        SerializationError: A value is neither bytes nor JSON.
        MissingExtraError: aiofiles is not installed.
        OSError: The file cannot be written.
    """
    require(store, Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS)
    listing: Any = store
    count = 0
    async with ZipWriter(path) as archive:
        async for collection in listing.collections():
            async for keys in _batches(listing.keys(collection)):
                for key, entry in (await store.get_entries(collection, keys)).items():
                    await archive.add(collection, key, entry)
                    count += 1
    return count


class ZipWriter:
    """Archive that is being written, within `async with`. Leaving that publishes it, unless by an exception.

    Args:
        path: The path of the archive. Until it is complete, it has `.partial` behind its name.

    Raises:
        ConfigurationError: The path is unusable.
        MissingExtraError: aiofiles is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
            raise ConfigurationError(f"path must be the path of a file, got {safe_repr(path)}")
        self._path = settled(os.fspath(path), "path")
        self._files = _aiofiles()
        self._sink = _Sink()
        self._written: set[Ref] = set()
        self._turn = asyncio.Lock()
        self._turns = Yielder()

    async def __aenter__(self) -> Self:
        target = await in_thread(replaceable, self._path)
        if target is None:
            raise ConfigurationError(f"path {self._path} is a device or pipe; an archive is a file")
        self._target, self._partial = target, f"{target}.{os.urandom(4).hex()}.partial"
        self._file: Any = await self._files.open(self._partial, "xb", executor=own_threads)
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)  # type: ignore[call-overload]  # it only writes
        self._zip.comment = MARK
        return self

    async def add(self, collection: str, key: str, entry: Entry) -> None:
        """Add an entry. One whose names were added before is left out: a listing may repeat what changes meanwhile.

        Raises:
            InvalidKeyError: A name is not legal.
            SerializationError: The value is neither bytes nor JSON.
        """
        ref = check_ref(collection, key)
        async with self._turn:
            if ref in self._written:
                return
            if entry.size < LARGE:
                self._add(ref, entry)
                await self._turns.after_item()
            else:
                await offload(self._add, ref, entry)
            self._written.add(ref)
            if len(self._sink) > LARGE:
                await self._file.write(self._sink.take())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                await self._publish()
            except BaseException:
                await shielded(self._drop, _tell)
                raise
        else:
            await shielded(self._drop, _tell)

    def _add(self, ref: Ref, entry: Entry) -> None:
        value = entry.value
        payload, codec = (value, RAW_BYTES) if type(value) is bytes else (_CODEC.encode(value), JsonCodec.number)
        deadline = NEVER if entry.expires_at is None else entry.expires_at.timestamp()
        record = Record(payload, codec, entry.version, entry.updated_at.timestamp(), deadline)
        self._zip.writestr(*member(ref, record))

    async def _publish(self) -> None:
        await offload(self._zip.close)  # it makes the list of all members
        await self._file.write(self._sink.take())
        await self._file.flush()
        await offload(os.fsync, self._file.fileno())
        await self._file.close()
        await in_thread(os.replace, self._partial, self._target)

    async def _drop(self) -> None:
        await self._file.close()
        with suppress(FileNotFoundError):
            await in_thread(os.unlink, self._partial)


class _Sink:
    """File that keeps what is written until it is taken; `zipfile` treats it as a pipe."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def __len__(self) -> int:
        return len(self._kept)

    def write(self, data: bytes) -> int:
        self._kept += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: everything has arrived."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        kept, self._kept = self._kept, bytearray()
        return bytes(kept)


async def _batches(keys: AsyncIterator[str]) -> AsyncIterator[Sequence[str]]:
    batch: list[str] = []
    async for key in keys:
        batch.append(key)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _tell(error: Exception) -> None:
    logger.warning("an archive that was not completed could not be removed: %s", error)


def _aiofiles() -> Any:
    try:
        import aiofiles  # noqa: PLC0415  # only writing needs it
    except ModuleNotFoundError as error:
        raise missing_extra("write_zip", "blobs", error) from error
    return aiofiles
