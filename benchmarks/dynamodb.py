"""DynamoDBStore against plain aiobotocore, one item a request, and against py-key-value-aio's store.

The server is the one of SATCHEL_TEST_DYNAMODB_URL; `export $(python3 scripts/servers start dynamodb)` starts one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any
from uuid import uuid4

import aiobotocore.session
import msgspec

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import PROFILE
from satchel.stores.dynamodb import DynamoDBStore

KEYS = [f"user:{number}" for number in range(640)]
STEPS = {1: 160, 32: 640, 256: 640}
TABLE = f"benchmark-{uuid4().hex[:8]}"
CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}


def url() -> str:
    return os.environ["SATCHEL_TEST_DYNAMODB_URL"]


def new_client() -> AbstractAsyncContextManager[Any]:
    return aiobotocore.session.get_session().create_client("dynamodb", endpoint_url=url(), **CREDENTIALS)


def peer_class() -> Any:
    """Return py-key-value-aio's store. It imports aioboto3, which needs an older aiobotocore, only to make a client."""
    for name in ("aioboto3", "aioboto3.session"):
        module = ModuleType(name)
        module.Session = aiobotocore.session.AioSession  # type: ignore[attr-defined]  # modules take any attribute
        sys.modules.setdefault(name, module)
    from key_value.aio.stores.dynamodb import DynamoDBStore as PeerStore  # noqa: PLC0415  # after the line above

    return PeerStore


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

    async def put(self, collection: str, key: str, value: object) -> None:
        item = {**_key(collection, key), "value": {"S": self._encode(value).decode()}}
        await self._client.put_item(TableName=TABLE, Item=item)


def _key(collection: str, key: str) -> dict[str, Any]:
    return {"collection": {"S": collection}, "key": {"S": key}}


@asynccontextmanager
async def plain() -> AsyncIterator[Any]:
    async with new_client() as client:
        yield PlainStore(client)


@asynccontextmanager
async def peer() -> AsyncIterator[Any]:
    async with new_client() as client, peer_class()(client=client, table_name=TABLE) as store:
        yield store


def satchel() -> DynamoDBStore:
    return DynamoDBStore(TABLE, endpoint_url=url(), create_table=True, **CREDENTIALS)


def using(make: Callable[[], AbstractAsyncContextManager[Any]], verb: str) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with satchel() as store:
            await store.ping()  # makes the table
        async with make() as store:
            collection = make.__name__  # what one wrote, no other can read
            for key in KEYS:
                await _call(store, "put", collection, key)

            async def work(steps: range) -> None:
                for step in steps:
                    await _call(store, verb, collection, KEYS[step])

            yield work

    return contender


def _call(store: Any, verb: str, collection: str, key: str) -> Awaitable[Any]:
    value = (PROFILE,) if verb == "put" else ()
    method = getattr(store, verb)
    called: Awaitable[Any] = (
        method(collection, key, *value)
        if isinstance(store, (DynamoDBStore, PlainStore))
        else method(key, *value, collection=collection)
    )
    return called


def run(report: Report) -> None:
    for verb in ("put", "get"):
        contenders = {
            "plain aiobotocore": using(plain, verb),
            "satchel": using(satchel, verb),
            "py-key-value-aio": using(peer, verb),
        }
        for tasks, steps in STEPS.items():
            report.compare(verb, contenders, steps=steps, tasks=tasks)
