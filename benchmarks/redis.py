"""RedisStore against redis-py encoding and sending each value by itself, and against py-key-value-aio's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
from key_value.aio.stores.redis import RedisStore as PeerStore
from redis.asyncio import Redis

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import PROFILE
from satchel.stores.redis import RedisStore

URL = os.environ.get("SATCHEL_TEST_REDIS_URL", "redis://localhost:6379/0")
TTL = 3600
KEYS = [f"user:{number}" for number in range(500)]
STEPS = {1: 400, 32: 3_200, 90: 3_600}


class PlainStore:
    """What a service writes for itself: encode and SET, GET and decode, a call each."""

    def __init__(self) -> None:
        self._client = Redis.from_url(URL)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, collection: str, key: str) -> Any:
        found = await self._client.get(f"plain:{collection}:{key}")
        return None if found is None else self._decode(found)

    async def put(self, collection: str, key: str, value: object, ttl: float) -> None:
        await self._client.set(f"plain:{collection}:{key}", self._encode(value), px=int(ttl * 1000))


class Store(RedisStore):
    def __init__(self) -> None:
        super().__init__(URL, prefix="benchmark")


class Peer(PeerStore):
    """py-key-value-aio's."""

    def __init__(self) -> None:
        super().__init__(url=URL)


def using(make: Callable[[], Any], verb: Callable[[Any], Callable[[str], Awaitable[Any]]]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with make() as store:
            put = _put(store)
            for key in KEYS:
                await put(key)
            call = verb(store)

            async def work(steps: range) -> None:
                for step in steps:
                    await call(KEYS[step % len(KEYS)])

            yield work

    return contender


def _put(store: Any) -> Callable[[str], Awaitable[None]]:
    if isinstance(store, Peer):
        return lambda key: store.put(key, PROFILE, collection="users", ttl=TTL)
    return lambda key: store.put("users", key, PROFILE, ttl=TTL)


def _get(store: Any) -> Callable[[str], Awaitable[Any]]:
    if isinstance(store, Peer):
        return lambda key: store.get(key, collection="users")
    return lambda key: store.get("users", key)


def run(report: Report) -> None:
    makers = {"satchel": Store, "plain redis-py": PlainStore, "py-key-value-aio": Peer}
    for title, verb in (("get", _get), ("put with ttl", _put)):
        contenders = {name: using(make, verb) for name, make in makers.items()}
        for tasks, steps in STEPS.items():
            report.compare(title, contenders, steps=steps, tasks=tasks)
