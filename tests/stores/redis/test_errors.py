"""What a server refuses comes as an error that says what to do, shows no secret, and is retryable where that helps."""

import asyncio
import re
from pathlib import Path

import pytest

from satchel import (
    ConfigurationError,
    IntegrityError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    open_store,
)
from satchel.stores._redislike.errors import ServerError, translate
from satchel.stores.redis import RedisStore
from scripts.test_servers import resp
from tests.patience import until
from tests.servers import private_server, server_url
from tests.stores.redis.servers import redis_over_tls, redis_with, tell

pytestmark = pytest.mark.server("redis")
SECRET = "hunter2-the-password"
PAGE = (Path(__file__).parents[3] / "docs/stores/redis.md").read_text("utf-8")


@pytest.fixture(scope="module")
def server():
    with redis_with("--user", "satchel", "on", f">{SECRET}", "~*", "&*", "+@all") as server:
        yield server


@pytest.fixture
async def store(server, request):
    async with RedisStore(server.url, prefix=request.node.name, timeout=5) as store:
        yield store


async def failure_of(call):
    with pytest.raises(SatchelError) as raised:
        await call
    assert SECRET not in f"{raised.value!r} {raised.value} {raised.value.__cause__!r}"
    assert getattr(raised.value, "retryable", False) is isinstance(
        raised.value, (StoreUnavailableError, StoreTimeoutError)
    )
    return raised.value


async def test_username_and_password_in_a_url_are_used(server):
    async with open_store(f"redis://satchel:{SECRET}@127.0.0.1:{server.port}/0?prefix=auth") as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
        assert SECRET not in f"{store!r} {store.describe()} {store.describe()!r}"


async def test_a_wrong_password_is_refused(server):
    for options in ({"username": "satchel", "password": SECRET + "x"}, {"username": "nobody", "password": SECRET}):
        async with RedisStore(server.url, **options) as store:
            error = await failure_of(store.get("c", "k"))
            assert isinstance(error, ConfigurationError)
            assert "refuses the username or password" in str(error)


async def test_a_missing_password_is_asked_for():
    with redis_with("--requirepass", SECRET) as server:
        async with RedisStore(server.url) as store:
            error = await failure_of(store.put("c", "k", 1))
            assert isinstance(error, ConfigurationError)
            assert "requires a password" in str(error)


async def test_a_user_who_may_not_is_told_so_for_the_keys_concerned(server):
    await tell(server, "ACL", "SETUSER", "half", "on", ">pw", "~half:a:*", "+@all")
    async with RedisStore(server.url, username="half", password="pw", prefix="half") as store:
        outcomes = await asyncio.gather(
            *(store.put(collection, str(number), 1) for number in range(5) for collection in "ab"),
            return_exceptions=True,
        )
        assert outcomes[::2] == [None] * 5, "one key that the user may not write refused others"
        assert all(type(outcome) is StoreError and "ACL" in str(outcome) for outcome in outcomes[1::2])
        assert await store.get_many("a", map(str, range(5))) == dict.fromkeys(map(str, range(5)), 1)
        calls = [store.get(collection, str(number)) for number in range(5) for collection in "ab"]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[::2] == [1] * 5, "one key that the user may not read refused others"
        assert all(type(outcome) is StoreError and "ACL" in str(outcome) for outcome in outcomes[1::2])


async def test_a_user_needs_nothing_but_the_commands_of_the_page(server):
    (commands,) = re.findall(r"## Permissions needed\n\n`([A-Z ]+)`", PAGE)
    allowed = [f"+{command.lower()}" for command in commands.split()]
    await tell(server, "ACL", "SETUSER", "least", "reset", "on", ">pw", "~least:*", *allowed)
    url = f"redis://least:pw@127.0.0.1:{server.port}/1"
    async with RedisStore(url, prefix="least", timeout=5) as store:
        await store.ping()
        await store.put("c", "k", 1, ttl=9)
        await store.put_many("c", {str(n): n for n in range(5)})
        assert await store.get_many("c", ["0", "1", "nowhere"]) == {"0": 0, "1": 1}
        entry = await store.get_entry("c", "k")
        assert await store.touch("c", "k", ttl=None)
        assert await store.touch("c", "k", ttl=5)
        version = await store.compare_and_put("c", "k", 2, version=entry.version)
        assert await store.compare_and_delete("c", "k", version=version)
        assert await store.put_if_absent("c", "k", 1)
        assert await store.delete("c", "k")
        assert [key async for key in store.keys("c", prefix="4")] == ["4"]
        assert [name async for name in store.collections()] == ["c"]
        assert await store.destroy_collection("c")
        assert not await store.destroy()


async def test_a_password_that_the_server_does_not_have_is_too_much(server):
    async with RedisStore(server.url, password=SECRET) as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, ConfigurationError)
        assert "no password for this user" in str(error)


async def test_nobody_listens(server):
    async with RedisStore(port=1) as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, StoreUnavailableError)
        assert "redis://localhost:1/0 cannot be reached" in str(error)


async def test_what_listens_is_no_redis():
    async def answer(reader, writer):
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with RedisStore(port=other.sockets[0].getsockname()[1]) as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, ConfigurationError)
        assert "does not speak Redis's protocol" in str(error)
    other.close()
    await other.wait_closed()


async def test_a_database_that_is_not_there(server):
    async with RedisStore(server.url.removesuffix("0") + "99999") as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, ConfigurationError)
        assert "smaller db" in str(error)


async def test_a_single_server_is_no_cluster(server):
    async with RedisStore(f"redis+cluster://127.0.0.1:{server.port}") as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, ConfigurationError)
        assert "is no cluster" in str(error)


@pytest.mark.server("redis-cluster")
async def test_a_node_of_a_cluster_is_no_single_server():
    async with RedisStore(server_url("redis-cluster").replace("+cluster", "")) as store:
        error = await failure_of(store.get_many("c", map(str, range(50))))
        assert "cluster" in str(error)


async def test_a_server_that_is_no_sentinel_is_called_so(server):
    async with RedisStore(f"redis+sentinel://127.0.0.1:{server.port}/mymaster") as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, ConfigurationError)
        assert "is not a Sentinel" in str(error)


# What is under a key.


async def test_another_type_is_refused_alone_and_as_a_whole(server, store, request):
    await tell(server, "RPUSH", f"{request.node.name}:c:list", "x")
    await store.put("c", "k", 1)
    version = "0" * 32
    for call in (
        store.get("c", "list"),
        store.exists("c", "list"),
        store.delete("c", "list"),
        store.put_if_absent("c", "list", 1),
        store.compare_and_put("c", "list", 1, version=version),
        store.compare_and_delete("c", "list", version=version),
        store.touch("c", "list", ttl=5),
    ):
        error = await failure_of(call)
        assert isinstance(error, IntegrityError)
        assert "did not write" in str(error)
    error = await failure_of(store.get_many("c", ["k", "list", "missing"]))
    assert isinstance(error.failed["list"], IntegrityError)
    assert list(error.failed) == ["list"]
    outcomes = await asyncio.gather(store.get("c", "k"), store.get("c", "list"), return_exceptions=True)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], IntegrityError)
    assert [key async for key in store.keys("c")] == ["k"]
    assert await store.destroy() is True
    assert await tell(server, "LRANGE", f"{request.node.name}:c:list", 0, -1) == [b"x"]


async def test_a_batch_takes_one_round_trip_whatever_it_finds(server, store):
    await store.put("c", "k", 1)
    sent, execute = [], store._connections.execute

    async def counted(commands, *, changes):
        sent.append(len(commands))
        return await execute(commands, changes=changes)

    store._connections.execute = counted
    assert await store.get_many("c", ["k", "missing", "other"]) == {"k": 1}
    assert await store.get_many("c", ["missing", "other"]) == {}
    assert await store.get_many("c", ["k", "l"]) == {"k": 1}
    assert len(sent) == 3


@pytest.mark.parametrize("rights", [("-multi", "-exec"), ("-exec",), ("-exists",)], ids=" ".join)
async def test_a_user_who_may_not_make_transactions_reads_batches_all_the_same(server, rights):
    await tell(server, "ACL", "SETUSER", "plain", "reset", "on", ">pw", "~plain:*", "+@all", *rights)
    await tell(server, "RPUSH", "plain:c:list", "x")
    async with RedisStore(server.url, username="plain", password="pw", prefix="plain") as store:
        for value in (1, 2):
            await store.put("c", "k", value)
            error = await failure_of(store.get_many("c", ["k", "list", "missing"]))
            assert list(error.failed) == ["list"]
            assert await store.get_many("c", ["k", "missing"]) == {"k": value}
            assert await store.get("c", "k") == value


async def test_a_foreign_value_is_refused_left_by_destroy_and_replaced_by_put(server, store, request):
    name = f"{request.node.name}:c:k"
    await tell(server, "SET", name, "something else that is longer than a header of ours is")
    for call in (store.get("c", "k"), store.put_if_absent("c", "k", 1), store.touch("c", "k", ttl=5)):
        assert isinstance(await failure_of(call), IntegrityError)
    assert [key async for key in store.keys("c")] == []
    assert await store.destroy() is False
    assert await tell(server, "EXISTS", name) == 1
    assert await store.delete("c", "k") is True
    await tell(server, "SET", name, "else")
    await store.put("c", "k", 1)
    assert await store.get("c", "k") == 1


async def test_a_damaged_entry_is_an_integrity_error(server, store, request):
    await store.put("c", "k", "value")
    await tell(server, "SETRANGE", f"{request.node.name}:c:k", "50", "X")
    assert isinstance(await failure_of(store.get("c", "k")), IntegrityError)


# What state the server is in.


async def test_a_full_server_refuses_writes_and_serves_reads():
    with private_server("redis") as server:
        async with RedisStore(server.url) as store:
            await store.put_many("c", {"k": 1, "l": 2})
            await tell(server, "CONFIG", "SET", "maxmemory", "1")
            calls = (
                store.put("c", "big", "x"),
                store.put_if_absent("c", "other", 1),
                store.put_many("c", {"a": 1, "b": 1}),
            )
            for call in calls:
                error = await failure_of(call)
                assert "maxmemory" in str(error)
            assert await store.get("c", "k") == 1
            assert await store.delete("c", "k") is True


async def test_a_read_only_replica_serves_reads_and_refuses_writes():
    with private_server("redis") as primary, private_server("redis") as replica:
        async with RedisStore(primary.url) as store:
            await store.put("c", "k", 1)
        await tell(primary, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        await tell(replica, "REPLICAOF", "127.0.0.1", str(primary.port))
        replica.wait_until(lambda: b"master_link_status:up" in resp.ask(replica.port, "INFO", "replication"))
        async with RedisStore(replica.url) as store:
            assert await store.get("c", "k") == 1
            assert [key async for key in store.keys("c")] == ["k"]
            for call in (store.put("c", "k", 2), store.delete("c", "k"), store.put_many("c", {"a": 1, "b": 2})):
                error = await failure_of(call)
                assert "connect to the primary" in str(error)


async def test_a_server_that_is_busy_with_a_script_is_worth_a_retry():
    with redis_with("--busy-reply-threshold", "50") as server:
        async with RedisStore(server.url, timeout=5) as store:
            await store.put("c", "k", 1)
            endless = asyncio.create_task(tell(server, "EVAL", "while true do end", "0"))
            await until(lambda: b"BUSY" in resp.ask(server.port, "PING"))
            error = await failure_of(store.put("c", "k", 2))
            assert isinstance(error, StoreUnavailableError)
            assert "SCRIPT KILL" in str(error)
            await tell(server, "SCRIPT", "KILL")
            await asyncio.gather(endless, return_exceptions=True)
            await store.put("c", "k", 3)


@pytest.mark.parametrize(
    ("text", "kind", "retryable"),
    [
        ("LOADING Redis is loading the dataset in memory", StoreUnavailableError, True),
        ("MASTERDOWN Link with MASTER is down", StoreUnavailableError, True),
        ("CLUSTERDOWN The cluster is down", StoreUnavailableError, True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailableError, True),
        ("MISCONF Redis is configured to save RDB snapshots", StoreUnavailableError, True),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailableError, True),
        ("ERR max number of clients reached", StoreUnavailableError, True),
        ("READONLY You can't write against a read only replica.", StoreError, False),
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreError, False),
        ("NOPERM No permissions to access a key", StoreError, False),
        ("CROSSSLOT Keys in request don't hash to the same slot", ConfigurationError, False),
        ("NOAUTH Authentication required.", ConfigurationError, False),
        ("WRONGTYPE Operation against a key", IntegrityError, False),
        (f"ERR unknown command 'GETEX', with args beginning with: '{SECRET}'", StoreError, False),
        (f"ERR {SECRET}", StoreError, False),
        (f"{SECRET}", StoreError, False),
    ],
)
def test_answers_of_the_server(text, kind, retryable):
    error = translate(ServerError(text))
    assert type(error) is kind
    assert getattr(error, "retryable", False) is retryable
    assert SECRET not in f"{error!r} {error}"


# TLS.


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server that speaks TLS alone, and the certificate that it shows."""
    with redis_over_tls(tmp_path_factory.mktemp("tls")) as server:
        yield server


async def test_tls_with_the_authority_that_signed(tls):
    server, certificate = tls
    async with open_store(f"rediss://localhost:{server.port}/0?ssl_ca_certs={certificate}&prefix=tls") as store:
        await store.put_many("c", {str(number): number for number in range(50)})
        assert len(await store.get_many("c", map(str, range(50)))) == 50


async def test_tls_by_options_alone_and_with_a_url(tls):
    server, certificate = tls
    async with RedisStore(host="localhost", port=server.port, tls=True, ca_certs=str(certificate)) as store:
        await store.put("c", "k", 1)
        assert repr(store) == f"RedisStore(rediss://localhost:{server.port}/0)"
    async with RedisStore(f"rediss://localhost:{server.port}", ca_certs=str(certificate)) as store:
        assert await store.get("c", "k") == 1


async def test_a_certificate_that_cannot_be_verified_is_refused(tls):
    server, _ = tls
    async with RedisStore(f"rediss://localhost:{server.port}") as store:
        error = await failure_of(store.get("c", "k"))
        assert isinstance(error, ConfigurationError)
        assert "as ca_certs" in str(error)


async def test_no_tls_to_a_port_that_wants_it(tls):
    server, _ = tls
    async with RedisStore(port=server.port, timeout=2) as store:
        error = await failure_of(store.get("c", "k"))
        assert "rediss://" in str(error) or "closed the connection" in str(error)


async def test_tls_to_a_port_without(server):
    async with RedisStore(f"rediss://127.0.0.1:{server.port}", timeout=1) as store:
        error = await failure_of(store.get("c", "k"))
        assert "TLS" in str(error)
