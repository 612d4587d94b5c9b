"""What `docs/migrating.md` shows and cannot run by itself: moving a directory of diskcache."""

import ast
import asyncio
import json
import time
from pathlib import Path

import pytest
from diskcache import Cache
from key_value.aio.stores.disk import DiskStore as TheirDiskStore

from satchel import SerializationError
from satchel.sync import SyncStore
from tests.project.markdown import Page

PAGE = Path(__file__).parents[3] / "docs" / "migrating.md"


def shown(name):
    """Return a function of the page."""
    for block in Page(PAGE.read_text("utf-8")).blocks:
        if block.language == "python":
            for node in ast.parse(block.code).body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    names = {"json": json, "time": time}
                    exec(compile(ast.Module([node], []), str(PAGE), "exec"), names)  # noqa: S102  # our own page
                    return names[name]
    raise LookupError(name)


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path) as made:
        yield made


@pytest.fixture
def store():
    with SyncStore("memory://") as made:
        yield made


def test_a_cache_is_copied_with_what_its_entries_have_left(cache, store):
    cache.set("ada", {"name": "Ada"}, expire=60)
    cache.set("logo", b"\x89PNG")
    cache.set("gone", 1, expire=0.001)
    cache.set(7, None)
    target = store.collection("users")
    time.sleep(0.01)
    shown("copy_diskcache")(cache, target)
    assert sorted(target.get_many(["7", "ada", "gone", "logo"])) == ["7", "ada", "logo"]
    assert target.get("logo") == b"\x89PNG"
    assert target.exists("7")
    entry = target.get_entry("ada")
    assert entry.value == {"name": "Ada"}
    assert 50 < entry.ttl <= 60
    assert target.get_entry("logo").ttl is None


def test_an_object_is_refused_rather_than_changed(cache, store):
    cache.set("k", (1, 2))
    with pytest.raises(SerializationError):
        shown("copy_diskcache")(cache, store.collection("c"))


def test_a_disk_store_of_py_key_value_is_copied_with_its_names(cache, store, tmp_path):
    theirs = TheirDiskStore(directory=tmp_path)

    async def fill():
        await theirs.put(key="a::b", value={"n": 1}, collection="c::d", ttl=60)
        await theirs.put(key="k", value={"n": 2}, collection="e")

    try:
        asyncio.run(fill())
    finally:
        theirs._cache.close()
    shown("copy_their_disk_store")(cache, store)
    assert store.get("e", "k") == {"n": 2}
    entry = store.get_entry("c::d", "a::b")
    assert entry.value == {"n": 1}
    assert 50 < entry.ttl <= 60
