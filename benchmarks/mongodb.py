"""MongoDBStore against plain PyMongo, one document a request, and against py-key-value-aio's store.

The server is the one of SATCHEL_TEST_MONGODB_URL; `export $(python3 scripts/servers start mongodb)` starts one. That is
an emulator, which takes several times as long for a request as MongoDB does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from key_value.aio.stores.mongodb import MongoDBStore as PeerStore
from pymongo import AsyncMongoClient

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.mongodb import MongoDBStore

STEPS = {1: 100, 32: 320}
PLACE = f"benchmark-{uuid4().hex[:8]}"


class PlainStore:
    """What a service writes for itself: the value as a document, found and replaced by its `_id`."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    async def get(self, collection: str, key: str) -> Any:
        document = await self._collection.find_one({"_id": f"{collection}/{key}"})
        return None if document is None else document["value"]

    async def put(self, collection: str, key: str, value: object, ttl: float) -> None:
        name = f"{collection}/{key}"
        document = {"_id": name, "value": value, "expire_at": datetime.now(UTC) + timedelta(seconds=ttl)}
        await self._collection.replace_one({"_id": name}, document, upsert=True)


@asynccontextmanager
async def plain() -> AsyncIterator[PlainStore]:
    async with AsyncMongoClient(url(), w="majority") as client:
        collection = client.satchel[f"{PLACE}-plain"]
        await collection.create_index("expire_at", expireAfterSeconds=0)  # as the others have it
        yield PlainStore(collection)


@asynccontextmanager
async def satchel() -> AsyncIterator[MongoDBStore]:
    async with MongoDBStore(url(), coll_name=f"{PLACE}-satchel") as store:
        yield store


@asynccontextmanager
async def peer() -> AsyncIterator[Any]:
    async with PeerStore(url=url(), db_name="satchel", coll_name=f"{PLACE}-peer") as store:
        yield store


def url() -> str:
    return os.environ["SATCHEL_TEST_MONGODB_URL"]


def run(report: Report) -> None:
    compare(report, {"plain PyMongo": plain, "satchel": satchel, "py-key-value-aio": peer}, STEPS)
