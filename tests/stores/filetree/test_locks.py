"""The locks of the file tree store do not outlive their collections."""

import asyncio
import os
from pathlib import Path

import pytest

from satchel import StoreError
from satchel.stores.filetree import FileTreeStore
from satchel.stores.filetree import system as _filetree_system
from satchel.stores.filetree.system import held


def locks(root: Path) -> list[str]:
    return sorted(os.listdir(root / ".satchel" / "locks"))  # noqa: PTH208  # names are what is meant


@pytest.mark.parametrize("change", ["destroy", "destroy_collection", "delete"])
async def test_who_finds_a_collection_gone_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str):
    async with FileTreeStore(tmp_path) as store, FileTreeStore(tmp_path) as other:
        await store.put("c", "k", 1)
        loop = asyncio.get_running_loop()

        def held_late(path: str, is_wanted):
            monkeypatch.undo()
            asyncio.run_coroutine_threadsafe(other.destroy(), loop).result(50)
            return held(path, is_wanted)

        monkeypatch.setattr(_filetree_system, "held", held_late)
        await getattr(store, change)(*{"destroy": [], "destroy_collection": ["c"], "delete": ["c", "k"]}[change])
        assert locks(tmp_path) == []
        await store.put("c", "k", 2)
        assert locks(tmp_path) == ["c.lock"]


async def test_a_collection_that_cannot_be_made_leaves_no_lock(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.ping()
        (tmp_path / "c").touch()
        with pytest.raises(StoreError):
            await store.put("c", "k", 1)
        assert locks(tmp_path) == []


async def test_what_dead_writers_left_is_swept_at_opening_and_destroyed(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("living", "k", 1)
        left = tmp_path / ".satchel" / "locks" / "c.lock"
        left.touch()
        async with FileTreeStore(tmp_path) as other:
            await other.ping()
        assert locks(tmp_path) == ["living.lock"]
        left.touch()
        (tmp_path / "living" / ".satchel.tmp").touch()
        await store.destroy()
        assert locks(tmp_path) == []
