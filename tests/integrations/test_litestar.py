"""Litestar's stores, the middlewares that use them, and what its own tests ask of a store."""

import asyncio
from datetime import timedelta

import pytest
from litestar import Litestar, Request, get
from litestar.config.response_cache import ResponseCacheConfig
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.base import NamespacedStore
from litestar.stores.registry import StoreRegistry
from litestar.testing import AsyncTestClient

from satchel import Capability, DiskStore, MemoryStore, UnsupportedOperationError, open_store
from satchel.integrations.litestar import LitestarStore
from satchel.testing import FakeClock
from satchel.wrappers import PrefixCollectionsWrapper
from tests.servers import server_url


@pytest.fixture(params=["memory", "disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
def make(request, tmp_path):
    """A function that makes a store over one and the same place."""
    memory = MemoryStore()
    return {
        "memory": lambda: memory,
        "disk": lambda: DiskStore(tmp_path / "litestar.db"),
        "redis": lambda: PrefixCollectionsWrapper(open_store(server_url("redis")), prefix=tmp_path.name),
    }[request.param]


@pytest.fixture
async def store(make):
    async with make() as inner:
        yield LitestarStore(inner)


async def test_get_set_and_delete(store):
    assert await store.get("key") is None
    await store.set("key", b"value")
    await store.set("text", "äöü")
    assert await store.get("key") == b"value"
    assert await store.get("text") == "äöü".encode()
    await store.set("key", b"")
    assert await store.get("key") == b""
    assert await store.exists("key")
    await store.delete("key")
    await store.delete("key")
    assert not await store.exists("key")


@pytest.mark.parametrize("seconds", [100, timedelta(seconds=100)])
async def test_times(store, seconds):
    await store.set("key", b"value", expires_in=seconds)
    await store.set("forever", b"value")
    assert await store.expires_in("key") in (99, 100)
    assert await store.expires_in("forever") is None
    assert await store.expires_in("absent") is None
    assert await store.get("key", renew_for=timedelta(seconds=1000)) == b"value"
    assert await store.expires_in("key") in (999, 1000)
    assert await store.get("forever", renew_for=10) == b"value"
    assert await store.expires_in("forever") is None
    assert await store.get("absent", renew_for=10) is None
    await store.set("key", b"other", expires_in=0)
    assert await store.get("key") is None


async def test_an_expired_value_is_gone():
    clock = FakeClock()
    store = LitestarStore(MemoryStore(clock=clock))
    await store.set("key", b"value", expires_in=10)
    clock.advance(9)
    assert await store.get("key", renew_for=10) == b"value"
    clock.advance(9)
    assert await store.get("key") == b"value"
    clock.advance(1)
    assert await store.get("key") is None
    assert not await store.exists("key")


async def test_namespaces(store):
    inside = store.with_namespace("inside")
    deeper = inside.with_namespace("deeper")
    slash = store.with_namespace("inside/deeper")
    assert isinstance(inside, NamespacedStore)
    for number, one in enumerate((store, inside, deeper, slash)):
        await one.set("key", str(number))
    assert [await one.get("key") for one in (store, inside, deeper, slash)] == [b"0", b"1", b"2", b"3"]
    await inside.delete_all()
    assert [await one.get("key") for one in (store, inside, deeper, slash)] == [b"0", None, None, b"3"]
    await store.delete_all()
    assert [await one.get("key") for one in (store, slash)] == [None, None]


@pytest.mark.parametrize("key", ["", "x" * 5000, "\udc80", "sha256 x"])
async def test_keys_that_a_store_does_not_take_are_kept(store, key):
    await store.set(key, b"value")
    await store.set(key + "y", b"other")
    assert await store.get(key) == b"value"
    assert await store.get(key + "y") == b"other"
    await store.delete(key)
    assert not await store.exists(key)


def test_a_store_that_lacks_something_is_refused():
    class Poor(MemoryStore):
        capabilities = Capability.NONE

    with pytest.raises(UnsupportedOperationError):
        LitestarStore(Poor())


async def test_an_application_keeps_its_sessions_cache_and_limits_in_it(make):
    calls = 0

    @get("/visits")
    async def visits(request: Request) -> int:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return request.session["visits"]

    @get("/cached", cache=60)
    async def cached() -> int:
        nonlocal calls
        calls += 1
        return calls

    root = LitestarStore(make())
    app = Litestar(
        [visits, cached],
        logging_config=None,
        stores=StoreRegistry(default_factory=root.with_namespace),
        response_cache_config=ResponseCacheConfig(store="responses"),
        middleware=[
            ServerSideSessionConfig(store="sessions").middleware,
            RateLimitConfig(rate_limit=("minute", 9), store="limits").middleware,
        ],
    )
    async with AsyncTestClient(app) as client:
        assert [(await client.get("/visits")).json() for _ in range(3)] == [1, 2, 3]
        await client.get("/cached")
        await asyncio.sleep(0)
        assert (await client.get("/cached")).json() == 1
        assert (await client.get("/cached", params={"q": "x" * 6000})).status_code == 200
        assert [(await client.get("/visits")).status_code for _ in range(4)] == [200, 200, 200, 429]
    if isinstance(make(), MemoryStore):
        return  # it was closed with the application
    async with make() as inner:
        names = [name async for name in inner.collections()]
    assert sorted(names) == ["litestar/limits", "litestar/responses", "litestar/sessions"]
