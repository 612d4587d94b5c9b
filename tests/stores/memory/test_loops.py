"""Stores without I/O belong to no event loop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from satchel import MemoryStore, StoreClosedError
from satchel.stores.null import NullStore
from satchel.testing import FlakyStore

STORES = {"memory": MemoryStore, "bounded": lambda: MemoryStore(max_entries_per_collection=50, max_bytes=5000)}
STORES |= {"flaky": lambda: FlakyStore(latency=0.0001), "null": NullStore}


def in_another_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.mark.parametrize("make", [MemoryStore, FlakyStore])
async def test_another_loop_looks_into_a_store_in_use(make):
    store = make()
    await store.put("c", "k", 1)
    assert await asyncio.to_thread(in_another_thread, store.get("c", "k")) == 1
    await asyncio.to_thread(in_another_thread, store.put_many("c", {"l": 2}))
    assert await store.get_many("c", ["k", "l"]) == {"k": 1, "l": 2}
    await asyncio.to_thread(in_another_thread, store.aclose())
    with pytest.raises(StoreClosedError):
        await store.get("c", "k")


@pytest.mark.parametrize("name", STORES)
def test_threads_with_loops_of_their_own_use_one_store_at_once(name):
    store = STORES[name]()
    begin = threading.Barrier(3)

    async def work(number):
        begin.wait()
        for turn in range(300):
            key = f"k{turn % 40}"
            await asyncio.gather(
                store.put("c", key, number, ttl=None if turn % 3 else 0.001),
                store.get("c", key),
                store.put_many("c", {f"{number}-{turn}": turn, key: turn}),
                store.exists("c", key),
            )
            await store.put_if_absent(f"of {number}", key, turn)
            await store.delete("c", f"{number}-{turn - 20}")
            if turn % 20 == 0:
                async for _ in store.keys("c"):
                    pass
                await store.cull()
        return number

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(asyncio.run, work(number)) for number in range(3)]
        assert [each.result(timeout=50) for each in done] == [0, 1, 2]


def test_of_writers_in_many_threads_one_finds_the_key_absent():
    store = MemoryStore()
    begin = threading.Barrier(4)

    async def win():
        begin.wait()
        return [await store.put_if_absent("c", f"k{number}", 1) is not None for number in range(500)]

    with ThreadPoolExecutor(4) as pool:
        wins = list(pool.map(asyncio.run, [win() for _ in range(4)]))
    assert [sum(each) for each in zip(*wins, strict=True)] == [1] * 500


def test_the_timer_of_an_ended_loop_is_replaced():
    store = MemoryStore()
    asyncio.run(store.put("c", "k", 1, ttl=0.5))

    async def wait():
        await store.put("c", "l", 1, ttl=0.5)
        async with asyncio.timeout(20):
            while store._entries.collections:  # noqa: ASYNC110  # it sets no event
                await asyncio.sleep(0.05)

    asyncio.run(wait())
    assert store._entries.collections == {}


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_store_used_by_one_quick_call_is_opened_and_closed(operation):
    told = []

    class Telling(MemoryStore):
        async def _open(self):
            told.append("opened")

        async def _close(self):
            told.append("closed")

    store = Telling()
    await (store.get("c", "k") if operation == "get" else store.put("c", "k", 1))
    assert told == ["opened"]
    await store.aclose()
    assert told == ["opened", "closed"]


async def test_a_store_is_closed_though_the_call_that_opened_it_was_cancelled():
    told = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        async def _open(self):
            begun.set()
            await go_on.wait()
            told.append("opened")

        async def _close(self):
            told.append("closed")

    store = Slow()
    call = asyncio.create_task(store.put("c", "k", 1))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    closing = asyncio.create_task(store.aclose())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert told == ["opened", "closed"]
