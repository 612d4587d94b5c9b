"""FileTreeStore against py-key-value-aio's, which also waits for the disk at each put, and its listing."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any, Self

from key_value.aio.stores.filetree import FileTreeStore as PeerStore

from benchmarks.harness import Contender, Report, Work, pinned
from benchmarks.stalls import stalls
from benchmarks.value import PROFILE
from satchel.stores.filetree import FileTreeStore

KEYS = [f"user:{number}" for number in range(1_000)]
STEPS = {1: 100, 32: 320}


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
    for name, value in (("values of 100 bytes", "x" * 100), ("values of 1 MB", "x" * 1_000_000)):
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


async def stalls_of_tree() -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as directory:
        async with FileTreeStore(directory) as store:
            return await stalls(store)


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
    report.table("longest stall of the loop", asyncio.run(stalls_of_tree()))
    with pinned():
        report.table("listing", asyncio.run(listing_times()))
