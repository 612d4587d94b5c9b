"""`StoreBlobs`: blobs in any store with conditional writes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any
from urllib.parse import quote

import anyio
import msgspec

from .._checks import check_int
from .._update import ATTEMPTS
from ..capability import Capability
from ..clock import Clock, as_datetime, system_clock
from ..entry import Entry
from ..errors import (
    BatchError,
    BlobChangedError,
    BlobExistsError,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    StoreError,
)
from ..names import check_name
from ..protocol import AsyncKeyValue, require
from .base import BlobsBase
from .data import add_to_hash, digest_of, pieces_of, resized
from .ids import IdKind
from .info import BlobInfo
from .options import PutOptions
from .records import CHUNK_HEADER, FORMAT, Manifest, UploadRef, new_id, pack_chunk, unpack_chunk
from .source import BlobSource
from .uploads import BlobChange, Places, Sweeper, chunk_ttl
from .urls import UrlSigner

DEFAULT_CHUNK_SIZE = 256 * 1024
INLINE = 16 * 1024
"""The longest content that is kept in its manifest, in bytes."""
_AT_ONCE = 8
_ROOM = 4096
"""Bytes of a manifest beside its content, metadata excepted."""


class StoreBlobs(BlobsBase):
    """Place for blobs in a store: a short one is one entry, a longer one is stored in chunks.

    ```python
    from satchel import MemoryStore
    from satchel.blobs import StoreBlobs

    blobs = StoreBlobs(MemoryStore())
    info = await blobs.put("photos/cat.png", b"...", metadata={"by": "Ada"})
    assert await blobs.get("photos/cat.png") == b"..."
    async for piece in blobs.stream("photos/cat.png"): ...
    ```

    * A blob of at most 16 KiB is one entry, written in one request if the key is new.
    * A longer one is stored in chunks, eight at a time, and appears with its manifest, which is written last.
    * A replaced or deleted blob can be read to its end for an hour by those who had begun; then it is removed by a
      later write or by `sweep`.
    * What a killed process leaves behind is removed by a later write, or by `sweep`, when it is an hour old. A store
      that cannot list keys is not searched for it.

    Args:
        store: A store with `Capability.CONDITIONAL`; listing needs `Capability.ENUMERATE_KEYS`.
        collection: The collection of the blobs; chunks are in `{collection}/chunks`, and records of writes under way
            in `{collection}/uploads`.
        chunk_size: Bytes of each chunk; None for 256 KiB, or what the store takes at most.
        ids: How keys are made for `put(None, ...)`: `uuid7`, `uuid4` or `sha256`.
        template: The key that is made, with `{}` for the id.
        max_size: The longest blob in bytes that is taken; None for no limit.
        base_url: Address of a web server that serves the blobs by their keys, or a function that returns the address
            for a key.
        signer: Signs the addresses made from `base_url`.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError: The collection is not a legal name.
        ConfigurationError: An option is not legal.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        collection: str = "blobs",
        *,
        chunk_size: int | None = None,
        ids: IdKind = "uuid7",
        template: str = "{}",
        max_size: int | None = None,
        base_url: str | Callable[[str], str] | None = None,
        signer: UrlSigner | None = None,
        clock: Clock = system_clock,
    ) -> None:
        super().__init__(ids=ids, template=template, max_size=max_size, base_url=base_url, signer=signer, clock=clock)
        self._store = require(store, Capability.CONDITIONAL)
        self._places = Places(self._store, check_name(collection, "collection"), clock)
        self._uri = f"satchel://{quote(collection, safe='')}/"
        self._sweeper = Sweeper(self._places, self._live)
        self._chunk_size, self._inline = _sizes(chunk_size, store.max_value_bytes)

    def __repr__(self) -> str:
        return f"StoreBlobs({self._store!r}, collection={self._places.manifests!r})"

    async def sweep(self) -> int:
        """Remove what unfinished and replaced writes left behind, as described for `Blobs`.

        Raises:
            UnsupportedOperationError: The store cannot list keys.
            IntegrityError: A record of an upload is damaged; what the others list was removed.
        """
        return await self._sweeper.sweep()

    # Writing.

    async def _write_whole(self, key: str, data: bytes, options: PutOptions) -> BlobInfo:
        if len(data) > self._inline:
            async with aclosing(pieces_of(data)) as pieces:
                return await self._write_chunks(key, pieces, options)
        content = self._manifest(new_id(), len(data), await digest_of(data), options)
        return await self._publish(key, content, data, options, None)

    async def _write(self, key: str, pieces: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        first: list[bytes] = []
        async for piece in pieces:
            first.append(piece)
            if sum(map(len, first)) > self._inline:
                async with aclosing(_joined(first, pieces)) as joined:
                    return await self._write_chunks(key, joined, options)
        return await self._write_whole(key, b"".join(first), options)

    async def _write_chunks(self, key: str, pieces: AsyncGenerator[bytes, None], options: PutOptions) -> BlobInfo:
        change = BlobChange(self._places, key, options.ttl)
        await change.begin()
        try:
            size, digest = await self._put_chunks(change, pieces, chunk_ttl(options.ttl))
            content = self._manifest(change.id, size, digest, options, self._chunk_size)
            if change.outlasts_chunks:
                await change.keep_all_chunks(content.chunks)
                content = msgspec.structs.replace(content, chunks_expire=False)
            return await self._publish(key, content, b"", options, change)
        except BaseException:
            await change.abandon()
            raise

    async def _put_chunks(
        self, change: BlobChange, pieces: AsyncGenerator[bytes, None], ttl: float | None
    ) -> tuple[int, str]:
        """Store the chunks of a blob, and return their size and SHA-256."""
        hashed, size, number = hashlib.sha256(), 0, 0
        free = anyio.Semaphore(_AT_ONCE)

        async def put(number: int, chunk: bytes) -> None:
            try:
                await self._put_chunk(change.id, number, chunk, ttl)
            finally:
                free.release()

        with _single_error():
            async with anyio.create_task_group() as renewing:
                renewing.start_soon(change.keep)
                async with anyio.create_task_group() as puts:
                    async for chunk in resized(pieces, self._chunk_size):
                        await add_to_hash(hashed, chunk)
                        await change.allow(number)
                        await free.acquire()
                        puts.start_soon(put, number, chunk)
                        size, number = size + len(chunk), number + 1
                renewing.cancel_scope.cancel()
        return size, hashed.hexdigest()

    async def _put_chunk(self, upload: str, number: int, chunk: bytes, ttl: float | None) -> None:
        packed = pack_chunk(upload, number, chunk)
        await self._store.put(self._places.chunks, UploadRef(upload=upload, chunks=0).key(number), packed, ttl=ttl)

    def _manifest(
        self, version: str, size: int, digest: str, options: PutOptions, chunk_size: int | None = None
    ) -> Manifest:
        now = self._clock()
        return Manifest(
            format=FORMAT,
            version=version,
            size=size,
            sha256=digest,
            created=now,
            updated=now,
            chunk_size=chunk_size,
            chunks_expire=chunk_size is not None and options.ttl is not None,
            content_type=options.content_type,
            metadata=dict(options.metadata),
        )

    async def _publish(
        self, key: str, manifest: Manifest, content: bytes, options: PutOptions, change: BlobChange | None
    ) -> BlobInfo:
        """Write the manifest, whereby the blob appears, and retire what it replaces.

        A key is first taken to be new: then one request is all that a short blob costs.
        """
        may_be_new = options.if_version is None
        for _ in range(ATTEMPTS):
            entry = None if may_be_new else await self._store.get_entry(self._places.manifests, key)
            may_be_new = False
            if entry is None:
                if options.if_version is not None:
                    raise _changed(key)
                if await self._put_manifest(key, manifest, content, options.ttl, None, change):
                    return await self._end(key, manifest, options.ttl, change, None)
                if options.if_absent:
                    raise BlobExistsError(f"there is a blob under {key!r} already")
                continue
            if options.if_absent:
                raise BlobExistsError(f"there is a blob under {key!r} already")
            before, _ = Manifest.unpack(entry.value)
            if options.if_version not in (None, before.version):
                raise _changed(key)
            if change is None and before.upload is not None:
                change = BlobChange(self._places, key)
                await change.begin(replaces=before.upload)
            elif change is not None:
                await change.name(before.upload)
            manifest = msgspec.structs.replace(manifest, created=before.created)
            if await self._put_manifest(key, manifest, content, options.ttl, entry.version, change):
                return await self._end(key, manifest, options.ttl, change, before.upload)
        raise ConflictError(
            f"the blob {key!r} was changed by others {ATTEMPTS} times in a row", store=repr(self._store), key=key
        )

    async def _put_manifest(
        self,
        key: str,
        manifest: Manifest,
        content: bytes,
        ttl: float | None,
        version: str | None,
        change: BlobChange | None,
    ) -> bool:
        """Write the manifest if the entry has a version, or is absent, and return whether it was written."""
        packed = manifest.pack(content)
        if change is not None:
            await change.renew_if_late()
            change.may_be_published = True
        try:
            if version is None:
                written = await self._store.put_if_absent(self._places.manifests, key, packed, ttl=ttl)
            else:
                written = await self._store.compare_and_put(
                    self._places.manifests, key, packed, version=version, ttl=ttl
                )
        except StoreError:
            live, _ = await self._live(key)
            if live != manifest.version:
                raise
            return True  # it was written, and the answer was lost
        if written is None and change is not None:
            change.may_be_published = False
        return written is not None

    async def _end(
        self, key: str, manifest: Manifest, ttl: float | None, change: BlobChange | None, replaced: UploadRef | None
    ) -> BlobInfo:
        if change is not None:
            await self._sweeper.after_write(await change.end(replaced))
        return self._info(key, manifest, None if ttl is None else self._clock() + ttl)

    # Reading.

    async def _source(self, key: str) -> BlobSource | None:
        entry = await self._store.get_entry(self._places.manifests, key)
        if entry is None:
            return None
        manifest, content = Manifest.unpack(entry.value)
        return _StoreSource(self, key, self._info_of(key, entry, manifest), manifest, content)

    def _info_of(self, key: str, entry: Entry, manifest: Manifest) -> BlobInfo:
        return self._info(key, manifest, None if entry.expires_at is None else entry.expires_at.timestamp())

    def _info(self, key: str, manifest: Manifest, deadline: float | None) -> BlobInfo:
        return BlobInfo(
            key=key,
            size=manifest.size,
            sha256=manifest.sha256,
            content_type=manifest.content_type,
            metadata=manifest.metadata,
            created_at=as_datetime(manifest.created),
            updated_at=as_datetime(manifest.updated),
            expires_at=None if deadline is None else as_datetime(deadline),
            version=manifest.version,
            uri=self._uri + quote(key),
        )

    def _keys(self, prefix: str, after: str | None, limit: int | None) -> AsyncIterator[str]:
        store = require(self._store, Capability.ENUMERATE_KEYS)
        order: dict[str, Any] = {} if after is None else {"after": after}  # a third-party store may not know it
        return store.keys(self._places.manifests, prefix=prefix, limit=limit, **order)

    async def _live(self, key: str) -> tuple[str | None, float | None]:
        """Return the version of the blob under a key, which names its upload, and the seconds that it has left."""
        entry = await self._store.get_entry(self._places.manifests, key)
        return (None, None) if entry is None else (Manifest.unpack(entry.value)[0].version, entry.ttl)

    # Changing.

    async def _delete(self, key: str, version: str | None) -> bool:
        while True:
            try:
                entry = await self._store.get_entry(self._places.manifests, key)
                before = None if entry is None else Manifest.unpack(entry.value)[0]
            except IntegrityError:
                if version is not None:
                    raise
                return await self._store.delete(self._places.manifests, key)  # what is damaged can be removed
            if entry is None or before is None or version not in (None, before.version):
                return False
            if await self._delete_version(key, before.upload, entry.version):
                return True

    async def _delete_version(self, key: str, upload: UploadRef | None, entry_version: str) -> bool:
        if upload is None:
            return await self._store.compare_and_delete(self._places.manifests, key, version=entry_version)
        change = BlobChange(self._places, key)
        await change.begin(replaces=upload)
        deleted = await self._store.compare_and_delete(self._places.manifests, key, version=entry_version)
        await self._sweeper.after_write(await change.end(upload if deleted else None))
        return deleted

    async def _touch(self, key: str, ttl: float | None) -> bool:
        """Give a blob a new deadline. Its chunks lose theirs first, and are deleted by a sweep after its end."""
        while (entry := await self._store.get_entry(self._places.manifests, key)) is not None:
            manifest, content = Manifest.unpack(entry.value)
            if manifest.upload is not None and (manifest.chunks_expire or ttl is not None):
                await self._places.retire(key, manifest.upload)
            if manifest.chunks_expire:
                await self._places.keep_chunks(manifest.version, range(manifest.chunks))
                manifest = msgspec.structs.replace(manifest, chunks_expire=False)
            written = await self._store.compare_and_put(
                self._places.manifests, key, manifest.pack(content), version=entry.version, ttl=ttl
            )
            if written is not None:
                return True
        return False


class _StoreSource(BlobSource):
    """One version of a blob in a store, open for reading."""

    def __init__(self, blobs: StoreBlobs, key: str, info: BlobInfo, manifest: Manifest, content: bytes) -> None:
        self.info = info
        self._blobs, self._key, self._manifest, self._content = blobs, key, manifest, content

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Iterate over a part of the blob: of a longer one first one chunk, then up to eight in a request."""
        size = self._manifest.chunk_size
        if size is None:
            if start < end:
                yield self._content[start:end]
            return
        number, at_once = start // size, 1
        while number * size < end:
            beyond = min(number + at_once, -(-end // size))
            values = await self._values(range(number, beyond))
            for place in range(number, beyond):
                yield await self._part(place, values.pop(place, None), start, end)
            number, at_once = beyond, min(2 * at_once, _AT_ONCE)

    async def read_whole(self, start: int, end: int) -> bytes:
        """Return a part of the blob; that of a short one is at hand."""
        if self._manifest.chunk_size is None:
            return self._content if end - start == len(self._content) else self._content[start:end]
        return await super().read_whole(start, end)

    async def _values(self, numbers: range) -> dict[int, Any]:
        keys = {UploadRef(upload=self._manifest.version, chunks=0).key(number): number for number in numbers}
        try:
            values = await self._blobs._store.get_many(self._blobs._places.chunks, keys)
        except BatchError as error:
            for failure in error.failed.values():
                if isinstance(failure, IntegrityError):
                    raise failure from error
            raise
        return {keys[key]: value for key, value in values.items()}

    async def _part(self, number: int, value: Any, start: int, end: int) -> bytes:
        size, manifest = self._manifest.chunk_size or 0, self._manifest
        if value is None:
            live, _ = await self._blobs._live(self._key)
            if live == manifest.version:
                raise IntegrityError(f"a chunk of the blob {self._key!r} is missing")
            raise _changed(self._key)
        first = number * size
        length = min(size, manifest.size - first)
        return unpack_chunk(manifest.version, number, length, value, max(0, start - first), min(length, end - first))


def _sizes(chunk_size: int | None, most: int | None) -> tuple[int, int]:
    """Return the size of chunks, and the longest content in a manifest."""
    room = None if most is None else most - CHUNK_HEADER.size
    if chunk_size is not None:
        check_int("chunk_size", chunk_size, 1)
    elif room is None:
        chunk_size = DEFAULT_CHUNK_SIZE
    else:
        chunk_size = min(DEFAULT_CHUNK_SIZE, room)
    if room is not None and (chunk_size > room or most is None or most <= _ROOM):
        raise ConfigurationError(f"chunk_size must leave room in a value of the store, which has at most {most} bytes")
    return chunk_size, INLINE if most is None else min(INLINE, most - _ROOM)


async def _joined(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    while first:
        yield first.pop(0)
    async for piece in rest:
        yield piece


def _changed(key: str) -> BlobChangedError:
    return BlobChangedError(f"the blob {key!r} was replaced or removed")


@contextmanager
def _single_error() -> Iterator[None]:
    """Raise the error of a task group as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
