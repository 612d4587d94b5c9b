"""How long large values and long batches keep the event loop from anything else, in any store.

`stalls` puts and gets many at once; `run` one after the other, up to the largest that stores are asked for,
and before them long batches of small values.

The garbage collector runs between the rounds and not within: over millions of decoded objects it takes ten times longer
than decoding one value, whoever decoded them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import msgspec

from benchmarks.harness import Report
from satchel import AsyncKeyValue, BaseStore
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore
from satchel.stores.memory import MemoryStore
from satchel.stores.redis import RedisStore

MEGABYTES = 5_000_000
OBJECTS = [{"id": number, "name": f"object {number}", "tags": ["a", "b"], "on": True} for number in range(77_000)]
VALUES = {
    "20 values of 5 MB bytes": (b"x" * MEGABYTES, 20),
    "20 values of 5 MB JSON text": ("x" * MEGABYTES, 20),
    "20 values of 5 MB in small objects": (OBJECTS, 20),
}
SIZES = (1, 10, 64, 256)
"""In megabytes, of `bytes`."""
COUNTS = (100_000, 400_000)
"""Of keys in one batch."""
ROUNDS = 5


async def stalls(store: AsyncKeyValue) -> dict[str, dict[str, float]]:
    """Return the median of the longest stall for each kind of value, and what coding the objects takes by itself."""
    rows = {}
    for name, (value, count) in VALUES.items():
        puts, gets = [], []
        for _ in range(ROUNDS):
            puts.append(await _longest(asyncio.gather(*[store.put("a", str(at), value) for at in range(count)])))
            gets.append(await _longest(asyncio.gather(*[store.get("a", str(at)) for at in range(count)])))
        rows[name] = {"put ms": median(puts), "get ms": median(gets)}
    started = time.perf_counter()
    encoded = msgspec.json.encode(OBJECTS)
    put = time.perf_counter() - started
    msgspec.json.decode(encoded)
    rows["coding one of these by itself"] = {"put ms": put * 1e3, "get ms": (time.perf_counter() - started - put) * 1e3}
    return rows


async def _longest(work: Awaitable[Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the longest time in milliseconds that the loop did nothing else while the work ran."""
    longest, ended = 0.0, False

    async def watch() -> None:
        nonlocal longest
        last = clock()
        while not ended:
            await asyncio.sleep(0)
            now = clock()
            longest, last = max(longest, now - last), now

    gc.collect()
    gc.disable()
    try:
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        value = await work  # kept for a moment: to free it takes the system as long, whoever does it
        ended = True
        await watcher
        del value
    finally:
        gc.enable()
    return longest * 1000


async def of_nothing() -> dict[str, dict[str, float]]:
    """Return the median of the longest stall while nothing is done: what the machine itself takes away."""
    idle = [await _longest(asyncio.sleep(1)) for _ in range(ROUNDS)]
    return {"nothing, for 1 s": {"ms": median(idle)}}


async def of_each_size(store: AsyncKeyValue) -> dict[str, dict[str, float]]:
    """Return the median of the longest stall for a value of each size, in time and in CPU time of the loop's thread.

    Where other work is on the machine it takes away more time than any value does; the CPU time is the store's alone.
    """
    rows = {}
    await store.put("a", "k", 1)
    for megabytes in SIZES:
        value = b"x" * (megabytes * 1_000_000)
        row = {}
        for column, clock in (("ms", time.perf_counter), ("CPU ms", time.thread_time)):
            puts, gets = [], []
            for _ in range(3):
                puts.append(await _longest(store.put("a", "k", value), clock))
                gets.append(await _longest(store.get("a", "k"), clock))
            row |= {f"put {column}": median(puts), f"get {column}": median(gets)}
        rows[f"{megabytes} MB"] = row
    await store.delete("a", "k")
    return rows


async def of_long_batches() -> dict[str, dict[str, float]]:
    """Return the median of the longest stall, in CPU time of the loop's thread, for batches on a MemoryStore."""
    rows = {}
    for count in COUNTS:
        items = {f"k{number}": number for number in range(count)}
        row: dict[str, list[float]] = {"put_many": [], "get_many": [], "delete_many": []}
        for _ in range(3):
            async with MemoryStore() as store:
                for verb, found in row.items():
                    found.append(await _longest(getattr(store, verb)("a", items), time.thread_time))
        rows[f"{count:,} keys"] = {f"{verb} CPU ms": median(found) for verb, found in row.items()}
    return rows


async def _measured(store: BaseStore) -> dict[str, dict[str, float]]:
    async with store:
        return await of_each_size(store)


def run(report: Report) -> None:
    report.table("longest stall of the loop: idle", asyncio.run(of_nothing()))
    report.table("longest stall of the loop: batches on a MemoryStore", asyncio.run(of_long_batches()))
    with tempfile.TemporaryDirectory() as place:
        stores: dict[str, BaseStore] = {
            "DiskStore": DiskStore(f"{place}/disk"),
            "FileTreeStore": FileTreeStore(f"{place}/tree"),
            "RedisStore": RedisStore(os.environ["SATCHEL_TEST_REDIS_URL"], timeout=60),
        }
        for name, store in stores.items():
            report.table(f"longest stall of the loop: {name}", asyncio.run(_measured(store)))
