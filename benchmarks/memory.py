"""MemoryStore against py-key-value-aio's, and against a plain dict of encoded values."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from key_value.aio.stores.memory import MemoryStore as PeerStore

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import PROFILE
from satchel import MemoryStore

STEPS = 5_000
KEYS = [f"user:{number}" for number in range(STEPS)]


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


def getting(make: Any, keys: list[str] = KEYS) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = make()
        for key in keys:
            await store.put("users", key, PROFILE)

        async def work(steps: range) -> None:
            get = store.get
            for step in steps:
                await get("users", keys[step])

        yield work

    return contender


def putting(make: Any) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = make()

        async def work(steps: range) -> None:
            put = store.put
            for step in steps:
                await put("users", KEYS[step], PROFILE)

        yield work

    return contender


@asynccontextmanager
async def peer_getting() -> AsyncIterator[Work]:
    store = PeerStore()
    for key in KEYS:
        await store.put(key, PROFILE, collection="users")

    async def work(steps: range) -> None:
        get = store.get
        for step in steps:
            await get(KEYS[step], collection="users")

    yield work


@asynccontextmanager
async def peer_putting() -> AsyncIterator[Work]:
    store = PeerStore()

    async def work(steps: range) -> None:
        put = store.put
        for step in steps:
            await put(KEYS[step], PROFILE, collection="users")

    yield work


def bounded() -> MemoryStore:
    return MemoryStore(max_entries_per_collection=STEPS, max_bytes=1024 * STEPS)


def run(report: Report) -> None:
    report.compare(
        "get",
        {
            "satchel": getting(MemoryStore),
            "satchel, bounded": getting(bounded),
            "py-key-value-aio": peer_getting,
            "dict of encoded values": getting(EncodedDict),
        },
        steps=STEPS,
    )
    report.compare(
        "put",
        {
            "satchel": putting(MemoryStore),
            "satchel, bounded": putting(bounded),
            "py-key-value-aio": peer_putting,
            "dict of encoded values": putting(EncodedDict),
        },
        steps=STEPS,
    )


if __name__ == "__main__":
    run(Report("memory"))
