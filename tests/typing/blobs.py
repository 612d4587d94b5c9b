"""What type checkers make of blobs. This file is checked, not run."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, assert_type

from satchel import MemoryStore
from satchel.blobs import (
    BlobInfo,
    BlobReader,
    Blobs,
    BlobWriter,
    StoreBlobs,
    TextBlobReader,
    TextBlobWriter,
)

store_blobs = StoreBlobs(MemoryStore())
blobs: Blobs = store_blobs


async def use(anything: Blobs, pieces: AsyncIterator[bytes], numbers: AsyncGenerator[bytes, None]) -> None:
    assert_type(await anything.put("k", pieces), BlobInfo)
    assert_type(await anything.put(None, numbers, ttl=5), BlobInfo)
    for one in (anything, store_blobs):
        assert_type(await one.get("k"), bytes | None)
        assert_type(await one.get("k", b""), bytes)
        assert_type(await one.pop("k", 0), bytes | int)
        assert_type(await one.info("k"), BlobInfo | None)
        async with one.open("k") as reader:
            assert_type(reader, BlobReader)
            assert_type(await reader.read(), bytes)
        async with one.open("k", "wb", content_type="text/plain", compression="gzip") as writer:
            assert_type(writer, BlobWriter)
        async with one.open("k", "r", encoding="utf-16") as text:
            assert_type(text, TextBlobReader)
            async for line in text:
                assert_type(line, str)
        async with one.open("k", "w") as written:
            assert_type(written, TextBlobWriter)
        async for row in one.lines("k", decode=int):
            assert_type(row, int)
        async for row_text in one.lines("k"):
            assert_type(row_text, str)


async def refuse() -> None:
    await blobs.put("k", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a str has to be encoded
    blobs.open("k", "a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]  # no such mode
    unknown: Any = None
    await blobs.put("k", unknown)
