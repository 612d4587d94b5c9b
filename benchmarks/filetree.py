"""FileTreeStore against py-key-value-aio's, which also waits for the disk at each put, and its listing."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any, Self

from key_value.aio.stores.filetree import FileTreeStore as PeerStore

from benchmarks.harness import Contender, Report, Work, pinned
from benchmarks.value import PROFILE
from satchel.stores.filetree import FileTreeStore

KEYS = [f"user:{number}" for number in range(1_000)]
STEPS = {1: 100, 32: 320}
MEGABYTE = 1_000_000


class Peer(PeerStore):
    """py-key-value-aio's, made the way that the others are."""

    def __init__(self, directory: str) -> None:
        super().__init__(data_directory=directory)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Have nothing to close."""


def using(
    make: Callable[[str], Any], verb: Callable[[Any], Callable[[str], Awaitable[Any]]], *, new: bool
) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        with tempfile.TemporaryDirectory() as directory:
            async with make(directory) as store:
                await _put(store)(KEYS[0])
                for key in [] if new else KEYS[1 : max(STEPS.values())]:
                    await _put(store)(key)
                call, rounds = verb(store), iter(range(1_000_000))

                async def work(steps: range) -> None:
                    prefix = f"{next(rounds)}:" if new else ""
                    for step in steps:
                        await call(prefix + KEYS[step])

                yield work

    return contender


def _put(store: Any) -> Callable[[str], Awaitable[None]]:
    if isinstance(store, Peer):
        return lambda key: store.put(key, PROFILE, collection="users")
    return lambda key: store.put("users", key, PROFILE)


def _get(store: Any) -> Callable[[str], Awaitable[Any]]:
    if isinstance(store, Peer):
        return lambda key: store.get(key, collection="users")
    return lambda key: store.get("users", key)


async def listing_times() -> dict[str, dict[str, float]]:
    """Return how long one key of 2,000 takes to list, which does not depend on the size of the values."""
    rows = {}
    for name, value in (("values of 100 bytes", "x" * 100), ("values of 1 MB", "x" * MEGABYTE)):
        with tempfile.TemporaryDirectory() as directory:
            async with FileTreeStore(directory) as store:
                await store.put_many("users", dict.fromkeys(KEYS[:300], value))
                times = []
                for _ in range(21):
                    started = time.perf_counter()
                    assert len([key async for key in store.keys("users")]) == 300  # noqa: S101  # else it means nothing
                    times.append((time.perf_counter() - started) / 300)
                rows[name] = {"key µs": median(times) * 1e6}
    return rows


async def longest_stall(work: Awaitable[Any]) -> float:
    """Return the longest time in milliseconds that the loop did nothing else while the work ran."""
    longest, last, ended = 0.0, time.perf_counter(), False

    async def watch() -> None:
        nonlocal longest, last
        while not ended:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await work
    ended = True
    await watcher
    return longest * 1000


async def stalls(value: object) -> dict[str, float]:
    puts, gets = [], []
    with tempfile.TemporaryDirectory() as directory:
        async with FileTreeStore(directory) as store:
            for _ in range(5):
                puts.append(await longest_stall(asyncio.gather(*[store.put("a", str(at), value) for at in range(20)])))
                gets.append(await longest_stall(asyncio.gather(*[store.get("a", str(at)) for at in range(20)])))
    return {"put ms": median(puts), "get ms": median(gets)}


def run(report: Report) -> None:
    makers = {
        "satchel": FileTreeStore,
        "py-key-value-aio": Peer,
        "satchel, durability full": partial(FileTreeStore, durability="full"),
    }
    for title, verb, new in (
        ("put over an old entry", _put, False),
        ("put a new entry", _put, True),
        ("get", _get, False),
    ):
        contenders = {name: using(make, verb, new=new) for name, make in makers.items()}
        for tasks, steps in STEPS.items():
            report.compare(title, contenders, steps=steps, tasks=tasks)
    values = {
        "20 values of 5 MB bytes": b"x" * 5 * MEGABYTE,
        "20 values of 5 MB JSON text": "x" * 5 * MEGABYTE,
    }
    report.table("longest stall of the loop", {name: asyncio.run(stalls(value)) for name, value in values.items()})
    with pinned():
        report.table("listing", asyncio.run(listing_times()))


if __name__ == "__main__":
    run(Report("filetree", rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 21))
