"""Blobs in a store: what a short one costs beside a plain put, and what 1 GB takes in memory and time."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from benchmarks.harness import Contender, Report, Work
from satchel import DiskStore, MemoryStore
from satchel.blobs import StoreBlobs

STEPS = 200
SHORT = os.urandom(4096)
LONG = 1024 * 1024 * 1024
PIECE = 256 * 1024
MIB = 1024 * 1024

Step = Callable[[str], Awaitable[object]]


def contender(kind: str, what: str) -> Contender:
    """Return a contender that puts or gets short values under new keys, or gets them, in a store of its own."""

    @asynccontextmanager
    async def contend() -> AsyncIterator[Work]:
        with tempfile.TemporaryDirectory() as place:
            async with DiskStore(Path(place)) if kind == "disk" else MemoryStore() as store:
                blobs = StoreBlobs(store)
                steps: dict[str, Step] = {
                    "put": lambda key: store.put("c", key, SHORT),
                    "put_if_absent": lambda key: store.put_if_absent("c", key, SHORT),
                    "blob put": lambda key: blobs.put(key, SHORT),
                    "get": lambda _: store.get("c", "k"),
                    "blob get": lambda _: blobs.get("k"),
                }
                await store.put("c", "k", SHORT)
                await blobs.put("k", SHORT)
                step, rounds = steps[what], iter(range(10**9))

                async def work(numbers: range) -> None:
                    mark = next(rounds)
                    for number in numbers:
                        await step(f"{mark}/{number}")

                yield work

    return contend


async def measure_long() -> dict[str, float]:
    """Put and get a long blob in a disk store; return speeds, further memory, and the longest stall of the event loop.

    Stalls are in CPU time of the loop's thread: where other work is on the machine, it takes away more time.
    """
    piece = os.urandom(PIECE)

    async def pieces(length: int) -> AsyncIterator[bytes]:
        for _ in range(length // PIECE):
            yield piece

    async def taken(stream: AsyncIterator[bytes], length: int) -> None:
        if sum([len(part) async for part in stream]) != length:
            raise RuntimeError("a part is missing")

    with tempfile.TemporaryDirectory() as place:
        async with DiskStore(Path(place)) as store:
            blobs = StoreBlobs(store)
            await blobs.put("k", pieces(LONG // 64))
            await taken(blobs.stream("k"), LONG // 64)
            put_stall = await _longest(blobs.put("k", pieces(LONG // 8)))
            get_stall = await _longest(taken(blobs.stream("k"), LONG // 8))
            before = _peak()
            put = await _seconds(blobs.put("k", pieces(LONG)))
            get = await _seconds(taken(blobs.stream("k"), LONG))
            return {
                "put MB/s": LONG / put / 1e6,
                "get MB/s": LONG / get / 1e6,
                "memory MiB": (_peak() - before) / MIB,
                "put stall ms": put_stall * 1e3,
                "get stall ms": get_stall * 1e3,
            }


def _peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _seconds(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def _longest(work: Awaitable[object]) -> float:
    """Return the most CPU seconds that the loop's thread took between two turns of another task."""
    task = asyncio.ensure_future(work)
    longest, last = 0.0, time.thread_time()
    while not task.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    await task
    return longest


def run(report: Report) -> None:
    """Measure everything."""
    for kind in ("disk", "memory"):
        puts = {what: contender(kind, what) for what in ("put", "put_if_absent", "blob put")}
        report.compare(f"{kind}: 4 KiB under a new key", puts, steps=STEPS)
        gets = {what: contender(kind, what) for what in ("get", "blob get")}
        report.compare(f"{kind}: 4 KiB again", gets, steps=STEPS)
    code = "import asyncio, json; from benchmarks import blobs; print(json.dumps(asyncio.run(blobs.measure_long())))"
    measured = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603  # a process of its own has a peak of its own
    report.table("1 GiB in and out of a disk store", {"blob": msgspec.json.decode(measured.stdout)})
