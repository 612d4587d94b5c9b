"""Files that appear when they are whole: a link stays a link, and a device or pipe is not replaced by a file."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel import ConfigurationError, DiskStore, MemoryStore, copy_store, write_zip
from satchel.blobs import StoreBlobs
from satchel.cli import transfer
from satchel.environment import Environment
from satchel.errors import SatchelError


async def export(path: Path) -> None:
    place = f"disk:{path.parent}/data"
    async with DiskStore(path.parent / "data") as store:
        await store.put("c", "k", 1)
    await transfer.export(place, transfer.Chosen(None, "", None, None), str(path), as_json=False)


async def export_zip(path: Path) -> None:
    async with MemoryStore(seed={"c": {"k": 1}}) as store:
        await write_zip(store, path)


async def get_file(path: Path) -> None:
    blobs = StoreBlobs(MemoryStore())
    await blobs.put("k", b"content")
    await blobs.get_file("k", path)


async def write_env(path: Path) -> None:
    await asyncio.to_thread(Environment({"A": "1"}).write_env, path)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def is_pipe(path: Path) -> bool:
    return path.is_fifo()


Write = Callable[[Path], Awaitable[None]]
writers = pytest.mark.parametrize("write", [export, export_zip, get_file, write_env])


@writers
async def test_a_link_is_followed(write: Write, tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(target)
    await write(link)
    assert link.is_symlink()
    assert target.read_bytes() not in (b"", b"old")
    assert names(target.parent) == ["file"]


@writers
async def test_a_pipe_stays_one(write: Write, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    if write is export_zip:
        with pytest.raises(ConfigurationError, match="device or pipe"):
            await write(pipe)
    else:
        await write(pipe)
        assert os.read(reader, 1000)
    os.close(reader)
    assert [name for name in names(tmp_path) if name.startswith("pipe")] == ["pipe"]
    assert is_pipe(pipe)


async def test_the_state_of_a_copy_is_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with MemoryStore() as source, MemoryStore() as target:
        with pytest.raises(SatchelError, match="no regular file"):
            await copy_store(source, target, state=pipe)
    assert is_pipe(pipe)
