"""Near caches over real servers of Redis and Valkey, with connections that are cut, or that fall silent."""

import asyncio
import secrets
import time

import pytest

from satchel import RedisStore, StoreTimeoutError, StoreUnavailableError, ValkeyStore, open_store
from satchel.stores._redislike import watching
from satchel.testing import FakeClock
from satchel.wrappers import NearCacheWrapper, layer
from tests.patience import until
from tests.proxy import FaultyProxy
from tests.servers import server_url
from tests.stores.watched import follows

SERVERS = [
    pytest.param((kind, name), marks=pytest.mark.server(name), id=name)
    for kind, name in ((RedisStore, "redis"), (ValkeyStore, "valkey"))
]


@pytest.fixture(params=SERVERS)
def server(request):
    return request.param


@pytest.fixture
def prefix():
    return secrets.token_hex(8)


@pytest.fixture
async def other(server, prefix):
    kind, name = server
    async with kind(server_url(name), prefix=prefix) as made:
        yield made


def through(proxy, server, prefix, **options):
    kind, name = server
    scheme = server_url(name).partition(":")[0]
    return NearCacheWrapper(kind(f"{scheme}://127.0.0.1:{proxy.port}/0", prefix=prefix, **options), hot_ttl=None)


def port_of(server):
    return int(server_url(server[1]).rpartition(":")[2].partition("/")[0])


async def is_hot(near, value):
    async def is_read_from_hot():
        hits = near.snapshot().hot.hits
        return await near.get("c", "k") == value and near.snapshot().hot.hits > hits

    await until(is_read_from_hot)


async def becomes(near, value):
    async def is_read():
        try:
            return await near.get("c", "k") == value
        except StoreUnavailableError:
            return False

    await until(is_read)


async def test_what_another_process_changes_is_read(server, prefix, other):
    async with open_store(server_url(server[1]), prefix=prefix, wrap=["near"]) as store:
        await follows(layer(store, NearCacheWrapper), other)
        await other.delete("c", "k")
        await becomes(store, None)
        await store.put("c", "k", "mine")
        assert await store.get("c", "k") == "mine"
        await is_hot(layer(store, NearCacheWrapper), "mine")


async def test_what_another_process_puts_for_a_time_is_read_for_that_time(server, prefix, other):
    clock = FakeClock(time.time())
    inner = server[0](server_url(server[1]), prefix=prefix, clock=clock)
    async with NearCacheWrapper(inner, clock=clock) as near:
        await other.put("c", "k", "old")
        await is_hot(near, "old")
        await other.put("c", "k", "short", ttl=600)
        await is_hot(near, "short")
        clock.advance(601)
        assert await near.get("c", "k") is None


async def test_a_whole_collection_that_is_destroyed_elsewhere_is_not_read(server, prefix, other):
    async with NearCacheWrapper(server[0](server_url(server[1]), prefix=prefix)) as near:
        await near.put("c", "k", "old")
        await is_hot(near, "old")
        await other.destroy_collection("c")
        await becomes(near, None)


async def test_a_change_while_the_connection_is_cut_is_read(server, prefix, other):
    async with FaultyProxy(port_of(server)) as proxy, through(proxy, server, prefix) as near:
        for number in range(3):
            await other.put("c", "k", number)
            await becomes(near, number)
            await is_hot(near, number)
            proxy.refuse = True
            proxy.cut()
            await other.put("c", "k", f"{number}, unheard")
            await asyncio.sleep(0.05)
            proxy.refuse = False
            await becomes(near, f"{number}, unheard")
        assert near.snapshot().losses >= 3


async def test_a_connection_that_falls_silent_is_noticed_and_nothing_old_is_read_after_that(
    server, prefix, other, monkeypatch
):
    monkeypatch.setattr(watching, "CHECKED", 0.05)
    async with FaultyProxy(port_of(server)) as proxy, through(proxy, server, prefix, timeout=0.5) as near:
        await other.put("c", "k", "old")
        await is_hot(near, "old")
        proxy.silent = True
        await other.put("c", "k", "new")

        async def is_noticed():
            return near.snapshot().losses > 0

        await until(is_noticed)
        with pytest.raises((StoreTimeoutError, StoreUnavailableError)):
            await near.get("c", "k")
        proxy.silent = False
        proxy.cut()
        await becomes(near, "new")


async def test_a_flood_of_changes_ends_in_what_the_server_has(server, prefix, other):
    async with NearCacheWrapper(server[0](server_url(server[1]), prefix=prefix)) as near:
        await other.put("c", "k", "old")
        await is_hot(near, "old")
        for number in range(3):
            await other.put_many("c", {f"other {key}": number for key in range(4000)})
            await other.put("c", "k", number)
            await becomes(near, number)
        await other.destroy()
