"""Open blobs: async files for bytes and for text, for reading and for writing."""

from __future__ import annotations

import asyncio
import codecs
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import anyio

from .._threads import Yielder
from ..errors import ConfigurationError, SerializationError, UnsupportedOperationError, safe_repr, with_article
from .compression import Compression, compressed, decompressed
from .data import check_size, joined
from .info import BlobInfo
from .source import BlobSource

_HANDED_OVER = 64 * 1024
_SPLIT = 256 * 1024


class BlobReader:
    """Blob that is open for reading bytes.

    `async for` gives lines with their ends. One task uses it at a time.

    Attributes:
        info: What is known about the blob.
    """

    def __init__(self, source: BlobSource, compression: Compression | None) -> None:
        self.info: BlobInfo = source.info
        self._source, self._compression = source, compression
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._buffer, self._used = b"", 0
        """A piece, and how much of it was read."""
        self._position = 0
        self._sought = False

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, counted from the beginning, from here (1) or from the end (2), and return it.

        Raises:
            UnsupportedOperationError: The blob is read through a compression.
            ValueError: The position is before the beginning, or `whence` is not 0, 1 or 2.
        """
        if self._compression is not None:
            raise UnsupportedOperationError("a blob that is read through a compression cannot seek")
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError("whence must be 0, 1 or 2")
        position = offset + (0, self._position, self.info.size)[whence]
        if position < 0:
            raise ValueError("a position before the beginning of a blob")
        ahead = position - self._position
        if 0 <= ahead <= len(self._buffer) - self._used:
            self._used += ahead
        else:
            await self._close()
            self._sought = True
        self._position = position
        return position

    async def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, fewer only at the end; all that is left without a size."""
        if size is None or size < 0:
            return await joined(self._rest())
        if self._sought and not self._waiting():  # one read at a place reads no further than it has to
            self._sought = False
            end = min(self._position + size, self.info.size)
            async with aclosing(self._source.read(min(self._position, end), end)) as pieces:
                found = await joined(pieces)
            self._position += len(found)
            return found
        parts: list[bytes] = []
        while size > 0 and (part := await self._some(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read into a buffer, and return how many bytes; fewer than it is long only at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (part := await self._some(len(view) - filled)):
            view[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    async def readline(self) -> bytes:
        """Return the next line with its end; empty at the end of the blob."""
        parts: list[bytes] = []
        while self._waiting() or await self._fill():
            end = self._buffer.find(b"\n", self._used) + 1
            parts.append(self._take((end or len(self._buffer)) - self._used))
            if end:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the lines that are left, with their ends."""
        turns = Yielder()
        while line := await self.readline():
            await turns.after_item()
            yield line

    async def _rest(self) -> AsyncGenerator[bytes, None]:
        while part := await self._some(_SPLIT):
            yield part

    async def _some(self, size: int) -> bytes:
        """Return some bytes, at least one unless at the end."""
        return self._take(size) if self._waiting() or await self._fill() else b""

    def _waiting(self) -> int:
        return len(self._buffer) - self._used

    def _take(self, size: int) -> bytes:
        start = self._used
        taken = self._buffer[start : start + size]
        self._used += len(taken)
        self._position += len(taken)
        return taken

    async def _fill(self) -> bool:
        """Read the next piece, and return whether there is one."""
        if self._pieces is None:
            if self._compression is None:
                start = min(self._position, self.info.size)
                self._pieces = self._source.read(start, self.info.size)
            else:
                self._pieces = _decompressed(self._source, self._compression)
        self._sought = False
        self._buffer, self._used = await anext(self._pieces, b""), 0
        return bool(self._buffer)

    async def _close(self) -> None:
        self._buffer, self._used = b"", 0
        if self._pieces is not None:
            await self._pieces.aclose()
            self._pieces = None


async def _decompressed(source: BlobSource, compression: Compression) -> AsyncGenerator[bytes, None]:
    async with (
        aclosing(source.read(0, source.info.size)) as pieces,
        aclosing(decompressed(pieces, compression)) as unpacked,
    ):
        async for piece in unpacked:
            yield piece


@asynccontextmanager
async def read_file(
    source: AbstractAsyncContextManager[BlobSource], compression: Compression | None
) -> AsyncGenerator[BlobReader, None]:
    """Open a blob for reading bytes."""
    async with source as opened:
        reader = BlobReader(opened, compression)
        try:
            yield reader
        finally:
            await reader._close()


class TextBlobReader:
    r"""Blob that is open for reading text.

    `async for` gives lines with their ends, `\n` or `\r\n`: nothing is translated. One task uses it at a time.

    Attributes:
        info: What is known about the blob.
    """

    def __init__(self, reader: BlobReader, encoding: str) -> None:
        self.info: BlobInfo = reader.info
        self._reader = reader
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._buffer, self._used, self._ended = "", 0, False

    async def read(self, size: int = -1) -> str:
        """Return at most `size` characters, fewer only at the end; all that is left without a size."""
        parts: list[str] = []
        while size != 0 and (len(self._buffer) > self._used or await self._fill()):
            start = self._used
            self._used = len(self._buffer) if size < 0 else min(len(self._buffer), start + size)
            parts.append(self._buffer[start : self._used])
            size = size if size < 0 else size - len(parts[-1])
        return "".join(parts)

    async def readline(self) -> str:
        """Return the next line with its end; empty at the end of the blob."""
        parts: list[str] = []
        while len(self._buffer) > self._used or await self._fill():
            start, end = self._used, self._buffer.find("\n", self._used) + 1
            self._used = end or len(self._buffer)
            parts.append(self._buffer[start : self._used])
            if end:
                break
        return parts[0] if len(parts) == 1 else "".join(parts)

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        """Iterate over the lines that are left, with their ends."""
        turns = Yielder()
        while line := await self.readline():
            await turns.after_item()
            yield line

    async def _fill(self) -> bool:
        self._buffer, self._used = "", 0
        while not self._buffer and not self._ended:
            piece = await self._reader._some(_SPLIT)
            self._ended = not piece
            self._buffer = self._decoder.decode(piece, final=self._ended)
        return bool(self._buffer)


@asynccontextmanager
async def text_read(
    reader: AbstractAsyncContextManager[BlobReader], encoding: str
) -> AsyncGenerator[TextBlobReader, None]:
    """Open a blob for reading text."""
    async with reader as opened:
        yield TextBlobReader(opened, encoding)


class _AbandonedError(Exception):
    """End of a write whose block was not left in the ordinary way."""


class BlobWriter:
    """Blob that is being written, and that appears when its block is left.

    One task uses it at a time.

    Attributes:
        info: What is known about the blob, once it is stored; None before.
    """

    def __init__(
        self,
        store: Callable[[AsyncIterator[bytes]], Awaitable[BlobInfo]],
        max_size: int | None,
        compression: Compression | None,
    ) -> None:
        self.info: BlobInfo | None = None
        self._store, self._max_size, self._compression = store, max_size, compression
        self._send, self._receive = anyio.create_memory_object_stream[bytes](0)
        self._buffer = bytearray()
        self._position = 0
        self._whole = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write bytes, and return how many.

        Raises:
            SerializationError: It is not bytes.
            ValueTooLargeError: The blob gets longer than `max_size`.
            ValueError: The block was left.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise SerializationError(f"a blob is made of bytes, got {with_article(type(data))}; open it with mode 'w'")
        if self._whole:
            raise ValueError("this blob is closed")
        size = len(data) if not isinstance(data, memoryview) else data.nbytes
        check_size(self._position + size, self._max_size)
        self._position += size
        if isinstance(data, bytes) and not self._buffer and size >= _HANDED_OVER:
            await self._hand_over(data)
            return size
        self._buffer += data
        if len(self._buffer) >= _HANDED_OVER:
            await self._hand_over(self._take())
        return size

    def _take(self) -> bytes:
        piece, self._buffer = bytes(self._buffer), bytearray()
        return piece

    async def _hand_over(self, piece: bytes) -> None:
        try:
            await self._send.send(piece)
        except anyio.BrokenResourceError:
            await self._task  # it failed
            raise

    async def _finish(self) -> None:
        if self._buffer:
            await self._hand_over(self._take())
        self._whole = True
        self._send.close()
        self.info = await self._task

    async def _abandon(self) -> None:
        self._whole = True
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # seen, so that it is not reported
        self._send.close()
        self._receive.close()  # a task that was cancelled before it began has not done it

    async def _run(self) -> BlobInfo:
        async with self._receive, aclosing(self._pieces()) as pieces:
            if self._compression is None:
                return await self._store(pieces)
            async with aclosing(compressed(pieces, self._compression)) as packed:
                return await self._store(packed)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._receive:
            yield piece
        if not self._whole:
            raise _AbandonedError


@asynccontextmanager
async def written_file(
    store: Callable[[AsyncIterator[bytes]], Awaitable[BlobInfo]],
    max_size: int | None,
    compression: Compression | None,
) -> AsyncGenerator[BlobWriter, None]:
    """Open a blob for writing bytes; it is stored when the block ends, and not when that raises."""
    writer = BlobWriter(store, max_size, compression)
    try:
        yield writer
        await writer._finish()
    except BaseException:
        await writer._abandon()
        raise


class TextBlobWriter:
    """Blob that is being written as text, and that appears when its block is left.

    Nothing is translated: a line ends as it is written. One task uses it at a time.
    """

    def __init__(self, writer: BlobWriter, encoding: str) -> None:
        self._writer = writer
        self._encoder = codecs.getincrementalencoder(encoding)()

    @property
    def info(self) -> BlobInfo | None:
        """What is known about the blob, once it is stored; None before."""
        return self._writer.info

    async def write(self, text: str) -> int:
        """Write text, and return how many characters.

        Raises:
            SerializationError: It is not a `str`.
            UnicodeEncodeError: The encoding lacks a character.
            ValueTooLargeError: The blob gets longer than `max_size`.
        """
        if not isinstance(text, str):
            raise SerializationError(f"a text is made of str, got {with_article(type(text))}; open it with mode 'wb'")
        await self._writer.write(self._encoder.encode(text))
        return len(text)


@asynccontextmanager
async def text_written(
    writer: AbstractAsyncContextManager[BlobWriter], encoding: str
) -> AsyncGenerator[TextBlobWriter, None]:
    """Open a blob for writing text."""
    async with writer as opened:
        yield TextBlobWriter(opened, encoding)


def check_encoding(encoding: Any) -> None:
    """Raise ConfigurationError unless Python knows the encoding of text."""
    try:
        codecs.getincrementaldecoder(encoding)
    except (LookupError, TypeError):
        raise ConfigurationError(f"encoding must be a name that Python knows, got {safe_repr(encoding)}") from None
