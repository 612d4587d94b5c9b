"""Watching a store in memory: the suite, and what only it does."""

import asyncio
import os
import threading

import pytest

from satchel import Change, MemoryStore, StoreClosedError, SyncStore
from satchel.testing import FakeClock, FlakyStore, WatchConformance
from tests.stores.watched import taken


class TestWatch(WatchConformance):
    def make_store(self, clock, place):
        return MemoryStore(clock=clock)


class TestWatchWithBounds(WatchConformance):
    def make_store(self, clock, place):
        return MemoryStore(clock=clock, max_entries_per_collection=1000, max_bytes=1_000_000)


class TestFlakyStore(WatchConformance):
    def make_store(self, clock, place):
        return FlakyStore(clock=clock)


async def test_what_gives_way_to_newer_entries_is_reported():
    store = MemoryStore(max_entries_per_collection=2)
    async with store.watch("c") as changes:
        await taken(changes, 1)
        for key in ("a", "b", "c"):
            await store.put("c", key, 1)
        assert {change.key for change in await taken(changes, 3)} == {"a", "b", "c"}
        await asyncio.sleep(0)
        await store.put("c", "d", 1)
        assert {change.key for change in await taken(changes, 2)} == {"b", "d"}


async def test_a_destroyed_store_is_lost_and_watched_on():
    store = MemoryStore(seed={"c": {"k": 1}})
    async with store.watch("c") as changes:
        await taken(changes, 1)
        await store.destroy()
        assert await taken(changes, 2) == [Change("lost", "c"), Change("ready", "c")]
        await store.put("c", "k", 1)
        assert await taken(changes, 1) == [Change("changed", "c", "k")]


async def test_expiry_is_reported_without_any_call():
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    async with store.watch("c") as changes:
        await taken(changes, 1)
        await store.put("c", "k", 1, ttl=10)
        assert await taken(changes, 1) == [Change("changed", "c", "k")]
        clock.advance(10)
        assert await taken(changes, 1) == [Change("changed", "c", "k")]


async def test_loops_in_several_threads_watch_one_store():
    store = MemoryStore()
    ready, heard = threading.Event(), []

    async def follow():
        async with store.watch("c") as changes:
            ready.set()
            heard.extend(change.key for change in await taken(changes, 3))

    thread = threading.Thread(target=lambda: asyncio.run(follow()))
    async with store.watch("c") as changes:
        thread.start()
        await asyncio.to_thread(ready.wait, 50)
        await store.put("c", "a", 1)
        await store.put("c", "b", 1)
        assert [change.key for change in await taken(changes, 3)] == [None, "a", "b"]
    await asyncio.to_thread(thread.join, 50)
    assert heard == [None, "a", "b"]
    assert store._entries.feeds == ()


async def test_closing_in_one_thread_ends_the_watcher_of_another():
    store = MemoryStore()
    ready, ended = threading.Event(), []

    async def follow():
        async with store.watch("c") as changes:
            ready.set()
            try:
                await taken(changes, 2)
            except StoreClosedError as error:
                ended.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(follow()))
    thread.start()
    await asyncio.to_thread(ready.wait, 50)
    await store.aclose()
    await asyncio.to_thread(thread.join, 50)
    assert len(ended) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_fork_has_none_of_its_parents_watchers():
    store = MemoryStore()

    async def watch():
        async with store.watch("c") as changes:
            await taken(changes, 1)
            watcher_lock = store._entries.feeds[0]._of("c")[0]._lock
            with watcher_lock:  # as another thread of the parent may hold it
                child = os.fork()
                if child == 0:
                    os._exit(0 if _write_in_child(store) else 1)
            return child

    child = asyncio.run(watch())
    assert os.waitpid(child, 0)[1] == 0


def _write_in_child(store):
    async def write():
        await store.put("c", "k", 1)
        return await store.get("c", "k") == 1

    try:
        asyncio._set_running_loop(None)
        return asyncio.run(write())
    except BaseException:
        return False


def test_a_store_without_an_event_loop_is_watched():
    with SyncStore("memory://") as store, store.watch("c", prefix="a") as changes:
        assert next(changes) == Change("ready", "c")
        store.put("c", "b", 1)
        store.put("c", "a", 1)
        assert next(changes) == Change("changed", "c", "a")
        with store.collection("c").watch() as own:
            assert next(own) == Change("ready", "c")
            store.put("c", "b", 1)
            assert next(own) == Change("changed", "c", "b")


def test_closing_a_store_ends_the_wait_of_another_thread():
    store = SyncStore("memory://")
    ready, ended = threading.Event(), []

    def follow():
        with store.watch("c") as changes:
            ready.set()
            try:
                list(changes)
            except StoreClosedError as error:
                ended.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    ready.wait(50)
    store.close()
    thread.join(50)
    assert len(ended) == 1
