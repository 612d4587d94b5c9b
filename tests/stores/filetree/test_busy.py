"""A lock of the file tree store that another process does not let go is waited for, but not for ever."""

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from satchel import StoreUnavailableError
from satchel.stores.filetree import FileTreeStore
from satchel.stores.filetree import system as _filetree_system
from satchel.stores.filetree.system import held

FORGETFUL = """
import asyncio, sys
from satchel.stores.filetree import FileTreeStore
store = FileTreeStore(sys.argv[1])
async def main():
    await store.put("free", "k", 1)
    waiting = asyncio.ensure_future(store.put("c", "k", 2))
    await asyncio.sleep(0.1)
asyncio.run(main())
print("over", flush=True)
"""


@pytest.fixture
def lock(tmp_path: Path):
    """The lock of collection `c`, held by somebody else."""
    (tmp_path / ".satchel" / "locks").mkdir(parents=True)
    with held(str(tmp_path / ".satchel" / "locks" / "c.lock")):
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_filetree_system, "BUSY_SECONDS", 0.2)


@pytest.mark.usefixtures("lock", "impatient")
@pytest.mark.parametrize("change", ["put", "delete", "destroy_collection"])
async def test_the_wait_for_a_lock_ends(tmp_path: Path, change: str):
    async with FileTreeStore(tmp_path) as store:
        await store.put("free", "k", 1)
        arguments = {"put": ["c", "k", 1], "delete": ["c", "k"], "destroy_collection": ["c"]}[change]
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailableError, match=r"c\.lock.*another process") as caught:
                await getattr(store, change)(*arguments)
        assert caught.value.retryable
        await store.put("free", "k", 2)
        assert await store.get("free", "k") == 2


@pytest.mark.usefixtures("lock", "impatient")
async def test_a_lock_that_is_held_fails_its_own_collection_alone(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        async with asyncio.timeout(20):
            held_up, free = await asyncio.gather(
                store.put("c", "k", 1), store.put("free", "k", 1), return_exceptions=True
            )
        assert isinstance(held_up, StoreUnavailableError)
        assert not isinstance(free, BaseException)
        assert await store.get("free", "k") == 1


async def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
        lock = held(str(tmp_path / ".satchel" / "locks" / "c.lock"))
        await asyncio.to_thread(lock.__enter__)
        waiting = asyncio.create_task(store.put("c", "k", 2))
        await asyncio.sleep(0.1)
        assert await store.get("c", "k") == 1
        await asyncio.to_thread(lock.__exit__, None, None, None)
        await waiting
        assert await store.get("c", "k") == 2


@pytest.mark.usefixtures("lock")
async def test_closing_ends_the_wait_of_a_cancelled_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_filetree_system, "BUSY_SECONDS", 1000.0)
    store = FileTreeStore(tmp_path)
    await store.ping()
    waiting = asyncio.create_task(store.put("c", "k", 1))
    await asyncio.sleep(0.1)
    waiting.cancel()
    async with asyncio.timeout(20):
        await store.aclose()
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("lock")
def test_a_forgotten_store_that_waits_does_not_hold_up_the_exit(tmp_path: Path):
    code = "import satchel.stores.filetree.system as system; system.BUSY_SECONDS = 1000.0\n" + FORGETFUL
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], timeout=20, capture_output=True, text=True, check=True
    )
    assert done.stdout == "over\n"
    assert "Error" not in done.stderr
    assert not (tmp_path / "c").exists()


def test_a_store_that_nobody_refers_to_ends_its_threads(tmp_path: Path):
    before = set(threading.enumerate())
    store = FileTreeStore(tmp_path)
    asyncio.run(store.put("c", "k", 1))
    started = set(threading.enumerate()) - before
    assert [thread for thread in started if thread.name.startswith("satchel-filetree")]
    del store
    gc.collect()
    for thread in started:
        thread.join(20)
    assert not [thread for thread in started if thread.is_alive()]
    assert (tmp_path / "c" / "k.json").exists()
