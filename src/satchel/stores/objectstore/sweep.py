"""Scans of all objects, for live entries and for those to reclaim.

What lives stands in the header of each object, so that every look at an object is one small request.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from ..._threads import in_thread
from ...backend.record import HEADER_SIZE, Record, new_version, pack
from ...clock import NEVER
from .bucket import Bucket, Head
from .layout import Layout, beginning, collection_of, just_before, key_of
from .requests import start as start_request

_VALID_FOR = timedelta(minutes=5)
_AT_ONCE = 8
_WRONG = '"satchel-no-such-etag"'


class Removal:
    """Deletion of objects that have not changed meanwhile.

    Args:
        bucket: Where they are.
        root: The folder for the object on which the server is tried.
        timeout: Seconds for one request; None for no limit.
    """

    def __init__(self, bucket: Bucket, root: str, timeout: float | None) -> None:
        self._bucket = bucket
        self._root = root
        self._timeout = timeout
        self._works: bool | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def works(self) -> bool:
        """Return whether the server keeps the condition of a deletion; the first call finds out."""
        if self._works is None:
            self._works = await self._try()
        return self._works

    async def remove(self, heads: Sequence[Head]) -> list[bool]:
        """Delete objects; say of each whether it had not changed, and is gone."""
        if not heads:
            return []
        return await asyncio.gather(*(self.delete(head.path, head.tag["e_tag"]) for head in heads))

    async def _try(self) -> bool:
        if not isinstance(self._bucket.client, (S3Store, GCSStore, AzureStore)):
            return False
        path = f"{self._root}/{uuid.uuid4()}"  # one level too high for an entry
        e_tag = await self._bucket.write(path, b"trial")
        try:
            return not await self.delete(path, _WRONG) and await self.delete(path, e_tag)
        except BaseError:
            return False  # there is nothing to sign with
        except HTTPError as error:
            if error.code >= 500:
                raise  # which says nothing of what it does at better times
            return False  # it refuses signed URLs
        except URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                return False  # obstore was told to trust what the standard library does not
            raise
        finally:
            await self._bucket.remove([path])

    async def delete(self, path: str, e_tag: str) -> bool:
        """Delete an object if it has the ETag, and return whether it had; only where this works."""
        async with self._turns:
            url = await start_request(obstore.sign_async, self._bucket.client, "DELETE", path, _VALID_FOR)
            return await in_thread(_send, url, e_tag, self._timeout)


def _send(url: str, e_tag: str, timeout: float | None) -> bool:
    request = Request(url, method="DELETE", headers={"If-Match": e_tag})  # noqa: S310  # obstore made the URL
    try:
        with urlopen(request, timeout=timeout):  # noqa: S310  # the same
            return True
    except HTTPError as error:
        error.close()
        if error.code in (404, 412):
            return False
        raise


T = TypeVar("T")


TOMBSTONE_DEADLINE = 0.0
"""Long ago for every clock."""
GRACE = 300.0
"""Seconds for which a tombstone stays: who deleted the entry, and did not get an answer, may look for it."""


def tombstone(now: float) -> Record:
    """Return a tombstone for a deleted entry. No two are equal, so each has its own ETag."""
    return Record(payload=b"", codec=0, version=new_version(), updated_at=now, deadline=TOMBSTONE_DEADLINE)


def lives(record: Record | None, now: float) -> bool:
    """Return whether there is an entry which has not expired."""
    return record is not None and (record.deadline == NEVER or record.deadline > now)


class Sweep:
    """Listing of a store's objects that also reclaims expired ones.

    Args:
        bucket: Where the objects are.
        layout: How they are named.
        removal: Deletes those that have not changed.
        timeout: Seconds for one step; None for no limit.
    """

    def __init__(self, bucket: Bucket, layout: Layout, removal: Removal, timeout: float | None) -> None:
        self._bucket = bucket
        self._layout = layout
        self._removal = removal
        self._timeout = timeout
        self._after: str | None = None

    async def keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[list[str]]:
        """Yield the keys of living entries in pages."""
        folder = self._layout.folder(collection)
        start = f"{folder}/{beginning(prefix)}"
        async for page in self._bucket.pages(folder, just_before(start) if prefix else None):
            heads = await self._bucket.heads(self._entries(page, start))
            keys = [_key(head) for head in heads if lives(head.record, now)]
            yield [key for key in keys if key is not None and key.startswith(prefix)]
            last = page[-1]["path"] if page else start
            if last > start and not last.startswith(start):
                return  # listings come in order

    async def collections(self, now: float) -> AsyncIterator[list[str]]:
        """Yield the collections with a living entry, each once; a page without any between long searches."""
        for folder in await self._bucket.folders(self._layout.root):
            async for page in self._bucket.pages(folder):
                found = await self._any_living(self._entries(page), now)
                names = None if found is None else _collection(folder, found)
                yield [] if names is None else [names]
                if found is not None:
                    break

    async def destroy(self, folder: str, now: float) -> bool:
        """Remove every entry below a folder; return whether one lived."""
        lived = False
        async for heads in self._heads(folder):
            lived = lived or any(lives(head.record, now) for head in heads)
            await self._with_timeout(self._bucket.remove([head.path for head in heads if head.ours]))
        return lived

    async def all(self, now: float) -> int:
        """Reclaim all that can be; return how many entries had expired."""
        count = 0
        async for heads in self._heads(self._layout.root):
            count += await self._with_timeout(self._reclaim(heads, now))
        return count

    async def some(self, most: int, now: float) -> int:
        """Reclaim among the next objects, about so many, going on where the last such step ended."""
        seen = count = 0
        async for page in self._pages(self._layout.root, self._after):
            paths = self._entries([meta for meta in page if not _may_be_fresh_tombstone(meta, now)])
            count += await self._with_timeout(self._reclaim(await self._with_timeout(self._bucket.heads(paths)), now))
            seen += len(page)
            if page:
                self._after = str(page[-1]["path"])
            if seen >= most:
                return count
        self._after = None
        return count

    async def _with_timeout(self, work: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timeout):
            return await work

    async def _reclaim(self, heads: Sequence[Head], now: float) -> int:
        expired = [head for head in heads if _has_expired(head.record, now)]
        buried = [head for head in heads if _is_buried(head.record, now)]
        if not expired and not buried:
            return 0
        if await self._removal.works():
            return sum((await self._removal.remove([*expired, *buried]))[: len(expired)])
        # A deletion could hit what is put at this moment; a tombstone cannot, and takes next to no room.
        stone = pack(tombstone(now))
        return sum([await self._bucket.swap(head.path, stone, head.tag) for head in expired])

    async def _heads(self, folder: str) -> AsyncIterator[list[Head]]:
        async for page in self._pages(folder):
            yield await self._with_timeout(self._bucket.heads(self._entries(page)))

    async def _pages(self, folder: str, after: str | None = None) -> AsyncIterator[Sequence[Any]]:
        pages = self._bucket.pages(folder, after)
        while (page := await self._with_timeout(anext(pages, None))) is not None:
            yield page

    async def _any_living(self, paths: list[str], now: float) -> Head | None:
        start, count = 0, 1  # most often the first one lives
        while start < len(paths):
            for head in await self._bucket.heads(paths[start : start + count]):
                if lives(head.record, now):
                    return head
            start, count = start + count, 64
        return None

    def _entries(self, page: Sequence[Any], start: str = "") -> list[str]:
        paths = [str(meta["path"]) for meta in page]
        return [path for path in paths if path.startswith(start) and self._layout.folder_of(path) is not None]


def _has_expired(record: Record | None, now: float) -> bool:
    return record is not None and record.deadline != TOMBSTONE_DEADLINE and not lives(record, now)


def _is_buried(record: Record | None, now: float) -> bool:
    return record is not None and record.deadline == TOMBSTONE_DEADLINE and record.updated_at + GRACE <= now


def _may_be_fresh_tombstone(meta: Any, now: float) -> bool:
    """Return whether there is no use in looking at an object yet, going by what a listing says of it."""
    return meta["size"] == HEADER_SIZE and bool(meta["last_modified"].timestamp() + GRACE > now)


def _key(head: Head) -> str | None:
    key = key_of(head.path)
    return head.record.names[1] if key is None and head.record is not None and head.record.names else key


def _collection(folder: str, head: Head) -> str | None:
    collection = collection_of(folder)
    return head.record.names[0] if collection is None and head.record is not None and head.record.names else collection
