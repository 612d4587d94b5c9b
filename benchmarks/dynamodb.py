"""DynamoDBStore against plain aiobotocore, one item a request, and against py-key-value-aio's store.

The server is the one of SATCHEL_TEST_DYNAMODB_URL; `export $(python3 scripts/servers start dynamodb)` starts one.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import aiobotocore.session
import msgspec

from benchmarks.harness import Report
from benchmarks.network import compare, stand_in_for_aioboto3
from satchel.stores.dynamodb import DynamoDBStore

STEPS = {1: 160, 32: 640, 256: 640}
TABLE = f"benchmark-{uuid4().hex[:8]}"
CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}


def url() -> str:
    return os.environ["SATCHEL_TEST_DYNAMODB_URL"]


def new_client() -> AbstractAsyncContextManager[Any]:
    return aiobotocore.session.get_session().create_client("dynamodb", endpoint_url=url(), **CREDENTIALS)


class PlainStore:
    """What a service writes for itself: consistent reads, one item a request, the driver's own settings."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def get(self, collection: str, key: str) -> Any:
        answer = await self._client.get_item(TableName=TABLE, Key=_key(collection, key), ConsistentRead=True)
        item = answer.get("Item")
        return None if item is None else self._decode(item["value"]["S"])

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        expiry = {"N": str(int(time.time() + ttl))}
        item = {**_key(collection, key), "value": {"S": self._encode(value).decode()}, "ttl": expiry}
        await self._client.put_item(TableName=TABLE, Item=item)


def _key(collection: str, key: str) -> dict[str, Any]:
    return {"collection": {"S": f"plain {collection}"}, "key": {"S": key}}


@asynccontextmanager
async def plain() -> AsyncIterator[Any]:
    async with satchel() as store, new_client() as client:
        await store.ping()  # makes the table
        yield PlainStore(client)


@asynccontextmanager
async def peer() -> AsyncIterator[Any]:
    stand_in_for_aioboto3()
    from key_value.aio.stores.dynamodb import DynamoDBStore as PeerStore  # noqa: PLC0415  # after the line above

    async with new_client() as client, PeerStore(client=client, table_name=TABLE) as store:
        yield store


def satchel() -> DynamoDBStore:
    return DynamoDBStore(TABLE, endpoint_url=url(), create_table=True, **CREDENTIALS)


def run(report: Report) -> None:
    compare(report, {"plain aiobotocore": plain, "satchel": satchel, "py-key-value-aio": peer}, STEPS)
