"""Copying 20,000 small entries from disk to Redis by `copy_store`, against a get and a put for each key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from benchmarks.harness import Report, pinned
from benchmarks.value import PROFILE
from satchel import DiskStore, check_stores, copy_store
from satchel.stores.redis import RedisStore

COUNT = 20_000
TTL = 3600

Copy = Callable[[Any, Any], Awaitable[object]]


async def one_by_one(source: Any, target: Any) -> None:
    """What a script does that somebody writes for this: constant memory, ttl kept."""
    async for key in source.keys("users"):
        entry = await source.get_entry("users", key)
        await target.put("users", key, entry.value, ttl=entry.ttl)


async def check(source: Any, target: Any) -> None:
    assert [difference async for difference in check_stores(source, target)] == []  # noqa: S101  # a wrong copy is no figure


WAYS: dict[str, tuple[Copy, bool]] = {
    "copy_store": (copy_store, True),
    "copy_store, overwrite": (lambda source, target: copy_store(source, target, overwrite="always"), True),
    "copy_store, verify": (lambda source, target: copy_store(source, target, verify=True), True),
    "check_stores": (check, False),
    "a get and a put each": (one_by_one, True),
}


async def measure(values: dict[str, object], ttl: float | None, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    url = os.environ["SATCHEL_TEST_REDIS_URL"]
    with tempfile.TemporaryDirectory() as directory:
        async with DiskStore(directory) as source, RedisStore(url, prefix="copy-benchmark") as target:
            await source.put_many("users", values, ttl=ttl)
            for number in range(rounds + 1):
                for name, (copy, writes) in WAYS.items():
                    if writes:
                        await target.destroy()
                    started = time.perf_counter()
                    await copy(source, target)
                    if number:  # the first round warms up
                        times[name].append(time.perf_counter() - started)
            await target.destroy()
    return {name: COUNT / median(taken) for name, taken in times.items()}


def run(report: Report) -> None:
    rounds = min(report.rounds, 5)
    kinds = {
        "small entries": ({f"user:{number}": {"id": number} for number in range(COUNT)}, None),
        "small entries with a ttl": ({f"user:{number}": {"id": number} for number in range(COUNT)}, TTL),
        "profiles of 300 bytes": ({f"user:{number}": PROFILE for number in range(COUNT)}, None),
    }
    for title, (values, ttl) in kinds.items():
        rows: dict[str, dict[str, float]] = {name: {} for name in WAYS}
        for mode, pinning in (("pinned", pinned), ("unpinned", contextlib.nullcontext)):
            with pinning():
                for name, rate in asyncio.run(measure(values, ttl, rounds)).items():
                    rows[name][f"{mode} entries/s"] = rate
        report.table(title, rows)
