"""Watching Valkey, on connections of the store's own beside those of the client."""

import random

import glide
import pytest

from satchel import Capability, Change, StoreUnavailableError
from satchel.stores._redislike import watching
from satchel.stores.valkey import ValkeyStore
from satchel.testing import WatchConformance
from scripts.test_servers import resp
from tests.patience import impatient
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.redis.servers import redis_over_tls
from tests.stores.watched import taken

pytestmark = pytest.mark.server("valkey")
PASSWORD = "sesame and more"
LOST, READY = Change("lost", "c"), Change("ready", "c")


class Watch(WatchConformance):
    __test__ = False
    persistent = True

    def make_store(self, clock, place):
        return ValkeyStore(server_url(self.server), prefix=place.name, clock=clock)


@pytest.mark.night
class TestValkey(Watch):
    __test__ = True
    server = "valkey"


@pytest.mark.night
@pytest.mark.server("valkey-cluster")
class TestCluster(Watch):
    __test__ = True
    server = "valkey-cluster"


async def hears(store):
    async with store.watch("c") as changes:
        assert await taken(changes, 1) == [READY]
        await store.put("c", "k", 1)
        assert await taken(changes, 1) == [Change("changed", "c", "k")]


async def test_passwords_users_and_databases():
    with private_server("valkey") as server:
        resp.ask(server.port, "ACL", "SETUSER", "ada", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        resp.ask(server.port, "CONFIG", "SET", "requirepass", PASSWORD)
        async with ValkeyStore(host="127.0.0.1", port=server.port, password=PASSWORD, db=1) as store:
            await hears(store)
        async with ValkeyStore(host="127.0.0.1", port=server.port, username="ada", password=PASSWORD) as store:
            await hears(store)


@pytest.mark.server("redis")
async def test_tls(tmp_path):
    with redis_over_tls(tmp_path) as (server, certificate):
        async with ValkeyStore(f"valkeys://localhost:{server.port}/0", ca_certs=certificate) as store:
            await hears(store)


async def test_a_store_over_a_client_of_the_callers_is_not_watched():
    host, _, port = server_url("valkey").split("/")[2].partition(":")
    configuration = glide.GlideClientConfiguration([glide.NodeAddress(host, int(port))], lazy_connect=True)
    client = await glide.GlideClient.create(configuration)
    try:
        assert Capability.WATCH not in ValkeyStore(client=client).capabilities
        assert Capability.WATCH in ValkeyStore(server_url("valkey")).capabilities
    finally:
        await client.close()


async def test_cut_and_half_open_connections_are_lost_and_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "CHECKED", 0.1)
    prefix = f"satchel-{tmp_path.name}-{random.randrange(10**9)}"  # it only has to be new
    port = int(server_url("valkey").split("/")[2].rpartition(":")[2])
    async with FaultyProxy(port) as proxy, ValkeyStore(server_url("valkey"), prefix=prefix) as direct:
        through = ValkeyStore(host="127.0.0.1", port=proxy.port, prefix=prefix)
        async with through, through.watch("c") as changes:
            assert await taken(changes, 1) == [READY]
            proxy.cut()
            assert await taken(changes, 2) == [LOST, READY]
            proxy.silent = True
            with impatient(through):
                assert await taken(changes, 1) == [LOST]
            proxy.silent = False
            assert await taken(changes, 1) == [READY]
            await direct.put("c", "k", 2)
            assert await taken(changes, 1) == [Change("changed", "c", "k")]
        await direct.destroy()


async def test_a_server_that_is_away_is_an_error_of_the_beginning():
    with private_server("valkey") as server:
        async with ValkeyStore(server.url, timeout=2) as store:
            await store.put("c", "k", 1)
            server.kill()
            with pytest.raises(StoreUnavailableError):
                async with store.watch("c"):
                    pytest.fail("there is no server")
