"""MemoryStore against py-key-value-aio's, and against a plain dict of encoded values."""

from __future__ import annotations

import asyncio
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from key_value.aio.stores.memory import MemoryStore as PeerStore

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST, PROFILE
from satchel import MemoryStore

Value = dict[str, Any]

STEPS = 5_000
KEYS = [f"user:{number}" for number in range(STEPS)]
MILLION = 1_000_000


class EncodedDict:
    """The least that could be called a store: a dict of msgspec-encoded bytes behind async functions."""

    def __init__(self) -> None:
        self._data: dict[tuple[str, str], bytes] = {}
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def get(self, collection: str, key: str) -> Any:
        payload = self._data.get((collection, key))
        return None if payload is None else self._decode(payload)

    async def put(self, collection: str, key: str, value: object) -> None:
        self._data[collection, key] = self._encode(value)


def getting(make: Callable[[], Any], value: Value, entries: int = STEPS) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = make()
        keys = [f"user:{number}" for number in range(entries)]
        for key in keys:
            await store.put("users", key, value)
        asked = random.Random(1).choices(keys, k=STEPS)  # noqa: S311  # no secret

        async def work(steps: range) -> None:
            get = store.get
            for step in steps:
                await get("users", asked[step])

        yield work

    return contender


def putting(make: Callable[[], Any], value: Value, *, anew: bool = False) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = make()

        async def work(steps: range) -> None:
            put = (make() if anew else store).put
            for step in steps:
                await put("users", KEYS[step], value)

        yield work

    return contender


class Peer:
    """py-key-value-aio's store, with the loop's own way of calling it: no call in between."""

    @staticmethod
    def getting(value: Value) -> Contender:
        @asynccontextmanager
        async def contender() -> AsyncIterator[Work]:
            store = PeerStore()
            for key in KEYS:
                await store.put(key, value, collection="users")
            asked = random.Random(1).choices(KEYS, k=STEPS)  # noqa: S311  # no secret

            async def work(steps: range) -> None:
                get = store.get
                for step in steps:
                    await get(asked[step], collection="users")

            yield work

        return contender

    @staticmethod
    def putting(value: Value, *, anew: bool = False) -> Contender:
        @asynccontextmanager
        async def contender() -> AsyncIterator[Work]:
            store = PeerStore()

            async def work(steps: range) -> None:
                put = (PeerStore() if anew else store).put
                for step in steps:
                    await put(KEYS[step], value, collection="users")

            yield work

        return contender


def bounded() -> MemoryStore:
    return MemoryStore(max_entries_per_collection=2 * STEPS, max_bytes=1024 * STEPS)


def run(report: Report) -> None:
    for name, value in (("profile", PROFILE), ("post", POST)):
        report.compare(
            f"get a {name}",
            {
                "satchel": getting(MemoryStore, value),
                "satchel, bounded": getting(bounded, value),
                "py-key-value-aio": Peer.getting(value),
                "dict of encoded values": getting(EncodedDict, value),
            },
            steps=STEPS,
        )
        for anew, how in ((False, "overwriting"), (True, "into an empty store")):
            report.compare(
                f"put a {name}, {how}",
                {
                    "satchel": putting(MemoryStore, value, anew=anew),
                    "satchel, bounded": putting(bounded, value, anew=anew),
                    "py-key-value-aio": Peer.putting(value, anew=anew),
                    "dict of encoded values": putting(EncodedDict, value, anew=anew),
                },
                steps=STEPS,
            )
    sizes = (10**3, 10**4, 10**5, 10**6)
    many = {f"satchel, {size:,} entries": getting(MemoryStore, PROFILE, size) for size in sizes}
    many |= {f"dict, {size:,} entries": getting(EncodedDict, PROFILE, size) for size in (sizes[0], sizes[-1])}
    report.compare("get at random among many entries", many, steps=STEPS)
    report.table("list 1,000,000 keys", {"satchel": asyncio.run(list_a_million())})
    report.table("20,000 expired entries, unasked", {"satchel": asyncio.run(free_expired())})


async def list_a_million() -> dict[str, float]:
    store = MemoryStore(seed={"users": dict.fromkeys(map(str, range(MILLION)))})
    started = time.perf_counter()
    count = 0
    async for _ in store.keys("users"):
        count += 1
    seconds = time.perf_counter() - started
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    async for _ in store.keys("users"):
        pass
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return {"keys": count, "seconds": seconds, "peak KiB": peak / 1024}


async def free_expired() -> dict[str, float]:
    """Put entries with a ttl of a few seconds, then only wait."""
    store = MemoryStore()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):
        await store.put("users", f"user:{number}", PROFILE, ttl=3)
    full = tracemalloc.get_traced_memory()[0] - before
    started = time.perf_counter()
    longest = 0.0
    while tracemalloc.get_traced_memory()[0] - before > full / 20 and time.perf_counter() - started < 60:
        turn = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - turn)
    left = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {
        "MiB before": full / 2**20,
        "MiB after": left / 2**20,
        "after s": time.perf_counter() - started,
        "longest turn ms": longest * 1e3,
    }
