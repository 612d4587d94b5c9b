"""Changes of files that are reported: by any process, and by people."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from satchel import Capability, Change
from satchel.stores.filetree import FileTreeStore
from satchel.stores.filetree import store as filetree_store
from satchel.wrappers import NearCacheWrapper
from tests.stores.watched import next_change, reported, until


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileTreeStore]:
    async with FileTreeStore(tmp_path) as made:
        await made.put_many("c", {"k": 1, "l": 1})
        yield made


async def test_changes_by_another_process_are_reported(store: FileTreeStore, tmp_path: Path) -> None:
    program = f"""
import asyncio, satchel
async def main():
    async with satchel.FileTreeStore({str(tmp_path)!r}) as store:
        await store.put("c", "k", 2)
        await store.put("c", "eu/new", b"bytes")
        await store.delete("c", "l")
asyncio.run(main())
"""
    async with store.watch("c") as changes, store.watch("c", prefix="eu/") as some:
        assert await next_change(changes) == Change("ready", "c")
        done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True)
        assert done.returncode == 0
        assert {"k", "eu/new", "l"} <= await reported(changes, store)
        assert {change.key for change in await until(some, "changed")} == {None, "eu/new"}


async def test_an_edit_by_hand_is_reported(store: FileTreeStore, tmp_path: Path) -> None:
    path = tmp_path / "c" / "k.json"
    async with store.watch("c") as changes:
        await until(changes, "ready")
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"value": "edited"}))
        assert (await until(changes, "changed"))[-1].key == "k"
        assert await store.get("c", "k") == "edited"
        (tmp_path / "c" / "notes.txt").write_text("no entry")
        (tmp_path / "c" / "draft").mkdir()
        assert await reported(changes, store) <= {"k"}


async def test_of_a_directory_that_appears_everything_may_have_changed(store: FileTreeStore) -> None:
    async with store.watch("new") as changes, store.watch("c") as others:
        await until(changes, "ready")
        await until(others, "ready")
        await store.put("new", "k", 1)  # its file may be there before the directory is watched
        assert await until(changes, "ready") == [Change("lost", "new"), Change("ready", "new")]
        await store.put("new", "k", 2)
        assert (await until(changes, "changed"))[-1].key == "k"
        assert await reported(others, store) == set()


async def test_removed_and_expired_entries_are_reported(store: FileTreeStore) -> None:
    async with store.watch("c") as changes:
        await until(changes, "ready")
        await store.put("c", "short", 1, ttl=0.01)
        await asyncio.sleep(0.05)
        await until(changes, "changed", "short")
        await asyncio.sleep(0.1)
        await store.cull()
        await until(changes, "changed", "short")
        await store.destroy_collection("c")
        assert {(await next_change(changes)).key for _ in range(2)} == {"k", "l"}


async def test_a_name_that_is_stored_hashed_is_reported_as_lost(store: FileTreeStore) -> None:
    async with store.watch("c") as changes:
        await until(changes, "ready")
        await store.put("c", "k" * 400, 1)
        assert await until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]


async def test_the_thread_ends_with_the_last_watcher(store: FileTreeStore) -> None:
    def threads() -> int:
        return sum(thread.name == "satchel-filetree-watch" for thread in threading.enumerate())

    for _ in range(2):
        async with store.watch("c") as changes, store.watch("d") as others:
            await until(changes, "ready")
            await until(others, "ready")
            assert threads() == 1
        async with asyncio.timeout(10):
            while threads():
                await asyncio.sleep(0.01)


async def test_a_near_cache_over_it_follows(store: FileTreeStore, tmp_path: Path) -> None:
    near = NearCacheWrapper(store)
    async with FileTreeStore(tmp_path) as other, asyncio.timeout(20):
        while not near.snapshot().hot.hits:
            assert await near.get("c", "k") == 1
            await asyncio.sleep(0.01)
        await other.put("c", "k", "new")
        while await near.get("c", "k") != "new":
            await asyncio.sleep(0.01)


async def test_without_watchfiles_it_cannot_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filetree_store, "find_spec", lambda _: None)
    async with FileTreeStore(tmp_path) as store:
        assert Capability.WATCH not in store.capabilities
        await store.put("c", "k", 1)
