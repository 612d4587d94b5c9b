"""A near cache over Redis: a hot read against redis-py's GET, and how soon another process's change is seen."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median, quantiles

import msgspec
from redis.asyncio import Redis

from benchmarks.harness import Report, Work
from benchmarks.value import PROFILE
from satchel.stores.redis import RedisStore
from satchel.wrappers import NearCacheWrapper

_KEYS = [f"k{number}" for number in range(1000)]
_WRITES_A_SECOND = 1000
_SECONDS = 5.0

_WRITER = f"""
import asyncio, time
from satchel.stores.redis import RedisStore

async def main():
    async with RedisStore({{url!r}}, prefix="near") as store:
        begun = time.monotonic()
        for number in range(int({_WRITES_A_SECOND} * {_SECONDS})):
            if (early := begun + number / {_WRITES_A_SECOND} - time.monotonic()) > 0:
                await asyncio.sleep(early)
            if number % 20:
                await store.put("c", f"k{{{{number % 1000}}}}", number)
            else:
                await store.put("c", "probe", time.monotonic())

asyncio.run(main())
"""


def url() -> str:
    return os.environ["SATCHEL_TEST_REDIS_URL"]


@asynccontextmanager
async def near() -> AsyncIterator[Work]:
    async with NearCacheWrapper(RedisStore(url(), prefix="near")) as store:
        await store.put_many("c", dict.fromkeys(_KEYS, PROFILE))
        while store.snapshot().hot.hits < len(_KEYS):  # until reads find all of them in memory
            await store.get_many("c", _KEYS)
            await asyncio.sleep(0.05)

        async def work(steps: range) -> None:
            choose = random.Random(0).choice  # noqa: S311  # the same keys for all
            for _ in steps:
                await store.get("c", choose(_KEYS))

        yield work


@asynccontextmanager
async def plain(*, decodes: bool) -> AsyncIterator[Work]:
    client = Redis.from_url(url())
    encoded = msgspec.json.encode(PROFILE)
    await client.mset({f"plain:{key}": encoded for key in _KEYS})
    decode = msgspec.json.Decoder().decode

    async def work(steps: range) -> None:
        choose = random.Random(0).choice  # noqa: S311  # as above
        for _ in steps:
            found = await client.get(f"plain:{choose(_KEYS)}")
            if decodes:
                decode(found)

    yield work
    await client.aclose()


@asynccontextmanager
async def far() -> AsyncIterator[Work]:
    async with RedisStore(url(), prefix="near") as store:
        await store.put_many("c", dict.fromkeys(_KEYS, PROFILE))

        async def work(steps: range) -> None:
            choose = random.Random(0).choice  # noqa: S311  # as above
            for _ in steps:
                await store.get("c", choose(_KEYS))

        yield work


async def latencies() -> list[float]:
    """Return the milliseconds from before a put by another process until the new value is read here."""
    found: list[float] = []
    async with NearCacheWrapper(RedisStore(url(), prefix="near")) as store, store.watch("c", prefix="probe") as changes:
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITER.format(url=url()))
        ended = asyncio.ensure_future(writer.wait())
        while not ended.done():
            change = asyncio.ensure_future(anext(changes))
            await asyncio.wait([change, ended], return_when=asyncio.FIRST_COMPLETED)
            if not change.done():
                change.cancel()
            elif change.result().kind == "changed":
                found.append((time.monotonic() - float(await store.get("c", "probe"))) * 1000)
        if ended.result():
            raise subprocess.SubprocessError("the writer failed")
    return found


async def idle() -> float:
    """Return the share of a CPU that a store takes with one watcher while nothing changes."""
    async with RedisStore(url(), prefix="near") as store, store.watch("idle"):
        await asyncio.sleep(0.2)
        begun = time.process_time()
        await asyncio.sleep(_SECONDS)
        return (time.process_time() - begun) / _SECONDS


def run(report: Report) -> None:
    contenders = {
        "near cache": near,
        "redis-py GET": lambda: plain(decodes=False),
        "redis-py GET, decoded": lambda: plain(decodes=True),
        "RedisStore": far,
    }
    report.compare("get a profile that is hot", contenders, steps=2000)
    found = asyncio.run(latencies())
    report.table(
        f"ms until a put elsewhere is read, {_WRITES_A_SECOND} writes a second",
        {"near cache": {"median": median(found), "95 %": quantiles(found, n=20)[-1], "samples": len(found)}},
    )
    report.table("an idle watcher", {"RedisStore": {"% of a CPU": asyncio.run(idle()) * 100}})
