"""What a call through `SyncStore` costs, beside the same call on the event loop and other ways there from a thread.

The ways: `asyncio.run_coroutine_threadsafe` to a loop in a thread, and anyio's blocking portal, which is not among
satchel's own dependencies.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from benchmarks.harness import Contender, Report, Work
from satchel import DiskStore, MemoryStore
from satchel.sync import SyncStore

STEPS = 1_000
THREADS = 8
VALUE = {"name": "Ada Lovelace", "visits": 3}

Get = Callable[[], object]


def on_the_loop(store: Callable[[], Any]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with store() as opened:
            await opened.put("c", "k", VALUE)

            async def work(steps: range) -> None:
                get = opened.get
                for _ in steps:
                    await get("c", "k")

            yield work

    return contender


def from_a_thread(way: Callable[[], AbstractContextManager[Get]], threads: int = 1) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        with way() as get, ThreadPoolExecutor(threads) as pool:

            def repeat(times: int) -> None:
                for _ in range(times):
                    get()

            async def work(steps: range) -> None:
                loop, times = asyncio.get_running_loop(), len(steps) // threads
                await asyncio.gather(*(loop.run_in_executor(pool, repeat, times) for _ in range(threads)))

            yield work

    return contender


def by_sync_store(store: Callable[[], Any]) -> Callable[[], AbstractContextManager[Get]]:
    @contextlib.contextmanager
    def way() -> Iterator[Get]:
        sync = SyncStore(store())
        with ThreadPoolExecutor(1) as pool:
            pool.submit(sync.put, "c", "k", VALUE).result()
            try:
                yield lambda: sync.get("c", "k")
            finally:
                pool.submit(sync.close).result()

    return way


@contextlib.contextmanager
def by_threadsafe() -> Iterator[Get]:
    store, loop = MemoryStore(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(store.put("c", "k", VALUE), loop).result()
    try:
        yield lambda: asyncio.run_coroutine_threadsafe(store.get("c", "k"), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def by_portal() -> Iterator[Get]:
    store = MemoryStore()
    with start_blocking_portal() as portal:
        portal.call(store.put, "c", "k", VALUE)
        yield lambda: portal.call(store.get, "c", "k")


def run(report: Report) -> None:
    memory = {
        "SyncStore": from_a_thread(by_sync_store(MemoryStore)),
        "run_coroutine_threadsafe": from_a_thread(by_threadsafe),
        "anyio's portal": from_a_thread(by_portal),
        "await, on the loop": on_the_loop(MemoryStore),
    }
    report.compare("get, memory", memory, steps=STEPS)
    with tempfile.TemporaryDirectory() as place:

        def disk() -> DiskStore:
            return DiskStore(place)

        contenders = {"SyncStore": from_a_thread(by_sync_store(disk)), "await, on the loop": on_the_loop(disk)}
        report.compare("get, disk", contenders, steps=STEPS)
        contenders = {
            "1 thread": from_a_thread(by_sync_store(disk)),
            f"{THREADS} threads": from_a_thread(by_sync_store(disk), THREADS),
        }
        report.compare("get, disk, SyncStore", contenders, steps=STEPS)
