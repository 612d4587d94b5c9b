"""What a blob is made from, brought into one form: an async iterator of non-empty bytes."""

from __future__ import annotations

import hashlib
import inspect
import io
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, BinaryIO, Protocol

from .._threads import in_thread, offload
from ..errors import SerializationError, ValueTooLargeError, with_article

PIECE = 1024 * 1024
"""Bytes that are read from a file at a time."""
_IN_MEMORY = 1024 * 1024
_SMALL = 64 * 1024


class AsyncReadable(Protocol):
    """File whose `read` is awaited, such as an `UploadFile` of FastAPI or a file of aiofiles."""

    async def read(self, size: int, /) -> bytes:
        """Return at most as many bytes; none at the end."""
        ...


BlobData = bytes | bytearray | memoryview | AsyncIterable[bytes] | BinaryIO | AsyncReadable
"""What a blob is made from: bytes, an async iterable of bytes, or a binary file, which is read in a thread."""


def check_size(size: int, max_size: int | None) -> None:
    """Raise ValueTooLargeError if a blob is longer than allowed."""
    if max_size is not None and size > max_size:
        raise ValueTooLargeError(f"a blob must have at most max_size={max_size} bytes, and this one has more")


async def pieces_of(data: object, max_size: int | None = None) -> AsyncGenerator[bytes, None]:
    """Iterate over what a blob is made from; no piece is empty.

    Raises:
        SerializationError: It is not made of bytes.
        ValueTooLargeError: It is longer than `max_size`.
    """
    size = 0
    async for piece in _raw_pieces(data):
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise SerializationError(f"a blob is made of bytes, got {with_article(type(piece))}; encode a str first")
        whole = bytes(piece)
        size += len(whole)
        check_size(size, max_size)
        if whole:
            yield whole


def _raw_pieces(data: Any) -> AsyncIterator[Any]:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _one(data)
    if callable(getattr(data, "read", None)):
        return _read(data)
    if isinstance(data, AsyncIterable):
        return aiter(data)
    raise SerializationError(
        f"a blob is made from bytes, an async iterable of bytes or a binary file, got {with_article(type(data))}"
    )


async def _one(data: Any) -> AsyncGenerator[Any, None]:
    yield data


async def _read(file: Any) -> AsyncGenerator[Any, None]:
    is_async = inspect.iscoroutinefunction(file.read)
    while piece := await (file.read(PIECE) if is_async else in_thread(file.read, PIECE)):
        yield piece


async def resized(pieces: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """Iterate over the same bytes in pieces of exactly this size; the last may be shorter."""
    waiting: list[bytes] = []
    missing = size
    async for piece in pieces:
        start = 0
        while len(piece) - start >= missing:
            waiting.append(piece[start : start + missing])
            start += missing
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, missing = [], size
        if rest := piece[start:]:
            waiting.append(rest)
            missing -= len(rest)
    if waiting:
        yield b"".join(waiting)


async def joined(pieces: AsyncIterator[bytes]) -> bytes:
    """Return all pieces as one, without holding up the event loop for as long as all of them take to be copied."""
    first = await anext(pieces, b"")
    if (second := await anext(pieces, None)) is None:
        return first
    buffer = io.BytesIO()
    buffer.write(first)
    buffer.write(second)
    async for piece in pieces:
        buffer.write(piece)
    return buffer.getvalue()  # its own buffer, not a copy


async def digest_of(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    hashed = hashlib.sha256(data) if len(data) <= _SMALL else await offload(hashlib.sha256, data)
    return hashed.hexdigest()


async def add_to_hash(hashed: Any, piece: bytes) -> None:
    """Add bytes to a hash, in a worker thread if they are many."""
    if len(piece) <= _SMALL:
        hashed.update(piece)
    else:
        await offload(hashed.update, piece)


@asynccontextmanager
async def spooled(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[tuple[str, AsyncGenerator[bytes, None]], None]:
    """Keep a stream in a temporary file, and give its SHA-256 and its pieces, for the time of a block."""
    file = await in_thread(tempfile.SpooledTemporaryFile, _IN_MEMORY)
    try:
        hashed = hashlib.sha256()
        async with aclosing(pieces):
            async for piece in pieces:
                await add_to_hash(hashed, piece)
                await in_thread(file.write, piece)
        await in_thread(file.seek, 0)
        async with aclosing(pieces_of(file)) as kept:
            yield hashed.hexdigest(), kept
    finally:
        await in_thread(file.close)
