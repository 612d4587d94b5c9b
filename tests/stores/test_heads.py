"""Whether an entry is there is known without reading its value, which stays on the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from satchel import open_store
from satchel.stores.dynamodb import DynamoDBStore
from satchel.stores.elasticsearch import ElasticsearchStore
from satchel.stores.mongodb import MongoDBStore
from satchel.stores.objectstore import ObjectStore  # noqa: F401  # the first import would block the event loop
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.redis import RedisStore
from satchel.stores.sql import SQLStore
from satchel.stores.valkey import ValkeyStore
from satchel.testing import FakeClock
from tests.proxy import FaultyProxy
from tests.servers import server_url
from tests.stores.dynamodb.table import ANY_CREDENTIALS
from tests.stores.postgresql.tables import table_for

MEGABYTE = 1_000_000
FEW = 12_288
"""The most bytes of replies to twelve questions for one entry each, with what the protocol has around them."""


def dynamodb(port: int, name: str, **options: Any) -> Any:
    return DynamoDBStore(name, endpoint_url=f"http://127.0.0.1:{port}", create_table=True, **ANY_CREDENTIALS, **options)


def by_url(store: Any, url: str, option: str) -> Callable[..., Any]:
    def make(port: int, name: str, **options: Any) -> Any:
        return store(url=url.format(port=port), **{option: name}, **options)

    return make


MAKERS: dict[str, tuple[Callable[..., Any], int]] = {
    "redis": (by_url(RedisStore, "redis://127.0.0.1:{port}/0", "prefix"), MEGABYTE),
    "valkey": (by_url(ValkeyStore, "valkey://127.0.0.1:{port}/0", "prefix"), MEGABYTE),
    "postgresql": (by_url(PostgreSQLStore, "postgresql://postgres@127.0.0.1:{port}/postgres", "table_name"), MEGABYTE),
    "mariadb": (by_url(SQLStore, "mariadb://satchel@127.0.0.1:{port}/satchel", "table_name"), MEGABYTE),
    "dynamodb": (dynamodb, 300_000),
    "mongodb": (by_url(MongoDBStore, "mongodb://127.0.0.1:{port}/?directConnection=true", "coll_name"), MEGABYTE),
    "elasticsearch": (by_url(ElasticsearchStore, "elasticsearch://127.0.0.1:{port}", "index_prefix"), 500_000),
    "s3": (lambda port, name, **options: open_store(s3_url(port), prefix=name, **options), MEGABYTE),
}


def s3_port() -> int:
    return int(server_url("s3").partition("endpoint=http://127.0.0.1:")[2].partition("&")[0])


def s3_url(port: int) -> str:
    return server_url("s3").replace(f":{s3_port()}", f":{port}")


class Place:
    """Has a store behind a proxy that counts, and a clock."""

    def __init__(self, store: Any, proxy: FaultyProxy, clock: FakeClock, size: int) -> None:
        self.store, self.proxy, self.clock, self.size = store, proxy, clock, size


async def concurrently(store: Any, keys: list[str]) -> list[bool]:
    return await asyncio.gather(*[store.exists("c", key) for key in keys])


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.server(name)) for name in MAKERS])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    make, size = MAKERS[request.param]
    port = s3_port() if request.param == "s3" else urlsplit(server_url(request.param)).port
    clock = FakeClock()
    async with FaultyProxy(port or 0) as proxy, make(proxy.port, table_for(tmp_path), clock=clock) as store:
        yield Place(store, proxy, clock, size)
        await store.destroy()


async def test_exists_of_a_large_value_moves_few_bytes(place: Place) -> None:
    store = place.store
    await store.put("c", "large", b"x" * place.size)
    await store.exists("c", "large")  # so that there is a connection
    before = place.proxy.answered
    assert [await store.exists("c", "large") for _ in range(12)] == [True] * 12
    assert place.proxy.answered - before < FEW
    await store.get("c", "large")
    assert place.proxy.answered - before > place.size, "the proxy counts what a value takes"


async def test_of_many_that_are_asked_at_once_each_has_its_own_answer(place: Place) -> None:
    store = place.store
    await store.put_many("c", {"bytes": b"x" * 100_000, "json": {"a": [1, 2]}, "null": None})
    await store.put("c", "short", b"x" * 100_000, ttl=5)
    keys = ["bytes", "missing", "json", "short", "null", "bytes"]
    before = place.proxy.answered
    assert await concurrently(store, keys) == [True, False, True, True, True, True]
    assert place.proxy.answered - before < FEW
    place.clock.advance(6)
    assert await concurrently(store, keys) == [True, False, True, False, True, True]
