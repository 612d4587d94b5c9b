"""hishel's cache over satchel stores, through its own client for httpx."""

import httpx
import pytest
from hishel import Headers, Request, Response
from hishel.httpx import AsyncCacheTransport

from satchel import (
    Capability,
    ConfigurationError,
    DiskStore,
    MemoryStore,
    NullStore,
    UnsupportedOperationError,
    open_store,
)
from satchel.integrations.hishel import SatchelCacheStorage
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import PrefixCollectionsWrapper
from tests.servers import server_url


@pytest.fixture(params=["memory", "disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
async def store(request, tmp_path):
    made = {
        "memory": MemoryStore,
        "disk": lambda: DiskStore(tmp_path / "http.db"),
        "redis": lambda: PrefixCollectionsWrapper(open_store(server_url("redis")), prefix=tmp_path.name),
    }[request.param]()
    async with made:
        yield made


class Origin:
    """A server that counts its requests."""

    def __init__(self):
        self.count = 0

    def __call__(self, request):
        self.count += 1
        tag = f'"{request.headers.get("Accept-Language", "any")}"'
        seconds = 0 if request.url.path == "/stale" else 60
        headers = {"Cache-Control": f"max-age={seconds}", "ETag": tag, "Vary": "Accept-Language"}
        if tag in request.headers.get("If-None-Match", ""):
            return httpx.Response(304, headers=headers | {"Cache-Control": "max-age=60"})
        return httpx.Response(200, headers=headers, content=b"x" * int(request.url.params.get("size", 5)))


def client(origin, storage):
    return httpx.AsyncClient(
        transport=AsyncCacheTransport(next_transport=httpx.MockTransport(origin), storage=storage, rfc=True),
        base_url="http://origin",
    )


async def test_a_response_is_fetched_once(store):
    origin = Origin()
    async with client(origin, SatchelCacheStorage(store)) as one, client(origin, SatchelCacheStorage(store)) as other:
        for each in (one, one, other):
            assert (await each.get("/a")).content == b"xxxxx"
        assert origin.count == 1
        await one.get("/a", headers={"Accept-Language": "de"})
        await other.get("/a", headers={"Accept-Language": "de"})
        await other.get("/a")
        assert origin.count == 2
        await other.get("/b")
        assert origin.count == 3


async def test_a_stale_response_is_asked_for_again_and_its_headers_renewed(store):
    origin = Origin()
    async with client(origin, SatchelCacheStorage(store)) as one:
        assert [(await one.get("/stale")).content for _ in range(3)] == [b"xxxxx"] * 3
    assert origin.count == 2


async def test_a_body_that_is_too_large_passes_by(store):
    origin = Origin()
    async with client(origin, SatchelCacheStorage(store, max_stream_size=10)) as one:
        for _ in range(2):
            assert len((await one.get("/a", params={"size": "11"})).content) == 11
    assert origin.count == 2
    assert [name async for name in store.collections()] == []


async def chunks(*parts):
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


async def create(storage, key, *parts, read=True, **times):
    request, response = Request("GET", "http://x/"), Response(200, Headers({"A": "b"}), chunks(*parts))
    entry = await storage.create_entry(request, response, key, **times)
    if read:
        return entry.id, [part async for part in entry.response.stream]
    return entry.id, entry.response.stream


async def bodies(storage, key):
    return [[part async for part in entry.response.stream] for entry in await storage.get_entries(key)]


async def test_an_entry_is_there_once_it_was_read_to_the_end(store):
    storage = SatchelCacheStorage(store)
    identity, stream = await create(storage, "k", b"a", b"b", read=False)
    assert await anext(stream) == b"a"
    assert await storage.get_entries("k") == []
    await stream.aclose()
    assert await storage.get_entries("k") == []
    _, stream = await create(storage, "k", b"a", OSError("gone"), read=False)
    with pytest.raises(OSError, match="gone"):
        [part async for part in stream]
    assert await storage.get_entries("k") == []
    identity, read = await create(storage, "k", b"a", b"b")
    assert read == [b"a", b"b"]
    assert await bodies(storage, "k") == [[b"ab"]]
    await storage.update_headers(identity, Headers({"C": "d"}))
    assert dict((await storage.get_entries("k"))[0].response.headers) == {"c": "d"}
    await storage.remove_entry(identity)
    await storage.remove_entry(identity)
    await storage.update_headers(identity, Headers({"C": "e"}))
    assert await storage.get_entries("k") == []
    await create(storage, "k", b"c")
    assert await bodies(storage, "k") == [[b"c"]]


async def test_times():
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    storage = SatchelCacheStorage(store)
    await create(storage, "short", b"a", ttl=10)
    await create(storage, "idle", b"b", tti=10)
    await create(storage, "default", b"c")
    clock.advance(9)
    assert [len(await storage.get_entries(key)) for key in ("short", "idle", "default")] == [1, 1, 1]
    clock.advance(9)
    assert [len(await storage.get_entries(key)) for key in ("short", "idle", "default")] == [0, 1, 1]
    clock.advance(3600)
    assert [len(await storage.get_entries(key)) for key in ("short", "idle", "default")] == [0, 0, 0]
    await store.cull()
    assert [key async for name in store.collections() async for key in store.keys(name)] == []


async def test_a_store_that_fails_fails_no_request():
    origin = Origin()
    flaky = FlakyStore(failure_rate=1.0)
    async with client(origin, SatchelCacheStorage(flaky)) as one:
        assert [(await one.get("/a")).status_code for _ in range(2)] == [200, 200]
    assert origin.count == 2
    storage = SatchelCacheStorage(flaky)
    identity, read = await create(storage, "k", b"a")
    assert read == [b"a"]
    await storage.remove_entry(identity)
    await storage.update_headers(identity, Headers({}))


def test_a_store_without_conditional_writes_is_refused():
    class Poor(NullStore):
        capabilities = Capability.NONE

    with pytest.raises(UnsupportedOperationError):
        SatchelCacheStorage(Poor())


@pytest.mark.parametrize("size", [None, 0, "10", 1.5])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ConfigurationError, match=r"^max_stream_size must be an int of at least 1"):
        SatchelCacheStorage(MemoryStore(), max_stream_size=size)
