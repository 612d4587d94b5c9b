"""What goes wrong between ValkeyStore and its server is a specific error, and ends by itself."""

import asyncio
import signal
import time
from contextlib import asynccontextmanager, suppress

import glide
import pytest

from satchel import ConfigurationError, IntegrityError, StoreError, StoreTimeoutError, StoreUnavailableError
from satchel.stores._redislike.errors import ServerError
from satchel.stores.valkey import ValkeyStore, _reply
from scripts.test_servers import resp
from scripts.test_servers.server import free_port
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url

pytestmark = pytest.mark.server("valkey")
PASSWORD = "hush-hush"
AWAY = (StoreUnavailableError, StoreTimeoutError)


@pytest.fixture
def server():
    with private_server("valkey") as server:
        yield server


@asynccontextmanager
async def opened(**options):
    """Give a store that is closed at the end, whatever its server does then."""
    store = ValkeyStore(**options)
    try:
        yield store
    finally:
        with suppress(StoreError):
            await store.aclose()


async def comes_back(call, seconds=20):
    """Call until it works, and return what it gave."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except AWAY:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def test_a_server_that_is_killed_and_comes_back(server):
    async with opened(url=server.url, timeout=10) as store:
        await store.put("c", "k", 1)
        server.kill()
        with impatient(store, 1), pytest.raises(AWAY) as raised:
            await store.get("c", "k")
        assert raised.value.retryable
        server.start()
        assert await comes_back(lambda: store.get("c", "k")) is None  # nothing was kept on a disk
        await store.put_many("c", {str(n): n for n in range(10)})  # by a script that the new server does not know
        assert await store.get_many("c", map(str, range(10))) == {str(n): n for n in range(10)}


async def test_a_server_that_stops_answering(server):
    async with opened(url=server.url, timeout=1000) as store:
        await store.put("c", "k", "first")
        server.pause()
        with impatient(store), pytest.raises(StoreTimeoutError, match="in time"):
            await store.put("c", "k", "second")
        server.resume()
        await comes_back(lambda: store.put("c", "k", "third"))
        await asyncio.sleep(0.1)
        assert await store.get("c", "k") == "third"


async def test_a_connection_that_is_cut_within_a_reply():
    port = int(server_url("valkey").rpartition(":")[2].partition("/")[0])
    async with FaultyProxy(port) as proxy, opened(host="127.0.0.1", port=proxy.port, prefix="cut", timeout=10) as store:
        values = {f"k{n}": f"{n}" * 2000 for n in range(20)}
        await store.put_many("c", values)
        for size in (0, 1, 1000, 30_000):
            proxy.cut_replies_after(size)
            calls = [store.get("c", key) for key in values]
            for value, got in zip(values.values(), await asyncio.gather(*calls, return_exceptions=True), strict=True):
                assert got == value or isinstance(got, AWAY), "another call's reply"
            assert await comes_back(lambda: store.get("c", "k7")) == values["k7"]
        await store.destroy()


async def test_a_conditional_write_whose_answer_is_lost_is_an_error_and_not_a_refusal():
    port = int(server_url("valkey").rpartition(":")[2].partition("/")[0])
    async with (
        FaultyProxy(port) as proxy,
        opened(host="127.0.0.1", port=proxy.port, prefix="lost", timeout=10) as store,
    ):
        await store.put_if_absent("c", "there", 1)
        await store.delete("c", "missing")  # both scripts are known to the server now: one request a call
        for call in (lambda: store.put_if_absent("c", "new", 1), lambda: store.delete("c", "there")):
            proxy.cut_replies_after(0)
            with pytest.raises(AWAY):
                await call()
            await comes_back(store.ping)
        assert await store.get_many("c", ["new", "there"]) == {"new": 1}, "the answers were lost, not the requests"
        await store.destroy()


async def test_a_wrong_port_and_a_wrong_database():
    async with opened(host="127.0.0.1", port=1, timeout=0.5) as store:
        with pytest.raises(StoreUnavailableError, match="see that the server runs"):
            await store.get("c", "k")


async def test_tls_against_a_plain_port(server):
    async with opened(url=server.url.replace("valkey", "valkeys"), timeout=0.5) as store:
        with pytest.raises(AWAY, match=r"TLS|in time"):
            await store.get("c", "k")


async def test_passwords(server):
    resp.ask(server.port, "CONFIG", "SET", "requirepass", PASSWORD)
    async with opened(url=server.url, timeout=20) as store:
        with pytest.raises(ConfigurationError, match="requires a password"):
            await store.get("c", "k")
    async with opened(host="127.0.0.1", port=server.port, password="wrong-one", timeout=20) as store:
        with pytest.raises(ConfigurationError, match="refuses the username or password") as raised:
            await store.get("c", "k")
        assert "wrong-one" not in f"{raised.value!r} {store!r} {store.describe()}"
    async with opened(url=f"valkey://127.0.0.1:{server.port}", password=PASSWORD, timeout=20) as store:
        await store.put("c", "k", 1)
    async with opened(url=f"valkey://:{PASSWORD}@127.0.0.1:{server.port}/1", timeout=20) as store:
        await store.put("c", "k", 1)
        assert PASSWORD not in f"{store!r} {store.describe()}"
        assert await store.get("c", "k") == 1


async def test_what_is_not_ours(server):
    resp.ask(server.port, "LPUSH", "satchel:c:list", "1")
    resp.ask(server.port, "SET", "satchel:c:text", "something else")
    async with opened(url=server.url) as store:
        await store.put("c", "k", 1)
        for key in ("list", "text"):
            with pytest.raises(IntegrityError):
                await store.get("c", key)
        assert await asyncio.gather(store.get("c", "k"), store.get("c", "list"), return_exceptions=True)
        assert await store.destroy()
    assert resp.ask(server.port, "EXISTS", "satchel:c:list", "satchel:c:text") == b"2"


async def test_a_replica_and_a_full_server(server):
    async with opened(url=server.url, timeout=20) as store:
        await store.put("c", "k", 1)
        resp.ask(server.port, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError, match="read-only replica; connect to the primary") as raised:
            await store.put("c", "k", 2)
        assert not raised.value.retryable
        resp.ask(server.port, "REPLICAOF", "NO", "ONE")
        resp.ask(server.port, "CONFIG", "SET", "maxmemory", "1")
        outcomes = await asyncio.gather(*(store.put("c", str(n), n) for n in range(5)), return_exceptions=True)
        for error in outcomes:
            assert isinstance(error, StoreError), error
            assert "maxmemory" in str(error)
            assert not error.retryable
        resp.ask(server.port, "CONFIG", "SET", "maxmemory", "0")
        await store.put("c", "k", 3)
        assert await store.get("c", "k") == 3


async def test_a_client_of_the_callers_stays_open(server):
    address = glide.NodeAddress("127.0.0.1", server.port)
    client = await glide.GlideClient.create(glide.GlideClientConfiguration([address]))
    try:
        async with ValkeyStore(client=client) as store:
            await store.put("c", "k", 1)
        assert await client.get("satchel:c:k") is not None
    finally:
        await client.close()
    async with opened(client=client) as store:
        with pytest.raises(StoreError, match="has been closed"):
            await store.get("c", "k")


async def test_a_server_that_is_no_cluster(server):
    async with opened(url=server.url.replace("valkey:", "valkey+cluster:").removesuffix("/0"), timeout=10) as store:
        with pytest.raises(ConfigurationError, match="is no cluster"):
            await store.get("c", "k")


async def test_five_thousand_calls_use_one_connection(server):
    async with opened(url=server.url) as store:
        await store.ping()
        before = int(resp.ask(server.port, "INFO", "clients").partition(b"connected_clients:")[2].split()[0])
        await asyncio.gather(*(store.put("c", str(n), n, ttl=60) for n in range(5000)))
        assert await asyncio.gather(*(store.get("c", str(n)) for n in range(5000))) == list(range(5000))
        after = int(resp.ask(server.port, "INFO", "clients").partition(b"connected_clients:")[2].split()[0])
        assert after == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://x"}, "valkey://username"),
        ({"url": "valkey://x:port"}, "port of the URL must be a number"),
        ({"url": "valkey://x/one"}, "valkey://username"),
        ({"url": "valkey://x,y"}, "which may have several hosts"),
        ({"url": "valkey://x", "port": 1}, "url excludes port"),
        ({"client": object()}, "client must be a client"),
        ({"username": "u"}, "needs a password"),
        ({"cluster": True, "db": 1}, "database 0 alone"),
        ({"prefix": ""}, "prefix must be"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        ValkeyStore(**options)


@pytest.mark.server("valkey-cluster")
@pytest.mark.long
async def test_a_cluster_whose_master_is_killed_fails_over():
    with private_server("valkey-cluster") as cluster:
        async with opened(url=cluster.url, timeout=2) as store:
            acknowledged: dict[str, int] = {}

            async def write(worker):
                for n in range(400):
                    key = f"{worker}-{n}"
                    try:
                        await store.put("c", key, n)
                    except AWAY:
                        pass
                    else:
                        acknowledged[key] = n
                    await asyncio.sleep(0.005)

            for n in range(300):
                await store.put("c", f"before-{n}", n)
            for port in [cluster.port_for(f"node{number}") for number in range(3)]:
                await until(lambda port=port: resp.is_replicated(port))
            writers = [asyncio.create_task(write(worker)) for worker in range(8)]
            await until(lambda: len(acknowledged) > 100)
            cluster.processes[0].kill()
            await asyncio.gather(*writers)
            found = await comes_back(lambda: store.get_many("c", [f"before-{n}" for n in range(300)]))
            assert found == {f"before-{n}": n for n in range(300)}, "a replicated write was lost"
            await comes_back(lambda: store.put_many("c", {f"after-{n}": n for n in range(300)}))


@pytest.mark.server("valkey-cluster")
@pytest.mark.long
async def test_a_frozen_master_is_left_alone_once_another_has_its_place():
    with private_server("valkey-cluster") as cluster:
        async with opened(url=cluster.url, timeout=2) as store:
            keys = [str(n) for n in range(30)]
            await store.put_many("c", dict.fromkeys(keys, "before"))
            cluster.processes[0].send_signal(signal.SIGSTOP)
            for key in keys:
                await comes_back(lambda key=key: store.put("c", key, "after"))
            assert await store.get_many("c", keys) == dict.fromkeys(keys, "after")
            await asyncio.sleep(3)  # the client that was left is closed, and the new one serves
            assert await store.get_many("c", keys) == dict.fromkeys(keys, "after")
            cluster.processes[0].send_signal(signal.SIGCONT)


@pytest.mark.server("valkey-cluster")
async def test_a_cluster_is_found_by_any_host_of_its_url():
    somewhere = server_url("valkey-cluster").removeprefix("valkey+cluster://")
    async with opened(url=f"valkey+cluster://127.0.0.1:{free_port()},{somewhere}", prefix="hosts") as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
        await store.destroy()


def test_what_the_client_says_of_a_lost_node_is_no_answer_of_the_server():
    for text in ("Connection not found for route", "An error was signalled by the server: - IoError: broken pipe"):
        assert isinstance(_reply(glide.RequestError(text)), StoreUnavailableError)
    assert isinstance(_reply(glide.RequestError("OOM: command not allowed")), ServerError)
