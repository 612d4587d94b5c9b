"""What a cancelled caller of the file tree store leaves to its threads is ended in order."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from satchel.stores._documents import Head
from satchel.stores.filetree import FileTreeStore
from satchel.stores.filetree.directory import Directory
from satchel.stores.filetree.tree import Tree
from tests.patience import until


async def test_a_cancelled_write_never_lands_over_a_later_one(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        for number in range(60):
            early = asyncio.create_task(store.put("c", "k", "early" * 20_000))
            await asyncio.sleep(number * 0.0001)
            early.cancel()
            await store.put("c", "k", number)
            await asyncio.gather(early, return_exceptions=True)
            assert await store.get("c", "k") == number
    async with FileTreeStore(tmp_path) as store:
        assert await store.get("c", "k") == 59


async def test_closing_waits_for_the_write_of_a_cancelled_caller(tmp_path: Path):
    big = b"2" * 50_000_000
    store = FileTreeStore(tmp_path)
    await store.put("c", "k", 1)
    writing = asyncio.create_task(store.put("c", "k", big))
    while not (tmp_path / "c" / ".satchel.tmp").exists():  # noqa: ASYNC110  # a file sets no event
        await asyncio.sleep(0)
    writing.cancel()
    await store.aclose()
    assert not (tmp_path / "c" / ".satchel.tmp").exists()
    async with FileTreeStore(tmp_path) as other:
        assert await other.get("c", "k") == big


async def test_a_cancelled_listing_ends_its_page_before_the_directory_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
        begun, cancelled, ended = threading.Event(), threading.Event(), []
        head = Directory.head

        def late(directory: Directory, name: str):
            begun.set()
            cancelled.wait(50)
            try:
                ended.append(head(directory, name))
            except OSError as error:
                ended.append(error)

        monkeypatch.setattr(Directory, "head", late)
        listing = asyncio.create_task(anext(store._keys("c", "", 0.0)))
        await asyncio.to_thread(begun.wait, 50)
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)
        await asyncio.sleep(0)
        cancelled.set()
    assert [type(outcome) for outcome in ended] == [Head]


async def test_a_listing_cancelled_while_it_begins_lets_go_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
        begun, cancelled, opened = threading.Event(), threading.Event(), []
        scan_folder = Tree.scan_folder

        def late(tree: Tree, folder: str):
            scan = scan_folder(tree, folder)
            descriptor = scan._directory._descriptor
            opened.append((descriptor, os.fstat(descriptor).st_ino))
            begun.set()
            cancelled.wait(50)
            return scan

        monkeypatch.setattr(Tree, "scan_folder", late)
        listing = asyncio.create_task(anext(store._keys("c", "", 0.0)))
        await asyncio.to_thread(begun.wait, 50)
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)
        cancelled.set()
        (scanned,) = opened

        def is_closed() -> bool:
            try:  # the number may be that of another file by now
                return os.fstat(scanned[0]).st_ino != scanned[1]
            except OSError:
                return True

        await until(is_closed)
