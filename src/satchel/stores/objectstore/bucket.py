"""`Bucket`: the requests to an object store, each said once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, NotModifiedError, PreconditionError

from ..._threads import offload
from ...backend.record import HEADER_SIZE, Record, pack, unpack, unpack_pieces
from ...errors import ConfigurationError, IntegrityError
from ...names import MAX_NAME_BYTES
from .errors import is_missing_bucket, is_out_of_range
from .layout import HASH_MARK
from .requests import start as start_request

_AT_ONCE = 64
_PAGE = 250
_WITH_NAMES = HEADER_SIZE + 2 * (2 + MAX_NAME_BYTES)
_MAGIC = b"\x89S"
_LARGE = 1024 * 1024
"""From so many bytes on, content is copied in a worker thread."""
_SLICE = 256 * 1024
"""So many bytes are copied at a time: the interpreter is held meanwhile."""
_TAG: tuple[Literal["e_tag", "version"], ...] = ("e_tag", "version")
_REFUSED = (AlreadyExistsError, PreconditionError, NotModifiedError)

Kind = Literal["create", "update"]
Tag = dict[Literal["e_tag", "version"], str]


class Found(NamedTuple):
    """Content of an object with what identifies it: its ETag, and for gs:// its generation."""

    wire: bytes | memoryview
    tag: Tag


class Head:
    """Attributes of one object in a listing.

    Attributes:
        path: Its path.
        tag: What identifies its content.
        record: Its header, without the payload; None when it cannot be read.
        ours: It begins as entries do.
    """

    __slots__ = ("ours", "path", "record", "tag")

    def __init__(self, path: str, found: Found) -> None:
        wire, self.tag = bytes(found.wire), found.tag
        self.path, self.ours = path, wire.startswith(_MAGIC)
        try:
            self.record: Record | None = unpack(wire, whole=False)
        except IntegrityError:
            self.record = None


class Bucket:
    """Reads, writes, lists and removes objects.

    Args:
        client: An obstore store.
        strict: One over the same objects that sends nothing twice by itself; for writes.
        proven: The kinds of conditions that the server is known to keep.
    """

    def __init__(self, client: Any, strict: Any, proven: set[Kind]) -> None:
        self.client = client
        self._strict = strict
        self._proven = proven
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def content(self, path: str) -> bytes | memoryview | None:
        """Return an object's content alone, which is quicker; None where there is none."""
        result = await self._get(path, None)
        return None if result is None else await _content(result)

    async def read(self, path: str) -> Found | None:
        """Return an object; None where there is none."""
        return await self._read(path, None)

    async def read_header(self, path: str) -> Found | None:
        """Return the beginning of an object, the header and names of an entry; None where there is none."""
        return await self._read(path, {"range": (0, _WITH_NAMES if HASH_MARK in path else HEADER_SIZE)})

    async def write(self, path: str, wire: bytes) -> str:
        """Write an object unconditionally, in one request however large it is; return its ETag."""
        return str((await start_request(obstore.put_async, self._strict, path, wire, use_multipart=False))["e_tag"])

    async def swap(self, path: str, wire: bytes, tag: Tag | None) -> bool:
        """Write an object if the existing one has the tag, or none exists for None; return whether it did.

        Raises:
            ConfigurationError: The server ignores the condition.
        """
        done = await self._put_if(path, wire, tag)
        kind: Kind = "create" if tag is None else "update"
        if done and kind not in self._proven and await self._put_if(path, wire, tag):
            # The same again can only succeed where the condition is not looked at.
            raise ConfigurationError(
                f"this server ignores the condition of a write ({kind}); use one that keeps If-None-Match and If-Match"
            )
        self._proven.add(kind)
        return done

    async def pages(self, folder: str, after: str | None = None) -> AsyncIterator[Sequence[Any]]:
        """Yield the bucket's listing of the objects below a folder, in pages."""
        stream = obstore.list(self.client, folder, offset=after, chunk_size=_PAGE)
        while True:
            try:
                yield await start_request(stream.__anext__)
            except StopAsyncIteration:
                return

    async def folders(self, folder: str) -> Sequence[str]:
        """Return the folders directly below a folder."""
        return list((await start_request(obstore.list_with_delimiter_async, self.client, folder))["common_prefixes"])

    async def heads(self, paths: Sequence[str]) -> list[Head]:
        """Return the headers of objects, except those that no longer exist."""
        heads = await _all(self._head(path) for path in paths)
        return [head for head in heads if head is not None]

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects, whatever they hold now."""
        if paths:
            await start_request(obstore.delete_async, self.client, paths)

    async def _head(self, path: str) -> Head | None:
        async with self._turns:
            found = await self.read_header(path)
        return None if found is None else Head(path, found)

    async def _read(self, path: str, options: Any) -> Found | None:
        result = await self._get(path, options)
        if result is None:
            return None
        meta = result.meta
        tag = {part: token for part in _TAG if (token := meta[part]) is not None}
        return Found(await _content(result), tag)

    async def _get(self, path: str, options: Any) -> Any:
        try:
            return await start_request(obstore.get_async, self.client, path, options=options)
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise
            return None
        except GenericError as error:
            if options is not None and is_out_of_range(error):  # an object without a first byte
                return await self._get(path, None)
            raise

    async def _put_if(self, path: str, wire: bytes, tag: Tag | None) -> bool:
        mode: Any = "create" if tag is None else tag
        try:
            await start_request(obstore.put_async, self._strict, path, wire, mode=mode)
        except _REFUSED:
            return False
        except FileNotFoundError as error:  # S3's answer to a condition on what is not there
            if tag is None or is_missing_bucket(error):
                raise
            return False
        return True


async def packed(record: Record) -> bytes:
    """Return a record as it is written; a large one is put together in a worker thread."""
    return pack(record) if len(record.payload) < _LARGE else await offload(pack, record)


async def unpacked(wire: bytes | memoryview, *, whole: bool = True) -> Record:
    """Return the record in an object's content, as `unpack` does; a large one is copied in a worker thread.

    Raises:
        IntegrityError: The bytes are not an entry of satchel's, or are damaged.
    """
    return unpack(wire, whole=whole) if isinstance(wire, bytes) else await offload(_unpack_slices, wire)


def _unpack_slices(wire: memoryview) -> Record:
    # To join them leaves the interpreter to others, to copy all of a memoryview in one step does not.
    return unpack_pieces([bytes(wire[start : start + _SLICE]) for start in range(0, len(wire), _SLICE)])


async def _content(result: Any) -> bytes | memoryview:
    """Return the content of an object; a large one as the driver has it, without a copy."""
    content = memoryview(await start_request(result.bytes_async))
    return bytes(content) if len(content) < _LARGE else content


async def _all(works: Any) -> list[Any]:
    """Await requests at the same time; when one fails, the others have ended before its error is raised."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes
