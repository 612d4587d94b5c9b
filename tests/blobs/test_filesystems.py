"""Blobs on file systems of fsspec: what is on the file system, and what is refused."""

import asyncio
import os
import time

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from satchel import ConfigurationError, InvalidKeyError, StoreError, UnsupportedOperationError
from satchel.blobs import FsspecBlobs
from satchel.errors import BlobChangedError, BlobMissingError
from tests.blobs.listing import keys_of


@pytest.fixture
def blobs(tmp_path):
    return FsspecBlobs(LocalFileSystem(), str(tmp_path / "data"))


async def uploads(tmp_path):
    return await asyncio.to_thread(lambda: [path.name for path in (tmp_path / "data" / ".satchel").iterdir()])


async def test_a_blob_is_a_file_of_that_name(blobs, tmp_path):
    info = await blobs.put("photos/the cat.png", b"picture")
    assert (tmp_path / "data" / "photos" / "the cat.png").read_bytes() == b"picture"
    assert info.uri == f"file://{tmp_path}/data/photos/the cat.png"
    assert info.content_type == "image/png"
    assert (time.time() - info.updated_at.timestamp()) < 60
    (tmp_path / "data" / "by-hand.txt").write_bytes(b"others")
    assert await blobs.get("by-hand.txt") == b"others"


async def test_a_write_that_raises_leaves_nothing(blobs, tmp_path):
    async def raising():
        yield b"x" * 1000
        raise KeyError

    with pytest.raises(KeyError):
        await blobs.put("k", raising())
    assert await blobs.get("k") is None
    assert await uploads(tmp_path) == []


async def test_what_a_dead_writer_left_is_swept_after_an_hour(blobs, tmp_path):
    assert await blobs.sweep() == 0
    await blobs.put("k", b"1")
    left = tmp_path / "data" / ".satchel" / "dead.part"
    left.write_bytes(b"half")
    assert await blobs.sweep() == 0
    os.utime(left, (time.time() - 3700,) * 2)
    assert await blobs.sweep() == 1
    assert await uploads(tmp_path) == []


async def test_a_reader_notices_that_the_file_was_replaced(blobs):
    await blobs.put("k", b"x" * 9_000_000)
    stream = blobs.stream("k")
    await anext(stream)
    await blobs.put("k", b"y" * 9_000_000)
    with pytest.raises(BlobChangedError):
        _ = [piece async for piece in stream]


async def test_a_file_system_within_another_and_one_without_a_prefix():
    files = MemoryFileSystem()
    within = FsspecBlobs(DirFileSystem("/within-a-folder", fs=files))
    await within.put("a/b", b"1")
    assert await keys_of(within) == ["a/b"]
    assert files.cat_file("/within-a-folder/a/b") == b"1"


@pytest.mark.parametrize(
    "options", [{"metadata": {"a": "b"}}, {"ttl": 1}, {"if_absent": True}, {"if_version": "x"}, {"content_type": "a/b"}]
)
async def test_what_a_file_system_cannot_keep_is_refused_by_name(blobs, options):
    with pytest.raises(UnsupportedOperationError, match=f"{next(iter(options))}="):
        await blobs.put("k", b"1", **options)
    assert not await blobs.exists("k")


async def test_moves_and_pops(blobs):
    with pytest.raises(BlobMissingError):
        await blobs.move("absent", "k")
    await blobs.put("k", b"1")
    for work in (blobs.pop("k"), blobs.move("k", "l", if_absent=True)):
        with pytest.raises(UnsupportedOperationError):
            await work
    assert (await blobs.move("k", "l")).key == "l"
    assert await keys_of(blobs) == ["l"]
    with pytest.raises(InvalidKeyError):
        await blobs.put("x" * 300, b"")


async def test_a_file_system_that_only_reads_refuses_writes():
    class Reading(AbstractFileSystem):
        protocol = "reading"
        cachable = False

        def info(self, path, **_):
            if path != "k":
                raise FileNotFoundError(path)
            return {"name": path, "type": "file", "size": 3}

        def cat_file(self, path, start=None, end=None, **_):
            return b"abc"[start:end]

    blobs = FsspecBlobs(Reading())
    assert await blobs.get("k", start=1) == b"bc"
    assert (await blobs.info("k")).updated_at.timestamp() == 0
    with pytest.raises(UnsupportedOperationError, match="does not support this operation"):
        await blobs.put("l", b"1")


async def test_a_file_system_that_fails_is_named():
    class Failing(AbstractFileSystem):
        cachable = False

        def info(self, path, **_):
            raise RuntimeError("secret")

    with pytest.raises(StoreError, match=r"the file system of FsspecBlobs\(Failing.*RuntimeError") as caught:
        await FsspecBlobs(Failing()).get("k")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("filesystem", "prefix"), [(None, ""), ("local", ""), (MemoryFileSystem(), 7)])
def test_what_is_no_file_system_or_prefix_is_refused(filesystem, prefix):
    with pytest.raises(ConfigurationError, match="must be a"):
        FsspecBlobs(filesystem, prefix)
