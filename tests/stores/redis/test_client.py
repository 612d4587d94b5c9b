"""Clients that are passed in, sockets of every kind, and what URLs and options say."""

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster

from satchel import ConfigurationError, StoreUnavailableError, open_store
from satchel.stores.redis import RedisStore
from tests.servers import server_url
from tests.stores.redis.servers import HOST, plain_client, redis_with

pytestmark = pytest.mark.server("redis")
SECRET = "hunter2"


async def use(store):
    """Do a little of everything."""
    await store.put("c", "k", {"a": b"".hex()}, ttl=60)
    await store.put_many("c", {str(number): b"\xff\x00" for number in range(30)})
    assert await store.get("c", "k") == {"a": ""}
    assert (await store.get_many("c", ["1", "missing"])) == {"1": b"\xff\x00"}
    assert await store.put_if_absent("c", "k", 1) is None
    assert await store.touch("c", "k", ttl=None) is True
    assert len([key async for key in store.keys("c")]) == 31
    assert [name async for name in store.collections()] == ["c"]
    await store.ping()
    assert await store.destroy() is True


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}, {"protocol": 2}], ids=str)
async def test_a_client_is_used_and_stays_open(options, request):
    client = Redis.from_url(server_url("redis"), driver_info=None, **options)
    store = RedisStore(client=client, prefix=request.node.name)
    await use(store)
    await store.aclose()
    assert await client.ping()
    assert "client=Redis(...)" in repr(store)
    await client.aclose()


@pytest.mark.server("redis-cluster")
@pytest.mark.parametrize("options", [{}, {"decode_responses": True}], ids=str)
async def test_a_client_of_a_cluster_is_used_and_stays_open(options, request):
    host, port = server_url("redis-cluster").rpartition("/")[2].split(":")
    client = RedisCluster(host=host, port=int(port), driver_info=None, **options)
    store = RedisStore(client=client, prefix=request.node.name)
    await use(store)
    await store.aclose()
    assert await client.ping()
    await client.aclose()


async def test_a_small_pool_of_a_client_is_enough(request):
    pool = BlockingConnectionPool.from_url(server_url("redis"), max_connections=1, driver_info=None)
    async with Redis.from_pool(pool) as client:
        store = RedisStore(client=client, prefix=request.node.name)
        await use(store)
        await store.aclose()


async def test_an_exhausted_pool_of_a_client_says_so(request):
    async with Redis.from_url(server_url("redis"), max_connections=1, driver_info=None) as client:
        taken = await client.connection_pool.get_connection()
        async with RedisStore(client=client) as store:
            with pytest.raises(StoreUnavailableError, match="no connection free"):
                await store.get("c", "k")
        await client.connection_pool.release(taken)


@pytest.mark.parametrize("client", [object(), 5, "redis://localhost"])
def test_what_is_no_client_is_refused(client):
    with pytest.raises(ConfigurationError, match=r"client must be a redis\.asyncio\.Redis"):
        RedisStore(client=client)


def test_a_client_that_blocks_is_refused():
    with plain_client(server_url("redis")) as client, pytest.raises(ConfigurationError, match=r"redis\.asyncio"):
        RedisStore(client=client)


async def test_unix_sockets(tmp_path):
    path = tmp_path / "redis.sock"
    with redis_with("--unixsocket", str(path)):
        async with open_store(f"unix://{path}?db=3&prefix=unix") as store:
            await use(store)
        assert str(store.describe()) == f"unix://{path}?db=3&prefix=unix"


async def test_host_and_port(request):
    port = int(server_url("redis").rpartition(":")[2].partition("/")[0])
    async with RedisStore(host=HOST, port=port, db=5, prefix=request.node.name) as store:
        await use(store)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://", "redis://localhost:6379/0"),
        ("redis://example.org/7", "redis://example.org:6379/7"),
        (f"redis://:{SECRET}@[::1]:1234", "redis://[::1]:1234/0"),
        (f"rediss://user:{SECRET}@h?ssl_cert_reqs=none", "rediss://h:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        (f"redis+cluster://u:{SECRET}@a,b:7?ssl=true", "redis+cluster://a:6379,b:7"),
        (f"redis+sentinel://:{SECRET}@a,b:7/main/2", "redis+sentinel://a:26379,b:7/main"),
    ],
)
def test_every_form_of_url_opens_and_shows_no_secret(url, shown):
    store = open_store(url)
    assert repr(store) == f"RedisStore({shown})"
    assert SECRET not in f"{store.describe()} {store.describe()!r} {vars(store)['_address']!r}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://x"}, "begins with one of"),
        ({"url": 5}, "url must be a str"),
        ({"url": "redis://h/x"}, "must be a number"),
        ({"url": "redis://h:x"}, "port of the URL must be"),
        ({"url": "redis://h?nonsense=1"}, "option of a URL of Redis 'nonsense'"),
        ({"url": "redis://h?ssl_ca_certs=x"}, "options of TLS"),
        ({"url": "redis+cluster://h/3"}, "database 0 alone"),
        ({"url": "redis+sentinel://h"}, "name-of-the-service"),
        ({"url": "redis://a,b"}, "one host"),
        ({"url": "unix://"}, "unix:///path"),
        ({"url": "redis://u@h", "username": "v"}, "username is given twice"),
        ({"url": "redis://h", "host": "h"}, "url excludes host"),
        ({"client": object(), "password": SECRET}, "client excludes password"),
        ({"url": "rediss://h", "tls": True}, "url excludes tls"),
        ({"tls": 1}, "tls must be a bool"),
        ({"ca_certs": "ca.pem"}, "ca_certs needs TLS"),
        ({"url": "redis://h", "ca_certs": "ca.pem"}, "ca_certs needs TLS"),
        ({"url": "rediss://h?ssl_ca_certs=a.pem", "ca_certs": "b.pem"}, "ca_certs is given twice"),
        ({"tls": True, "ca_certs": 5}, "ca_certs must be"),
        ({"db": -1}, "db must be"),
        ({"port": 0}, "port must be"),
        ({"prefix": ""}, "prefix must be"),
    ],
)
def test_a_wrong_option_is_refused(options, said):
    with pytest.raises(ConfigurationError, match=said) as refusal:
        RedisStore(**options)
    assert SECRET not in str(refusal.value)
