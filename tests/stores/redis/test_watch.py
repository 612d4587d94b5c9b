"""Watching Redis: the suite on each kind of server, and what goes wrong on the way to it."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
import redis.asyncio

from satchel import Change, RedisStore, StoreError, StoreUnavailableError
from satchel.backend.watching import MAX_WAITING
from satchel.stores._redislike import watching
from satchel.stores._redislike.errors import ServerError
from satchel.stores._redislike.line import Parser, Push
from satchel.testing import WatchConformance
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.redis.servers import redis_with, tell
from tests.stores.watched import taken

LOST, READY = Change("lost", "c"), Change("ready", "c")


class Watch(WatchConformance):
    __test__ = False
    persistent = True

    def make_store(self, clock, place):
        return RedisStore(server_url(self.server), prefix=place.name, clock=clock)


@pytest.mark.server("redis")
class TestRedis(Watch):
    __test__ = True
    server = "redis"


@pytest.mark.night
@pytest.mark.server("redis82")
class TestRedis82(Watch):
    __test__ = True
    server = "redis82"


@pytest.mark.night
@pytest.mark.server("redis-cluster")
class TestCluster(Watch):
    __test__ = True
    server = "redis-cluster"


@pytest.mark.night
@pytest.mark.server("redis-sentinel")
class TestSentinel(Watch):
    __test__ = True
    server = "redis-sentinel"


@pytest.fixture
def prefix(tmp_path):
    return f"satchel-{tmp_path.name}-{random.randrange(10**9)}"  # it only has to be new


@pytest.fixture
async def store(prefix):
    async with RedisStore(server_url("redis"), prefix=prefix) as made:
        yield made
        await made.destroy()


@pytest.fixture
async def proxy():
    async with FaultyProxy(int(server_url("redis").rpartition(":")[2].partition("/")[0])) as made:
        yield made


async def watchers_of(client):
    return [one for one in await client.client_list() if "B" in one["flags"]]


@pytest.mark.server("redis")
@pytest.mark.parametrize("seed", [1, 2, 3, *(pytest.param(seed, marks=pytest.mark.night) for seed in range(4, 40))])
async def test_a_mirror_is_right_in_the_end_however_often_the_connection_is_cut(seed, store, proxy, prefix):
    """A reader that does what it is told misses nothing: not while it lists, nor while it is cut off."""
    chance = random.Random(seed)  # it makes the same history each time
    watching = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix)
    mirror: dict[str, object] = {}
    losses = 0

    async def follow():
        nonlocal losses
        async with watching.watch("c") as changes:
            began.set()
            async for change in changes:
                if change.kind == "lost":
                    losses += 1
                    mirror.clear()
                elif change.kind == "ready":
                    found = await store.get_many("c", [key async for key in store.keys("c")])
                    mirror.update(found)
                else:
                    value = await store.get("c", change.key)
                    if value is None:
                        mirror.pop(change.key, None)
                    else:
                        mirror[change.key] = value

    began = asyncio.Event()
    following = asyncio.ensure_future(follow())
    await began.wait()  # before that, a cut is an error
    for number in range(400):
        key = f"k{chance.randrange(30)}"
        if chance.random() < 0.2:
            await store.delete("c", key)
        else:
            await store.put("c", key, number)
        if chance.random() < 0.02:
            proxy.cut()
        if chance.random() < 0.02:
            proxy.cut_replies_after(chance.randrange(200))
        await asyncio.sleep(chance.choice([0, 0, 0.005]))
    truth = await store.get_many("c", [key async for key in store.keys("c")])

    def is_alike():
        assert not following.done(), following.exception()
        return mirror == truth

    await until(is_alike)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await watching.aclose()
    assert losses


@pytest.mark.server("redis")
async def test_a_half_open_connection_is_found_by_silence(store, proxy, prefix, monkeypatch):
    monkeypatch.setattr(watching, "CHECKED", 0.1)
    through = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix)
    async with through, through.watch("c") as changes:
        assert await taken(changes, 1) == [READY]
        proxy.silent = True
        with impatient(through):
            await store.put("c", "k", 1)
            assert await taken(changes, 1) == [LOST]
        proxy.silent = False
        assert await taken(changes, 1) == [READY]
        await store.put("c", "k", 2)
        assert await taken(changes, 1) == [Change("changed", "c", "k")]


@pytest.mark.server("redis")
async def test_a_server_that_refuses_connections_is_an_error_at_first_and_a_loss_later(store, proxy, prefix):
    proxy.refuse = True
    async with RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix) as through:
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            async with through.watch("c"):
                pytest.fail("nobody answers")
        proxy.refuse = False
        async with through.watch("c") as changes:
            assert await taken(changes, 1) == [READY]
            proxy.refuse = True
            proxy.cut()
            assert await taken(changes, 1) == [LOST]
            await asyncio.sleep(0.3)
            proxy.refuse = False
            assert await taken(changes, 1) == [READY]


@pytest.mark.server("redis")
async def test_a_flushed_server_is_lost_and_so_is_a_killed_connection():
    with redis_with() as server:
        async with RedisStore(server.url) as store, store.watch("c") as changes, store.watch("d") as others:
            assert [*await taken(changes, 1), *await taken(others, 1)] == [READY, Change("ready", "d")]
            for command in ("FLUSHALL", "FLUSHDB"):
                await tell(server, command)
                assert await taken(changes, 2) == [LOST, READY]
                assert await taken(others, 2) == [Change("lost", "d"), Change("ready", "d")]
            await tell(server, "CLIENT", "KILL", "TYPE", "pubsub")
            assert await taken(changes, 2) == [LOST, READY]


@pytest.mark.server("redis")
async def test_all_watchers_share_one_connection_which_ends_with_the_last_one():
    with redis_with() as server:
        client = redis.asyncio.Redis(port=server.port)
        async with RedisStore(server.url) as store, client:
            async with store.watch("c"), store.watch("c", prefix="a"), store.watch("d") as changes:
                assert len(await watchers_of(client)) == 1
                following = asyncio.ensure_future(anext(changes))
                await following

            async def nobody_watches():
                return await watchers_of(client) == []

            await until(nobody_watches)

            async def follow():
                async with store.watch("c") as changes:
                    async for _ in changes:
                        pass

            following = asyncio.ensure_future(follow())
            await until(lambda: watchers_of(client))
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await until(nobody_watches)


@pytest.mark.server("redis")
async def test_the_server_counts_a_watcher_among_those_whose_output_it_limits(store, prefix):
    async with store.watch("c"), redis.asyncio.Redis.from_url(server_url("redis")) as client:
        assert [one for one in await client.client_list(_type="pubsub") if "B" in one["flags"]]


@pytest.mark.server("redis")
async def test_what_others_publish_on_the_channel_disturbs_nothing(store):
    async with store.watch("c") as changes, redis.asyncio.Redis.from_url(server_url("redis")) as client:
        await taken(changes, 1)
        await client.publish("__redis__:invalidate", "k")
        async with store.watch("d") as others:
            await taken(others, 1)
            await store.put("d", "k", 1)
            assert await taken(others, 1) == [Change("changed", "d", "k")]
        await store.put("c", "k", 1)
        assert await taken(changes, 1) == [Change("changed", "c", "k")]


@pytest.mark.server("redis")
async def test_many_collections_are_asked_for_at_once(store, monkeypatch):
    """So that the server need not compare every key that changes with all their prefixes."""
    monkeypatch.setattr(watching, "_MOST_PREFIXES", 3)
    async with AsyncExitStack() as stack:
        names = [f"c{number}" for number in range(6)]
        watched = {name: await stack.enter_async_context(store.watch(name)) for name in names}
        assert await taken(watched["c0"], 2) == [Change("lost", "c0"), Change("ready", "c0")]
        for name in names[1:]:
            while (await taken(watched[name], 1)) != [Change("ready", name)]:
                pass
        for name in names:
            await store.put(name, "k", 1)
            assert await taken(watched[name], 1) == [Change("changed", name, "k")]


@pytest.mark.server("redis")
async def test_a_hundred_thousand_changes_are_one_loss_to_one_that_sleeps(store):
    async with store.watch("c") as changes:
        await taken(changes, 1)
        for start in range(0, 100_000, 10_000):
            await store.put_many("c", {f"k{number}": 1 for number in range(start, start + 10_000)})
        assert await taken(changes, 2) == [LOST, READY]
        await store.put("c", "last", 1)
        left = 0
        while (await taken(changes, 1)) != [Change("changed", "c", "last")]:
            left += 1
        assert left <= MAX_WAITING


@pytest.mark.server("redis")
async def test_a_user_who_may_not_watch_is_told_so():
    with redis_with() as server:
        await tell(server, "ACL", "SETUSER", "ada", "on", ">pw", "~*", "+@all", "-client|tracking")
        await tell(server, "ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "resetchannels")
        async with RedisStore(server.url, username="ada", password="pw") as store:
            with pytest.raises(StoreError, match="NOPERM"):
                async with store.watch("c"):
                    pytest.fail("the user may not watch")
            await store.put("c", "k", 1)
        async with RedisStore(server.url, username="bob", password="pw") as store, store.watch("c") as changes:
            await store.put("c", "k", 1)
            assert await taken(changes, 2) == [READY, Change("changed", "c", "k")]


@pytest.mark.server("redis")
async def test_another_database_and_a_client_that_speaks_resp_3_are_watched():
    with redis_with() as server:
        client = redis.asyncio.Redis(port=server.port, db=3, protocol=3, driver_info=None)
        async with client, RedisStore(client=client) as store, store.watch("c") as changes:
            await store.put("c", "k", 1)
            assert await taken(changes, 2) == [READY, Change("changed", "c", "k")]


@pytest.mark.night
@pytest.mark.server("redis-sentinel")
async def test_a_failover_is_lost_and_then_the_new_primary_is_watched():
    with private_server("redis-sentinel") as server:
        async with RedisStore(server.url) as store, store.watch("c") as changes:
            await taken(changes, 1)
            parts = server.url.split("/")[2]
            async with redis.asyncio.Redis(host=parts.split(":")[0], port=int(parts.split(":")[1])) as sentinel:
                await fail_over(sentinel, server.url.rpartition("/")[2])
            async with asyncio.timeout(40):
                assert [await anext(changes), await anext(changes)] == [LOST, READY]
                await put_in_the_end(store)
                while await anext(changes) != Change("changed", "c", "k"):
                    pass


async def fail_over(sentinel, service):
    """Have another server take over, once the Sentinel thinks one good enough."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await sentinel.execute_command("SENTINEL", "FAILOVER", service)
            except redis.exceptions.ResponseError:
                await asyncio.sleep(0.5)


async def put_in_the_end(store):
    while True:
        try:
            await store.put("c", "k", 1)
        except StoreError:
            await asyncio.sleep(0.2)
        else:
            return


@pytest.mark.night
@pytest.mark.server("redis-cluster")
async def test_a_replica_that_takes_over_is_watched(monkeypatch):
    monkeypatch.setattr(watching, "CHECKED", 0.5)
    with private_server("redis-cluster") as server:
        async with RedisStore(server.url) as store, store.watch("c") as changes:
            await taken(changes, 1)
            host, _, port = server.url.rpartition("/")[2].rpartition(":")
            async with redis.asyncio.Redis(host=host, port=int(port)) as node:
                lines = (await node.execute_command("CLUSTER", "NODES")).decode().splitlines()
            replica = next(line.split()[1].partition("@")[0] for line in lines if "slave" in line)
            async with redis.asyncio.Redis(host=host, port=int(replica.rpartition(":")[2])) as node:
                await node.execute_command("CLUSTER", "FAILOVER")
            async with asyncio.timeout(40):
                assert [await anext(changes), await anext(changes)] == [LOST, READY]
                for number in range(50):
                    await store.put("c", f"k{number}", 1)
                heard = set()
                while len(heard) < 50:
                    heard.add((await anext(changes)).key)


SAID = (
    b"%2\r\n+server\r\n$5\r\nredis\r\n+proto\r\n:3\r\n"
    b">2\r\n$10\r\ninvalidate\r\n*2\r\n$3\r\na\r\n\r\n$0\r\n\r\n"
    b">2\r\n$10\r\ninvalidate\r\n_\r\n"
    b"+PONG\r\n-NOPERM no\r\n$-1\r\n*0\r\n#t\r\n=5\r\ntxt:x\r\n"
)
MEANT = [
    [b"server", b"redis", b"proto", 3],
    [b"invalidate", [b"a\r\n", b""]],
    [b"invalidate", None],
    b"PONG",
    "NOPERM no",
    None,
    [],
    b"t",
    b"txt:x",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_replies_are_parsed_however_they_arrive(size):
    parser = Parser()
    whole = [reply for at in range(0, len(SAID), size) for reply in parser.feed(SAID[at : at + size])]
    assert [reply.text if isinstance(reply, ServerError) else reply for reply in whole] == MEANT
    assert [type(reply) is Push for reply in whole] == [False, True, True, *[False] * 6]


def test_what_is_no_resp_is_an_error():
    with pytest.raises(ConnectionError):
        Parser().feed(b"HTTP/1.1 400 Bad Request\r\n")
