"""How soon another process hears of a change on Redis, at 1,000 puts a second, and what an idle watcher costs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from statistics import median, quantiles

from benchmarks.harness import Report, pinned
from benchmarks.value import PROFILE
from satchel.stores.redis import RedisStore

RATE = 1_000
SECONDS = 5
IDLE_SECONDS = 10
COLLECTION, PREFIX = "watched", "satchel-watch"


def store() -> RedisStore:
    return RedisStore(os.environ["SATCHEL_TEST_REDIS_URL"], prefix=PREFIX)


async def hear() -> None:
    """Print the CPU seconds of an idle watcher, then when each of the changes was heard."""
    async with store() as watching, watching.watch(COLLECTION) as changes:
        await anext(changes)
        began = time.process_time()
        await asyncio.sleep(IDLE_SECONDS)
        print(time.process_time() - began, flush=True)
        heard = {}
        for _ in range(RATE * SECONDS):
            change = await anext(changes)
            heard[change.key] = time.monotonic()
    print(json.dumps(heard))


async def write() -> dict[str, float]:
    """Write at the rate, and return when each write began."""
    began = {}
    async with store() as writing:
        start = time.monotonic()
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
            began[f"k{number}"] = time.monotonic()
            await writing.put(COLLECTION, f"k{number}", PROFILE)
    return began


async def clear() -> None:
    async with store() as writing:
        await writing.destroy()


def measured() -> tuple[float, list[float]]:
    """Return the CPU that an idle watcher takes, in parts of one, and the seconds from each write to its report."""
    command = [sys.executable, "-c", "import asyncio, benchmarks.watch as watch; asyncio.run(watch.hear())"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:  # noqa: S603  # this module itself
        assert watcher.stdout is not None  # noqa: S101  # it was asked for
        idle = float(watcher.stdout.readline()) / IDLE_SECONDS
        began = asyncio.run(write())
        heard = json.loads(watcher.stdout.readline())
    asyncio.run(clear())
    return idle, [heard[key] - at for key, at in began.items()]


def run(report: Report) -> None:
    rows: dict[str, dict[str, float]] = {}
    for name in ("two CPUs", "pinned to one"):
        if name == "pinned to one":
            with pinned():
                idle, seconds = measured()
        else:
            idle, seconds = measured()
        rows[name] = {
            "median, ms": median(seconds) * 1000,
            "99 of 100, ms": quantiles(seconds, n=100)[98] * 1000,
            "longest, ms": max(seconds) * 1000,
            "CPU of an idle watcher, %": idle * 100,
        }
    report.table(f"from a put to its report in another process, {RATE} puts a second", rows)
