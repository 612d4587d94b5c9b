"""Blobs as plain files against copies of files, and as objects against obstore's own streams.

The server is the one of SATCHEL_TEST_S3_URL; `export $(python3 scripts/servers start s3)` starts one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiofiles
import obstore
from obstore.store import S3Store

from benchmarks.harness import Contender, Report, Work
from satchel.blobs import FileBlobs, ObjectBlobs

SIZE = 64 * 1024 * 1024
SMALL = 4 * 1024
PIECE = 1024 * 1024
CONTENT = os.urandom(PIECE) * (SIZE // PIECE)

Made = Callable[[Path], Awaitable[Callable[[], Awaitable[Any]]]]


def contender(make: Made) -> Contender:
    """Return a contender that does one thing at each step, in a directory of its own."""

    @asynccontextmanager
    async def contend() -> AsyncIterator[Work]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            await asyncio.to_thread((folder / "source").write_bytes, CONTENT)
            step = await make(folder)

            async def work(steps: range) -> None:
                for _ in steps:
                    await step()

            yield work

    return contend


async def pieces() -> AsyncIterator[bytes]:
    """Give 64 MiB in pieces of 1 MiB."""
    for start in range(0, SIZE, PIECE):
        yield CONTENT[start : start + PIECE]


async def taken(stream: AsyncIterator[Any]) -> None:
    """Read all of a stream."""
    size = 0
    async for piece in stream:
        size += len(piece)
    if size != SIZE:
        raise RuntimeError("a part is missing")


async def file_in(folder: Path) -> Callable[[], Awaitable[Any]]:
    blobs = FileBlobs(folder / "data")
    return lambda: blobs.put_file("k", folder / "source")


async def file_out(folder: Path) -> Callable[[], Awaitable[Any]]:
    blobs = FileBlobs(folder / "data")
    await blobs.put("k", CONTENT)
    return lambda: blobs.get_file("k", folder / "target")


async def plain_copy(folder: Path) -> Callable[[], Awaitable[Any]]:
    def copy() -> None:
        shutil.copyfile(folder / "source", folder / "new")
        (folder / "new").replace(folder / "target")

    return lambda: asyncio.to_thread(copy)


async def copy_by_reading(folder: Path) -> Callable[[], Awaitable[Any]]:
    def copy() -> None:
        with (folder / "source").open("rb") as source, (folder / "new").open("wb") as target:
            shutil.copyfileobj(source, target, PIECE)
        (folder / "new").replace(folder / "target")

    return lambda: asyncio.to_thread(copy)


async def copy_by_aiofiles(folder: Path) -> Callable[[], Awaitable[Any]]:
    async def copy() -> None:
        async with aiofiles.open(folder / "source", "rb") as source, aiofiles.open(folder / "new", "wb") as target:
            while piece := await source.read(PIECE):
                await target.write(piece)
        await asyncio.to_thread((folder / "new").replace, folder / "target")

    return copy


async def small_in(folder: Path) -> Callable[[], Awaitable[Any]]:
    blobs = FileBlobs(folder / "data")
    return lambda: blobs.put("k", CONTENT[:SMALL])


async def small_out(folder: Path) -> Callable[[], Awaitable[Any]]:
    blobs = FileBlobs(folder / "data")
    await blobs.put("k", CONTENT[:SMALL])
    return lambda: blobs.get("k")


async def small_write(folder: Path) -> Callable[[], Awaitable[Any]]:
    def write() -> None:
        (folder / "new").write_bytes(CONTENT[:SMALL])
        (folder / "new").replace(folder / "target")

    return lambda: asyncio.to_thread(write)


async def small_read(folder: Path) -> Callable[[], Awaitable[Any]]:
    (folder / "small").write_bytes(CONTENT[:SMALL])
    return lambda: asyncio.to_thread((folder / "small").read_bytes)


def place() -> tuple[str, dict[str, Any]]:
    """Return the bucket, and the options of a client for it."""
    parts = urlsplit(os.environ["SATCHEL_TEST_S3_URL"])
    return parts.netloc, dict(parse_qsl(parts.query))


def object_blobs() -> ObjectBlobs:
    bucket, options = place()
    return ObjectBlobs(f"s3://{bucket}/benchmark", **options)


def plain_client() -> S3Store:
    bucket, options = place()
    return S3Store(bucket, client_options={"allow_http": True}, **options)


async def object_in(_: Path) -> Callable[[], Awaitable[Any]]:
    blobs = object_blobs()
    return lambda: blobs.put("k", pieces())


async def object_out(_: Path) -> Callable[[], Awaitable[Any]]:
    blobs = object_blobs()
    await blobs.put("k", CONTENT)
    return lambda: taken(blobs.stream("k"))


async def obstore_in(_: Path) -> Callable[[], Awaitable[Any]]:
    client = plain_client()
    return lambda: obstore.put_async(client, "benchmark/plain", pieces())


async def obstore_writer_in(_: Path) -> Callable[[], Awaitable[Any]]:
    client = plain_client()

    async def write() -> None:
        async with obstore.open_writer_async(client, "benchmark/plain") as writer:
            async for piece in pieces():
                await writer.write(piece)

    return write


async def obstore_out(_: Path) -> Callable[[], Awaitable[Any]]:
    client = plain_client()
    await obstore.put_async(client, "benchmark/plain", CONTENT)

    async def read() -> None:
        await taken((await obstore.get_async(client, "benchmark/plain")).stream())

    return read


def run(report: Report) -> None:
    """Compare all."""
    files = {"put_file": file_in, "shutil.copyfile": plain_copy, "by reading": copy_by_reading}
    tables: list[tuple[str, dict[str, Made], int]] = [
        ("64 MiB from a file into a directory", {**files, "by aiofiles": copy_by_aiofiles}, 1),
        (
            "64 MiB from a directory into a file",
            {"get_file": file_out, "shutil.copyfile": plain_copy, "by reading": copy_by_reading},
            1,
        ),
        ("put 4 KiB into a directory", {"satchel": small_in, "write and rename": small_write}, 50),
        ("get 4 KiB from a directory", {"satchel": small_out, "read": small_read}, 50),
        ("64 MiB into S3", {"satchel": object_in, "put_async": obstore_in, "open_writer": obstore_writer_in}, 1),
        ("64 MiB from S3", {"satchel": object_out, "stream": obstore_out}, 1),
    ]
    for title, contenders, steps in tables:
        report.compare(title, {name: contender(make) for name, make in contenders.items()}, steps=steps)
