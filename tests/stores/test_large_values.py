"""Large values come back as they were put, and go in pieces, so that nothing else has to wait for all of one."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from satchel import BaseStore
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore

SIZES = [64 * 1024, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 5_000_000, 64 * 1024 * 1024]


def some_bytes(size: int) -> bytes:
    return (os.urandom(65_521) * (size // 65_521 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [DiskStore, FileTreeStore])
async def test_bytes_of_any_size_come_back_exactly(kind: Any, size: int, tmp_path: Path) -> None:
    async with kind(tmp_path) as store:
        await round_trip(store, size)


async def round_trip(store: BaseStore, size: int) -> None:
    """Put and get values of a size, in all the ways."""
    value = some_bytes(size)
    other = value[::-1]
    await store.put("c", "k", value)
    assert await store.get("c", "k") == value
    await store.put("c", "small", 1)
    assert await store.get_many("c", ["k", "small", "missing"]) == {"k": value, "small": 1}
    assert await store.put_if_absent("c", "k", b"") is None
    version = await store.put_if_absent("c", "new", other)
    assert version is not None
    assert await store.touch("c", "new", ttl=60)
    assert await store.compare_and_put("c", "new", value, version=version)
    both = await asyncio.gather(store.get("c", "k"), store.get("c", "new"), store.get("c", "small"))
    assert both == [value, value, 1]
    assert await store.delete_many("c", ["k", "new"]) == 2
    assert await store.get("c", "k") is None


async def test_a_large_value_that_is_replaced_while_it_is_read_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    values = [some_bytes(2_000_000), some_bytes(3_000_000)]
    async with DiskStore(tmp_path) as writer, DiskStore(tmp_path) as reader:
        await writer.put("c", "k", values[0])

        async def write() -> None:
            for number in range(20):
                await writer.put("c", "k", values[number % 2])

        writing = asyncio.create_task(write())
        while not writing.done():
            assert await reader.get("c", "k") in values
        await writing
