"""What the tests of ElasticsearchStore share: stores on the shared server whose indices are removed after each test."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest_asyncio
from elasticsearch import AsyncElasticsearch

from satchel.stores.elasticsearch import ElasticsearchStore
from tests.servers import server_url

_made: set[str] = set()


def make_store(index_prefix: str, url: str | None = None, **options: Any) -> ElasticsearchStore:
    """Make a store on the shared server, or on what stands before it."""
    _made.add(index_prefix)
    return ElasticsearchStore(url or server_url("elasticsearch"), index_prefix=index_prefix, **options)


@pytest_asyncio.fixture(autouse=True)
async def indices_go(client: AsyncElasticsearch) -> AsyncIterator[None]:
    """Remove what a test made: a cluster has room for a thousand or so."""
    yield
    if _made:
        every = ",".join(f"{name}*" for name in _made)
        found = await client.indices.get_mapping(index=every, allow_no_indices=True)
        _made.clear()
        if found.body:
            await client.indices.delete(index=list(found.body))


@pytest_asyncio.fixture(name="client")
async def looking() -> AsyncIterator[AsyncElasticsearch]:
    """Give a client of the shared server, to look at what the store does and to spoil it."""
    async with AsyncElasticsearch(server_url("elasticsearch").replace("elasticsearch", "http", 1)) as made:
        yield made


@pytest_asyncio.fixture(name="prefix")
async def new_prefix() -> str:
    """Give a name for an index that no other test has."""
    name = f"satchel-{uuid4().hex[:12]}"
    _made.add(name)
    return name
