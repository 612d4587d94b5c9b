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
from satchel.testing import FakeClock, WatchConformance
from satchel.wrappers import NearCacheWrapper
from tests.patience import until
from tests.stores.watched import follows, next_change, reported, seen_until


@pytest.mark.long
class TestFileTree(WatchConformance):
    persistent = True
    reports_expiry = False

    def make_store(self, clock: FakeClock, place: Path) -> FileTreeStore:
        return FileTreeStore(place, clock=clock)


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
        missing = {"k", "eu/new", "l"}
        while missing:  # in any order
            missing.discard((await next_change(changes)).key)
        assert {change.key for change in await seen_until(some, "changed")} == {None, "eu/new"}


async def test_an_edit_by_hand_is_reported(store: FileTreeStore, tmp_path: Path) -> None:
    path = tmp_path / "c" / "k.json"
    async with store.watch("c") as changes:
        await seen_until(changes, "ready")
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"value": "edited"}))
        assert (await seen_until(changes, "changed"))[-1].key == "k"
        assert await store.get("c", "k") == "edited"
        (tmp_path / "c" / "notes.txt").write_text("no entry")
        (tmp_path / "c" / "draft").mkdir()
        assert await reported(changes, store) <= {"k"}


async def test_what_is_written_into_a_directory_that_appears_is_reported(store: FileTreeStore) -> None:
    for number in range(4):
        async with store.watch(f"new {number}") as changes:
            await seen_until(changes, "ready")
            await store.put(f"new {number}", "k", 1)  # its file may be there before the directory is watched
            assert await next_change(changes) == Change("changed", f"new {number}", "k")


async def test_removed_and_expired_entries_are_reported(store: FileTreeStore) -> None:
    async with store.watch("c") as changes:
        await seen_until(changes, "ready")
        await store.put("c", "short", 1, ttl=0.01)
        await seen_until(changes, "changed", "short")
        await reported(changes, store)  # the put may be reported twice
        await asyncio.sleep(0.05)
        await store.cull()
        await seen_until(changes, "changed", "short")
        await store.destroy_collection("c")
        missing = {"k", "l"}
        while missing:  # in any order
            missing.discard((await next_change(changes)).key)


async def test_a_removed_entry_whose_name_is_stored_hashed_is_reported_as_lost(store: FileTreeStore) -> None:
    long = "k" * 400
    async with store.watch("c") as changes, store.watch(long) as others:
        await seen_until(changes, "ready")
        await seen_until(others, "ready")
        await store.put("c", long, 1)
        assert await next_change(changes) == Change("changed", "c", long)
        await store.delete("c", long)
        assert await seen_until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]
        await store.put(long, "k", 1)
        assert await next_change(others) == Change("changed", long, "k")


async def test_the_thread_ends_with_the_last_watcher(store: FileTreeStore) -> None:
    def threads() -> int:
        return sum(thread.name == "satchel-filetree-watch" for thread in threading.enumerate())

    async def have_ended() -> bool:
        return threads() == 0

    for _ in range(2):
        async with store.watch("c") as changes, store.watch("d") as others:
            await seen_until(changes, "ready")
            await seen_until(others, "ready")
            assert threads() == 1
        await until(have_ended)


async def test_a_near_cache_over_it_follows(store: FileTreeStore, tmp_path: Path) -> None:
    async with FileTreeStore(tmp_path) as other:
        await follows(NearCacheWrapper(store), other)


async def test_without_watchfiles_it_cannot_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filetree_store, "find_spec", lambda _: None)
    async with FileTreeStore(tmp_path) as store:
        assert Capability.WATCH not in store.capabilities
        await store.put("c", "k", 1)
