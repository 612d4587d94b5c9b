"""What only a cluster and Sentinel do: slots that move, nodes that fail, another primary."""

import asyncio
import signal

import pytest

from satchel import ConfigurationError, StoreError, StoreUnavailableError
from satchel.stores._redislike.layout import Layout, slot_of
from satchel.stores.redis import RedisStore
from scripts.test_servers import resp
from tests.servers import private_server, server_url

KEYS = [str(number) for number in range(30)]


class Load:
    """Puts growing numbers under 30 keys until told to stop, and remembers what was acknowledged."""

    def __init__(self, store):
        self.store, self.acknowledged, self.errors, self.stop = store, {}, [], asyncio.Event()
        self.tasks = [asyncio.create_task(self.put(key)) for key in KEYS]

    async def put(self, key):
        value = 0
        while not self.stop.is_set():
            value += 1
            try:
                await self.store.put("c", key, value)
                self.acknowledged[key] = value
            except StoreError as error:
                self.errors.append(error)
                await asyncio.sleep(0.02)

    async def all_go_on(self):
        """Wait until each key has been written twice from now on."""
        before = dict(self.acknowledged)
        while any(self.acknowledged.get(key, 0) < before.get(key, 0) + 2 for key in KEYS):  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.05)

    async def end(self):
        self.stop.set()
        await asyncio.gather(*self.tasks)


async def fail_over(server, store, primaries):
    """Kill the first process under load, and check what was promised."""
    await store.put_many("replicated", dict.fromkeys(KEYS, "kept"))
    for port in primaries:
        server.wait_until(lambda port=port: resp.is_replicated(port))
    load = Load(store)
    await load.all_go_on()
    server.processes[0].kill()
    await asyncio.sleep(0.5)
    await asyncio.wait_for(load.all_go_on(), 30)
    await load.end()
    assert load.errors, "what was killed had none of the keys"
    assert all(error.retryable for error in load.errors), load.errors
    assert await store.get_many("replicated", KEYS) == dict.fromkeys(KEYS, "kept")
    assert await store.get_many("c", KEYS) == load.acknowledged
    assert sorted([key async for key in store.keys("c")]) == sorted(KEYS)


@pytest.mark.long
@pytest.mark.server("redis-cluster")
async def test_a_cluster_fails_over_under_load_and_keeps_what_was_replicated():
    with private_server("redis-cluster") as server:
        async with RedisStore(server.url, timeout=3) as store:
            await fail_over(server, store, [server.port_for(f"node{number}") for number in range(3)])


@pytest.mark.long
@pytest.mark.server("redis-cluster")
async def test_a_frozen_master_is_left_alone_once_another_has_its_place():
    with private_server("redis-cluster") as server:
        async with RedisStore(server.url) as store:
            load = Load(store)
            await load.all_go_on()
            server.processes[0].send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.5)
            await asyncio.wait_for(load.all_go_on(), 30)
            await load.end()
            assert {type(error) for error in load.errors} == {StoreUnavailableError}
        server.processes[0].send_signal(signal.SIGCONT)


@pytest.mark.long
@pytest.mark.server("redis-sentinel")
async def test_sentinel_names_another_primary_under_load():
    with private_server("redis-sentinel") as server:
        async with RedisStore(server.url, timeout=3) as store:
            await fail_over(server, store, [server.port_for("master")])


@pytest.mark.server("redis-cluster")
async def test_slots_are_followed_while_they_move_and_after():
    with private_server("redis-cluster") as server:
        here, there = server.port_for("node0"), server.port_for("node1")
        async with RedisStore(server.url) as store:
            layout = Layout("satchel")
            # Keys in one slot of the first node, which has the slots up to 5460.
            tag = next(name for name in map(str, range(1000)) if slot_of(name.encode()) < 5000)
            keys = [f"{{{tag}}}{number}" for number in range(10)]
            slot = str(slot_of(tag.encode()))
            await store.put_many("c", dict.fromkeys(keys, "old"))
            names = {port: resp.ask(port, "CLUSTER", "MYID").decode() for port in (here, there)}
            resp.ask(there, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[here])
            resp.ask(here, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[there])
            moved = [layout.key(("c", key)).decode() for key in keys]
            resp.ask(here, "MIGRATE", "127.0.0.1", str(there), "", "0", "5000", "KEYS", *moved)
            assert await store.get_many("c", keys) == dict.fromkeys(keys, "old")
            assert await store.get("c", keys[0]) == "old"
            await store.put("c", keys[0], "new")
            assert await store.put_if_absent("c", keys[0], "never") is None
            assert await store.delete("c", keys[1]) is True
            for port in (there, here):
                resp.ask(port, "CLUSTER", "SETSLOT", slot, "NODE", names[there])
            assert await store.get("c", keys[0]) == "new"
            await store.put_many("c", dict.fromkeys(keys, "newer"))
            assert await store.get_many("c", keys) == dict.fromkeys(keys, "newer")
            assert sorted([key async for key in store.keys("c")]) == sorted(keys)


@pytest.mark.server("redis-cluster")
@pytest.mark.server("redis-sentinel")
@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("redis+cluster://127.0.0.1:1", StoreUnavailableError, "no node of the cluster answers"),
        ("redis+cluster://:hunter2@CLUSTER", ConfigurationError, "no password for this user"),
        ("redis+sentinel://127.0.0.1:1/mymaster", StoreUnavailableError, "no Sentinel knows"),
        ("redis+sentinel://SENTINEL/other", StoreUnavailableError, "no Sentinel knows"),
        ("redis+sentinel://:hunter2@SENTINEL/mymaster", ConfigurationError, "no password for this user"),
    ],
)
async def test_what_cannot_be_entered_says_why(url, kind, said):
    cluster = server_url("redis-cluster").rpartition("/")[2]
    sentinel = server_url("redis-sentinel").split("/")[2]
    async with RedisStore(url.replace("CLUSTER", cluster).replace("SENTINEL", sentinel), timeout=5) as store:
        for call in (store.get("c", "k"), store.put("c", "k", 1)):
            with pytest.raises(kind, match=said) as refusal:
                await call
            assert "hunter2" not in f"{refusal.value!r} {refusal.value}"
