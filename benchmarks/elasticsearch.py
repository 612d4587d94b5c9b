"""ElasticsearchStore against its client indexing and getting documents one by one, and against py-key-value-aio's."""

from __future__ import annotations

import time
from typing import Any, Self

from elasticsearch import AsyncElasticsearch, BadRequestError
from key_value.aio.stores.elasticsearch import ElasticsearchStore as PeerStore

from benchmarks.harness import Report
from benchmarks.network import compare, port_of
from satchel.stores.elasticsearch import ElasticsearchStore
from satchel.stores.elasticsearch.document import MAPPING

STEPS = {1: 200, 32: 960}


def address() -> str:
    return f"http://127.0.0.1:{port_of('elasticsearch')}"


class PlainStore:
    """What a service writes for itself: a document with deadline and value for each entry, one request a call."""

    async def __aenter__(self) -> Self:
        self._client = AsyncElasticsearch(address(), request_timeout=60)
        try:
            await self._client.indices.create(index="plain", mappings=MAPPING)
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, collection: str, key: str) -> Any:
        found = await self._client.options(ignore_status=404).get(index="plain", id=f"{collection}:{key}")
        source = found.body.get("_source")
        return source["value"] if source is not None and source["deadline"] > time.time() else None

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        now = time.time()
        document = {"collection": collection, "key": key, "deadline": now + ttl, "updated_at": now, "value": value}
        await self._client.index(index="plain", id=f"{collection}:{key}", document=document)


def run(report: Report) -> None:
    makers = {
        "plain client": PlainStore,
        "satchel": lambda: ElasticsearchStore(f"elasticsearch://127.0.0.1:{port_of('elasticsearch')}"),
        "py-key-value-aio": lambda: PeerStore(url=address(), index_prefix="peer"),
    }
    compare(report, makers, STEPS)
