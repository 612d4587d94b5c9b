"""Writes under way, and the sweep of what they leave behind.

The order of writes makes everything findable: first the intent, then the chunks, then the manifest, which publishes.
A sweep looks only at intents and records of retired uploads, and only when they are an hour old.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import msgspec

from .._shielding import shielded
from ..capability import Capability
from ..clock import MAX_TTL, Clock
from ..entry import Entry
from ..errors import IntegrityError, SatchelError, UploadLostError
from ..protocol import SupportsConditional, require
from .records import FORMAT, NEW, OLD, Intent, Retired, UploadRef, chunk_key, dumped, new_id, record_of

KEPT_SECONDS = 3600.0
"""Seconds for which replaced chunks can still be read, and after which a write that stands still is given up."""
_RENEWED_SECONDS = KEPT_SECONDS / 12
_LATEST_SECONDS = KEPT_SECONDS / 4
"""Age of an intent at which a writer renews it before it goes on."""
_FIRST_CHUNKS = 8
_AT_ONCE = 500
_SWEPT_PER_WRITE = 2
_LISTED = 1000
_REMEMBERED = 10_000

logger = logging.getLogger("satchel")

LiveUpload = Callable[[str], Awaitable[tuple[str | None, float | None]]]
"""Returns the upload of the blob under a key, and the seconds that it has left; None for none."""


def chunk_ttl(ttl: float | None) -> float | None:
    """Return the time to live of the chunks of a blob: they outlast it, so that readers can finish."""
    return None if ttl is None else min(ttl + KEPT_SECONDS, MAX_TTL)


class Places:
    """The collections of blobs in a store.

    Args:
        store: The store.
        collection: The collection of manifests.
        clock: Returns the present as seconds since the Unix epoch.
    """

    def __init__(self, store: SupportsConditional, collection: str, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.manifests, self.chunks, self.uploads = collection, f"{collection}/chunks", f"{collection}/uploads"

    async def delete_chunks(self, upload: str, count: int) -> None:
        """Delete the chunks of an upload up to a number, whether or not they exist."""
        for keys in _batches(upload, range(count)):
            await self.store.delete_many(self.chunks, keys)

    async def retire(self, key: str, upload: UploadRef) -> str:
        """Record that chunks are to be deleted once their blob is gone, and return the key of the record."""
        record = Retired(format=FORMAT, key=key, at=self.clock(), chunks=upload.chunks)
        await self.store.put(self.uploads, OLD + upload.upload, dumped(record))
        return OLD + upload.upload

    async def keep_chunks(self, upload: str, numbers: range) -> bool:
        """Take the deadlines from chunks, and return whether all of them existed.

        They are never given a deadline again: of two calls at once, the one with the earlier deadline could be last.
        A sweep deletes them when their blob is gone, once `retire` has recorded them.
        """
        existed = True
        for keys in _batches(upload, numbers):
            touched = await asyncio.gather(*(self.store.touch(self.chunks, chunk, ttl=None) for chunk in keys))
            existed = existed and all(touched)
        return existed


def _batches(upload: str, numbers: range) -> Iterator[list[str]]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield [chunk_key(upload, number) for number in numbers[start : start + _AT_ONCE]]


class BlobChange:
    """Write under way, with its intent in the store.

    Args:
        places: The collections.
        key: The key of the blob.
        ttl: Time to live of the chunks in seconds, or None.
    """

    def __init__(self, places: Places, key: str, ttl: float | None = None) -> None:
        self._places, self._key = places, key
        self._began, self._expires = places.clock(), ttl is not None
        self._written = self._kept = 0
        self.id = new_id()
        self.may_be_published = False
        """Whether the manifest may have been written, so that its chunks must stay."""
        self._version = ""
        self._intent = Intent(format=FORMAT, key=key, at=0.0)
        self._lock = asyncio.Lock()

    @property
    def at(self) -> float:
        """When the intent was last renewed, in seconds since the Unix epoch."""
        return self._intent.at

    async def begin(self, *, chunks: int = 0, replaces: UploadRef | None = None) -> None:
        """Store the intent, before anything else."""
        self._intent = Intent(format=FORMAT, key=self._key, at=self._places.clock(), chunks=chunks, replaces=replaces)
        version = await self._places.store.put_if_absent(self._places.uploads, NEW + self.id, dumped(self._intent))
        if version is None:  # a wrapper has sent it twice, and the first one was carried out
            version = await self._found()
        self._version = version

    async def allow(self, number: int) -> None:
        """Note that a chunk of this number is about to be written, unless the intent covers it already.

        Raises:
            UploadLostError: A sweep has given up this upload.
        """
        if number >= self._intent.chunks:
            await self._renew(chunks=max(_FIRST_CHUNKS, 2 * number))
        else:
            await self.renew_if_late()
        self._written = number
        await self._keep_chunks()

    async def name(self, replaces: UploadRef | None) -> None:
        """Note which chunks are about to be replaced.

        Raises:
            UploadLostError: A sweep has given up this upload.
        """
        if replaces != self._intent.replaces:
            await self._renew(replaces=replaces)
        else:
            await self.renew_if_late()

    async def renew_if_late(self) -> None:
        """Renew the intent if it has not been renewed for long, as after the process was stopped.

        Raises:
            UploadLostError: A sweep has given up this upload.
        """
        if self._places.clock() - self._intent.at > _LATEST_SECONDS:
            await self._renew()

    async def keep(self) -> None:
        """Renew the intent again and again.

        Raises:
            UploadLostError: A sweep has given up this upload.
        """
        while True:
            await anyio.sleep(_RENEWED_SECONDS)
            await self._renew()
            await self._keep_chunks()

    async def _keep_chunks(self) -> None:
        """Take the deadlines from the chunks so far, if the write lasts so long that they would end too early."""
        if self.outlasts_chunks:
            first, self._kept = max(0, self._kept - _FIRST_CHUNKS), self._written  # some may not have arrived last time
            await self._places.keep_chunks(self.id, range(first, self._written))

    @property
    def outlasts_chunks(self) -> bool:
        """Whether the write lasts so long that its first chunks would expire before its blob."""
        return self._expires and self._places.clock() - self._began > KEPT_SECONDS / 2

    async def keep_all_chunks(self, chunks: int) -> None:
        """Take the deadlines from all chunks; a sweep deletes them when their blob is gone.

        Raises:
            UploadLostError: Some have expired, as after the process was stopped.
        """
        await self._places.retire(self._key, UploadRef(upload=self.id, chunks=chunks))
        if not await self._places.keep_chunks(self.id, range(chunks)):
            raise self._lost()

    async def _renew(self, **changes: Any) -> None:
        async with self._lock:
            intent = msgspec.structs.replace(self._intent, at=self._places.clock(), **changes)
            if (version := await self._swap(intent)) is None:  # lost, or the answer to the last time was
                self._version = await self._found()
                if (version := await self._swap(intent)) is None:
                    raise self._lost()
            self._intent, self._version = intent, version

    async def _swap(self, intent: Intent) -> str | None:
        return await self._places.store.compare_and_put(
            self._places.uploads, NEW + self.id, dumped(intent), version=self._version
        )

    async def _found(self) -> str:
        """Return the version of the intent as it is in the store.

        Raises:
            UploadLostError: A sweep has given up this upload.
        """
        entry = await self._places.store.get_entry(self._places.uploads, NEW + self.id)
        if entry is None:
            raise self._lost()
        found = record_of(NEW + self.id, entry, self._places.store.max_key_bytes)
        if isinstance(found, Intent) and found.dead:
            raise self._lost()
        return entry.version

    def _lost(self) -> UploadLostError:
        return UploadLostError(
            f"the upload of the blob {self._key!r} stood still for more than {KEPT_SECONDS:.0f} s and was given up; "
            "put it again"
        )

    async def end(self, retired: UploadRef | None) -> str | None:
        """Retire what was replaced, then delete the intent.

        Args:
            retired: The chunks that were replaced.

        Returns:
            The key of the record of what was retired.
        """
        record = None if retired is None else await self._places.retire(self._key, retired)
        await self._places.store.delete(self._places.uploads, NEW + self.id)
        return record

    async def abandon(self) -> None:
        """Delete the chunks of a write that failed or was cancelled.

        The intent stays: a chunk that was under way may still arrive, which a sweep removes.
        """
        if not self.may_be_published:
            await shielded(partial(self._places.delete_chunks, self.id, self._intent.chunks), _log_failure)


def _log_failure(error: Exception) -> None:
    logger.warning("the chunks of a blob that was not stored stay until a sweep: %s", type(error).__name__)


class Sweeper:
    """Sweep of what unfinished and replaced writes left behind.

    Args:
        places: The collections.
        live: Returns what is published under a key.
    """

    def __init__(self, places: Places, live: LiveUpload) -> None:
        self._places, self._live = places, live
        self._retired = deque[tuple[float, str]](maxlen=_REMEMBERED)
        """Records that this object wrote, with the time from which they can be swept; the earliest first."""
        self._found = deque[str]()
        """Records that a listing has found."""
        self._listed_at = -KEPT_SECONDS

    async def sweep(self) -> int:
        """Sweep every record that is old enough, and return how many there were.

        Raises:
            UnsupportedOperationError: The store cannot list keys.
            IntegrityError: A record is damaged; the others were swept.
        """
        store = require(self._places.store, Capability.ENUMERATE_KEYS)
        keys = [key async for key in store.keys(self._places.uploads)]
        count, damage = 0, None
        for key in keys:
            try:
                count += await self._sweep_one(key)
            except IntegrityError as error:
                damage = damage or error
        if damage is not None:
            raise damage
        return count

    async def after_write(self, retired: str | None) -> None:
        """Sweep a few records, as the price of a write; a failure is left to the next one.

        Args:
            retired: The key of the record that the write has made.
        """
        now = self._places.clock()
        if retired is not None:
            self._retired.append((now + KEPT_SECONDS, retired))
        try:
            await self._list_if_due(now)
            for _ in range(_SWEPT_PER_WRITE):
                if self._found:
                    await self._sweep_one(self._found.popleft())
                elif self._retired and self._retired[0][0] <= now:
                    await self._sweep_one(self._retired.popleft()[1])
        except SatchelError as error:
            logger.warning("a sweep of blobs failed and is left to a later write: %s", type(error).__name__)

    async def _list_if_due(self, now: float) -> None:
        """List some records, once in a while: those of processes that ended."""
        if (
            abs(now - self._listed_at) < KEPT_SECONDS
            or Capability.ENUMERATE_KEYS not in self._places.store.capabilities
        ):
            return
        self._listed_at = now
        store = require(self._places.store, Capability.ENUMERATE_KEYS)
        self._found.extend([key async for key in store.keys(self._places.uploads, limit=_LISTED)])

    async def _sweep_one(self, record_key: str) -> bool:
        """Sweep a record if it is old enough, and return whether it was."""
        places = self._places
        entry = await places.store.get_entry(places.uploads, record_key)
        if entry is None:
            return False
        record = record_of(record_key, entry, places.store.max_key_bytes)
        if places.clock() - record.at < KEPT_SECONDS:
            return False
        upload = record_key[len(NEW) :]
        if isinstance(record, Intent):
            return await self._give_up(upload, record, entry)
        return await self._reclaim(upload, record, entry)

    async def _reclaim(self, upload: str, record: Retired, entry: Entry) -> bool:
        """Delete the chunks of an upload whose blob is gone, and return whether it is."""
        places = self._places
        live, ttl = await self._live(record.key)
        if live != upload:
            await places.delete_chunks(upload, record.chunks)
        elif ttl is not None:
            later = msgspec.structs.replace(record, at=places.clock() + ttl)
            await places.store.compare_and_put(places.uploads, OLD + upload, dumped(later), version=entry.version)
            return False
        await places.store.compare_and_delete(places.uploads, OLD + upload, version=entry.version)
        return live != upload

    async def _give_up(self, upload: str, intent: Intent, entry: Entry) -> bool:
        """Finish or undo a write that stands still. It is fenced first, so that it cannot go on."""
        places = self._places
        dead = msgspec.structs.replace(intent, dead=True)
        version = await places.store.compare_and_put(places.uploads, NEW + upload, dumped(dead), version=entry.version)
        if version is None:
            return False  # it goes on, or another sweep has it
        live, _ = await self._live(intent.key)
        for chunks in (intent.replaces, UploadRef(upload=upload, chunks=intent.chunks)):
            if chunks is not None and chunks.chunks and chunks.upload != live:
                await places.retire(intent.key, chunks)
        await places.store.delete(places.uploads, NEW + upload)
        return True
