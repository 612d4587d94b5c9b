"""Servers and networks that fail: never a hang, never another call's reply, and the store works again by itself."""

import asyncio

import pytest

from satchel import StoreError, StoreTimeoutError, StoreUnavailableError
from satchel.stores.redis import RedisStore
from scripts.test_servers import resp
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server
from tests.stores.redis.servers import redis_with, tell

pytestmark = pytest.mark.server("redis")


@pytest.fixture
def server():
    with private_server("redis") as server:
        yield server


@pytest.fixture
async def proxy(server):
    async with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy):
    async with RedisStore(port=proxy.port, timeout=5) as store:
        yield store


async def works(store):
    """Wait until a store works again, at most ten seconds."""
    for _ in range(200):
        try:
            return await store.ping()
        except StoreUnavailableError:
            await asyncio.sleep(0.05)
    raise AssertionError("the store does not work again")


async def test_what_was_acknowledged_survives_a_kill_where_the_server_writes_it_down_first():
    with redis_with("--appendonly", "yes", "--appendfsync", "always") as server:
        async with RedisStore(server.url, timeout=5) as store:
            written, refused = {}, 0

            async def write(task):
                nonlocal refused
                for number in range(10_000):
                    try:
                        await store.put("c", f"{task}", number)
                        written[f"{task}"] = number
                    except StoreUnavailableError:
                        refused += 1
                        return

            tasks = [asyncio.create_task(write(task)) for task in range(20)]
            await until(lambda: len(written) == len(tasks))
            server.kill()
            await asyncio.wait_for(asyncio.gather(*tasks), 20)
            assert refused == 20
            server.start()
            await works(store)
            found = await store.get_many("c", written)
            # A write that was under way may have been made too: then the next number is there.
            assert all(found[key] in (number, number + 1) for key, number in written.items())


async def test_the_next_call_after_a_restart_works(server, store):
    await store.put("c", "k", 1)
    assert await store.put_if_absent("c", "lock", 1) is not None
    server.kill()
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        await store.get("c", "k")
    server.start()
    assert await store.get("c", "k") is None  # nothing was written to a disk
    assert await store.put_if_absent("c", "lock", 1) is not None  # the script was forgotten, and is sent again
    await store.put_many("c", {str(number): number for number in range(50)})
    assert len(await store.get_many("c", map(str, range(50)))) == 50


async def test_connections_closed_while_idle_are_made_anew(server, store):
    await store.put("c", "k", 1)
    await store.get("c", "k")
    await tell(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: resp.ask(server.port, "CLIENT", "LIST").count(b"id=") == 1)
    await asyncio.sleep(0.05)
    await store.put("c", "k", 2)
    assert await store.get("c", "k") == 2
    assert await store.delete("c", "k") is True


async def test_a_read_cut_in_the_middle_of_its_reply_is_asked_again(proxy, store):
    await store.put("c", "k", "x" * 1000)
    await store.get("c", "k")
    proxy.cut_replies_after(100)
    assert await store.get("c", "k") == "x" * 1000


async def test_a_write_whose_reply_is_cut_is_not_made_twice(proxy, store):
    version = await store.put_if_absent("c", "k", 1)
    assert version is not None
    proxy.cut_replies_after(1)
    with pytest.raises(StoreUnavailableError):
        await store.compare_and_put("c", "k", 2, version=version)
    assert await store.get("c", "k") == 2  # it was made, and the answer "no" of a second one was not given


async def test_no_call_gets_the_reply_of_another_that_was_cancelled(proxy, store):
    await store.put_many("c", {str(number): number for number in range(100)})
    proxy.delay = 0.02
    for number in range(0, 40, 2):
        cancelled = [asyncio.create_task(store.get("c", str(number))), asyncio.create_task(store.delete("d", "k"))]
        await asyncio.sleep(0.01)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        assert await store.get("c", str(number + 1)) == number + 1
    proxy.delay = 0
    assert await store.get_many("c", ["1", "2", "missing"]) == {"1": 1, "2": 2}


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small", "large"])
async def test_a_put_that_was_cancelled_is_over_before_a_later_one_is_sent(proxy, store, size):
    await store.put("c", "k", "first")
    proxy.delay = 0.02
    for number in range(10):
        cancelled = asyncio.create_task(store.put("c", "k", "x" * size))
        await asyncio.sleep(0.005 * (number % 4))
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await store.put("c", "k", number)
        assert await store.get("c", "k") == number
    assert proxy.connections <= 2, "a connection was closed with its reply to come"


async def test_destroy_takes_what_was_cut_off_with_it(proxy, store):
    await store.put("c", "k", 1)
    proxy.delay = 0.05
    cancelled = asyncio.create_task(store.put("c", "other", 1))
    await asyncio.sleep(0.01)
    cancelled.cancel()
    await store.destroy()
    proxy.delay = 0
    assert await store.get_many("c", ["k", "other"]) == {}


async def test_a_server_that_stops_answering_is_given_up_and_used_again(server):
    async with RedisStore(server.url, timeout=1000) as store:
        await store.put("c", "k", "before")
        server.pause()
        calls = [store.put("c", "k", "lost"), store.get("c", "k"), store.delete("c", "other"), store.ping()]
        with impatient(store):
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 50)
        assert [type(outcome) for outcome in outcomes] == [StoreTimeoutError] * 4
        assert all(outcome.retryable for outcome in outcomes)
        server.resume()
        await store.put("c", "k", "after")
        assert await store.get("c", "k") == "after"
        await asyncio.sleep(0.1)
        assert await store.get("c", "k") == "after", "the put that timed out landed over a later one"


async def test_a_timed_out_call_leaves_no_reply_for_the_next(proxy):
    async with RedisStore(port=proxy.port, timeout=3) as store:
        await store.put_many("c", {"a": 1, "b": 2})
        proxy.delay = 0.5
        with impatient(store, 0.2), pytest.raises(StoreTimeoutError):
            await store.get("c", "a")
        proxy.delay = 0
        assert await store.get("c", "b") == 2
        proxy.silent = True
        with impatient(store), pytest.raises(StoreTimeoutError):
            await store.put("c", "a", 5)
        proxy.silent = False
        assert await store.get("c", "b") == 2


async def test_5000_calls_at_once_use_four_connections_at_most(server, proxy):
    async with RedisStore(port=proxy.port, timeout=30) as store:
        keys = [str(number) for number in range(1000)]
        calls = [call for key in keys for call in (store.put("c", key, key), store.put("d", key, 1, ttl=60),
                 store.get("c", key), store.delete("e", key), store.get_many("c", [key]))]  # fmt: skip
        calls += [store.ping() for _ in range(20)]
        outcomes = await asyncio.gather(*calls)
        assert len(outcomes) == 5020
        assert proxy.connections <= 4


async def test_a_listing_cut_in_the_middle_says_so_and_the_next_is_whole(proxy, store):
    await store.put_many("c", {str(number): number for number in range(5000)})
    keys = store.keys("c")
    await anext(keys)
    proxy.refuse = True
    proxy.cut()
    with pytest.raises(StoreError):
        async for _ in keys:
            pass
    proxy.refuse = False
    assert len([key async for key in store.keys("c")]) == 5000
