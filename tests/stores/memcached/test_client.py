"""An emcache client lends its connections, to all of its servers, and stays the caller's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import emcache
import pytest

from satchel import BatchError, StoreError, StoreTimeoutError, StoreUnavailableError, ValueTooLargeError
from satchel.stores.memcached import MemcachedStore
from tests.patience import impatient
from tests.proxy import FaultyProxy
from tests.servers import private_server
from tests.stores.memcached.wire import HOST, raw, shared_port

pytestmark = pytest.mark.server("memcached")

KEYS = [str(number) for number in range(50)]


@asynccontextmanager
async def client_of(*ports: int) -> AsyncIterator[emcache.Client]:
    client = await emcache.create_client([emcache.MemcachedHostAddress(HOST, port) for port in ports], timeout=5)
    try:
        yield client
    finally:
        await client.close()


async def test_a_client_is_used_and_stays_open() -> None:
    async with client_of(shared_port()) as client:
        async with MemcachedStore(client=client, prefix="lent") as store:
            assert repr(store) == "MemcachedStore(client=...)"
            await store.put("a", "k", 1)
            assert await store.put_if_absent("a", "k", 2) is None
            assert await store.get("a", "k") == 1
            await store.ping()
            with pytest.raises(ValueTooLargeError, match=f"memcached at 127.0.0.1:{shared_port()} takes at most"):
                await store.put("a", "k", bytes(2_000_000))
        assert not client.closed
        item = await client.get(b"lent|a|k")
        assert item is not None
        assert item.value.endswith(b"1")


async def test_calls_of_the_client_and_of_the_store_mix() -> None:
    async with client_of(shared_port()) as client, MemcachedStore(client=client, prefix="mixed") as store:

        async def of_the_store(number: int) -> None:
            await store.put("a", str(number), number)
            assert await store.get("a", str(number)) == number

        async def of_the_client(number: int) -> None:
            await client.set(b"mixed-%d" % number, b"%d" % number)
            item = await client.get(b"mixed-%d" % number)
            assert item is not None
            assert item.value == b"%d" % number

        for _ in range(5):
            await asyncio.gather(*map(of_the_store, range(30)), *map(of_the_client, range(30)))


async def test_entries_are_spread_as_the_client_does_it() -> None:
    with private_server("memcached") as one, private_server("memcached") as other:
        async with client_of(one.port, other.port) as client, MemcachedStore(client=client) as store:
            await store.put_many("a", {key: int(key) for key in KEYS})
            assert await store.get_many("a", KEYS) == {key: int(key) for key in KEYS}
            for key in KEYS:
                assert await client.get(f"satchel|a|{key}".encode()) is not None
            assert await store.delete_many("a", KEYS[:10]) == 10
            await store.ping()
        for server in (one, other):
            assert b"STAT curr_items 0\r\n" not in raw(server.port, b"stats\r\n")


async def test_a_server_that_fails_fails_its_own_keys_alone() -> None:
    with private_server("memcached") as one, private_server("memcached") as other:
        async with client_of(one.port, other.port) as client, MemcachedStore(client=client, timeout=4) as store:
            await store.put_many("a", dict.fromkeys(KEYS, 1))
            gone = {key for key in KEYS if raw(other.port, b"get satchel|a|%b\r\n" % key.encode()) != b"END\r\n"}
            assert 0 < len(gone) < len(KEYS)
            other.kill()
            await asyncio.sleep(0.05)
            for call in (store.get_many("a", KEYS), store.put_many("a", dict.fromkeys(KEYS, 2))):
                with pytest.raises(BatchError) as failure:
                    await call
                assert set(failure.value.failed) == gone
                for error in failure.value.failed.values():
                    assert isinstance(error, StoreUnavailableError)
                    assert f"memcached at 127.0.0.1:{other.port}" in str(error)
            assert await store.get_many("a", set(KEYS) - gone) == dict.fromkeys(set(KEYS) - gone, 2)


async def test_a_connection_lost_within_a_reply_is_given_up_by_the_client_too() -> None:
    async with FaultyProxy(shared_port()) as proxy, client_of(proxy.port) as client:
        async with MemcachedStore(client=client, prefix="lost") as store:
            await store.put("a", "k", b"x" * 10_000)
            proxy.cut_replies_after(5000)
            with pytest.raises(StoreUnavailableError, match="hung up"):
                await store.get("a", "k")
            assert await store.get("a", "k") == b"x" * 10_000
        item = await client.get(b"lost|a|k")
        assert item is not None
        assert item.value.endswith(b"x")


async def test_a_call_that_timed_out_leaves_its_reply_to_nobody() -> None:
    async with (
        FaultyProxy(shared_port()) as proxy,
        client_of(proxy.port) as client,
        MemcachedStore(client=client, prefix="late", timeout=10) as store,
    ):
        await store.put_many("a", {"a": "of a", "b": "of b"})
        proxy.delay = 0.3
        for call in (store.get("a", "a"), store.put("a", "c", 1)):
            with impatient(store, 0.15), pytest.raises(StoreTimeoutError):
                await call
        proxy.delay = 0.0
        assert await store.get("a", "b") == "of b"
        item = await client.get(b"late|a|a")
        assert item is not None
        assert item.value.endswith(b'"of a"')


async def test_a_client_that_was_closed_is_called_so() -> None:
    async with client_of(shared_port()) as client:
        pass
    async with MemcachedStore(client=client) as store:
        for call in (store.get("a", "k"), store.put("a", "k", 1), store.ping()):
            with pytest.raises(StoreError, match="the emcache client has been closed"):
                await call
