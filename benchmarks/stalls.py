"""How long large values keep the event loop from anything else, in any store.

`stalls` puts and gets many at once; `run` one after the other, up to the largest that stores are asked for. The garbage collector runs between the rounds and not within: over millions of decoded objects it takes ten times longer
than decoding one value, whoever decoded them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable
from statistics import median
from typing import Any

import msgspec

from benchmarks.harness import Report
from satchel import AsyncKeyValue
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore
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


async def _longest(work: Awaitable[Any]) -> float:
    """Return the longest time in milliseconds that the loop did nothing else while the work ran."""
    longest, last, ended = 0.0, time.perf_counter(), False

    async def watch() -> None:
        nonlocal longest, last
        while not ended:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    gc.collect()
    gc.disable()
    try:
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await work
        ended = True
        await watcher
    finally:
        gc.enable()
    return longest * 1000


async def of_each_size(store: AsyncKeyValue, sizes: tuple[int, ...] = SIZES) -> dict[str, dict[str, float]]:
    """Return the median of the longest stall, and of the time, for values of each size, one at a time."""
    rows = {}
    async with store:  # type: ignore[attr-defined]  # every store is one
        for megabytes in sizes:
            value = b"x" * (megabytes * 1_000_000)
            await store.put("a", "k", value)
            measured: dict[str, list[float]] = {"put": [], "put took": [], "get": [], "get took": []}
            for _ in range(ROUNDS):
                for verb, call in (("put", store.put("a", "k", value)), ("get", store.get("a", "k"))):
                    started = time.perf_counter()
                    measured[verb].append(await _longest(call))
                    measured[f"{verb} took"].append((time.perf_counter() - started) * 1000)
            rows[f"{megabytes} MB"] = {f"{name} ms": median(times) for name, times in measured.items()}
        await store.delete("a", "k")
    return rows


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as place:
        stores: dict[str, AsyncKeyValue] = {
            "DiskStore": DiskStore(f"{place}/disk"),
            "FileTreeStore": FileTreeStore(f"{place}/tree"),
            "RedisStore": RedisStore(os.environ["SATCHEL_TEST_REDIS_URL"], timeout=60),
        }
        for name, store in stores.items():
            report.table(f"longest stall of the loop: {name}", asyncio.run(of_each_size(store)))
