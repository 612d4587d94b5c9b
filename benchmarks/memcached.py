"""MemcachedStore against plain emcache doing the same work, and against py-key-value-aio's."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import emcache
import msgspec
from key_value.aio.stores.memcached import MemcachedStore as PeerStore

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import PROFILE
from satchel.stores.memcached import MemcachedStore

KEYS = [f"user:{number}" for number in range(2_000)]
STEPS = {1: 1_000, 32: 2_000, 90: 2_000}
PORT = urlsplit(os.environ.get("SATCHEL_TEST_MEMCACHED_URL", "memcached://127.0.0.1:11211")).port


class PlainStore:
    """What a service writes for itself: emcache as it comes, values encoded and set, got and decoded."""

    async def __aenter__(self) -> Self:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode
        self._client = await emcache.create_client([emcache.MemcachedHostAddress("127.0.0.1", PORT)], timeout=10)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, collection: str, key: str) -> Any:
        item = await self._client.get(f"{collection}:{key}".encode())
        return None if item is None else self._decode(item.value)

    async def put(self, collection: str, key: str, value: object, *, ttl: float) -> None:
        await self._client.set(f"{collection}:{key}".encode(), self._encode(value), exptime=int(time.time() + ttl))


def store() -> MemcachedStore:
    return MemcachedStore(port=PORT)


def peer() -> PeerStore:
    return PeerStore(host="127.0.0.1", port=PORT)


def _put(store: Any) -> Callable[[str], Awaitable[None]]:
    if isinstance(store, PeerStore):
        return lambda key: store.put(key, PROFILE, collection="peers", ttl=3600)
    return lambda key: store.put("users", key, PROFILE, ttl=3600)


def _get(store: Any) -> Callable[[str], Awaitable[Any]]:
    if isinstance(store, PeerStore):
        return lambda key: store.get(key, collection="peers")
    return lambda key: store.get("users", key)


def using(make: Callable[[], Any], verb: Callable[[Any], Callable[[str], Awaitable[Any]]]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with make() as store:
            for key in KEYS:
                await _put(store)(key)
            call = verb(store)

            async def work(steps: range) -> None:
                for step in steps:
                    await call(KEYS[step])

            yield work

    return contender


def run(report: Report) -> None:
    makers = {"plain emcache": PlainStore, "satchel": store, "py-key-value-aio": peer}
    for title, verb in (("put", _put), ("get", _get)):
        contenders = {name: using(make, verb) for name, make in makers.items()}
        for tasks, steps in STEPS.items():
            report.compare(title, contenders, steps=steps, tasks=tasks)
