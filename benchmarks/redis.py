"""RedisStore against redis-py encoding and sending each value by itself, and against py-key-value-aio's."""

from __future__ import annotations

import os
from typing import Any, Self

import msgspec
from key_value.aio.stores.redis import RedisStore as PeerStore
from redis.asyncio import Redis

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.redis import RedisStore


def url() -> str:
    return os.environ["SATCHEL_TEST_REDIS_URL"]


class PlainStore:
    """What a service writes for itself: encode and SET, GET and decode, a call each."""

    def __init__(self) -> None:
        self._client = Redis.from_url(url())
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


def run(report: Report) -> None:
    makers = {
        "plain redis-py": PlainStore,
        "satchel": lambda: RedisStore(url(), prefix="benchmark"),
        "py-key-value-aio": lambda: PeerStore(url=url()),
    }
    compare(report, makers)
