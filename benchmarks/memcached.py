"""MemcachedStore against plain emcache doing the same work, and against py-key-value-aio's."""

from __future__ import annotations

import time
from typing import Any, Self

import emcache
import msgspec
from key_value.aio.stores.memcached import MemcachedStore as PeerStore

from benchmarks.harness import Report
from benchmarks.network import compare, port_of
from satchel.stores.memcached import MemcachedStore


class PlainStore:
    """What a service writes for itself: emcache as it comes, values encoded and set, got and decoded."""

    async def __aenter__(self) -> Self:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode
        self._client = await emcache.create_client(
            [emcache.MemcachedHostAddress("127.0.0.1", port_of("memcached"))], timeout=10
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, collection: str, key: str) -> Any:
        item = await self._client.get(f"{collection}:{key}".encode())
        return None if item is None else self._decode(item.value)

    async def put(self, collection: str, key: str, value: object, *, ttl: float) -> None:
        await self._client.set(f"{collection}:{key}".encode(), self._encode(value), exptime=int(time.time() + ttl))


def run(report: Report) -> None:
    makers = {
        "plain emcache": PlainStore,
        "satchel": lambda: MemcachedStore(port=port_of("memcached")),
        "py-key-value-aio": lambda: PeerStore(host="127.0.0.1", port=port_of("memcached")),
    }
    compare(report, makers)
