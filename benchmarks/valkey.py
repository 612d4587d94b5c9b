"""ValkeyStore against plain valkey-glide doing the same work, and against py-key-value-aio's."""

from __future__ import annotations

from typing import Any, Self

import glide
import msgspec
from key_value.aio.stores.valkey import ValkeyStore as PeerStore

from benchmarks.harness import Report
from benchmarks.network import compare, port_of
from satchel.stores.valkey import ValkeyStore


class PlainStore:
    """What a service writes for itself: values encoded and set, got and decoded, one command a call."""

    async def __aenter__(self) -> Self:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode
        address = glide.NodeAddress("127.0.0.1", port_of("valkey"))
        self._client = await glide.GlideClient.create(glide.GlideClientConfiguration([address], request_timeout=10_000))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, collection: str, key: str) -> Any:
        value = await self._client.get(f"{collection}:{key}")
        return None if value is None else self._decode(value)

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        expiry = glide.ExpirySet(glide.ExpiryType.SEC, ttl)
        await self._client.set(f"{collection}:{key}", self._encode(value), expiry=expiry)


def run(report: Report) -> None:
    makers = {
        "plain valkey-glide": PlainStore,
        "satchel": lambda: ValkeyStore(host="127.0.0.1", port=port_of("valkey")),
        "py-key-value-aio": lambda: PeerStore(host="127.0.0.1", port=port_of("valkey")),
    }
    compare(report, makers)
