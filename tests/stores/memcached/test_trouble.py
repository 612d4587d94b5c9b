"""A memcached that goes away, stops or is cut off: an error that says so, never a hang, never another call's reply."""

import asyncio
import gc
import random

import pytest

from satchel import StoreTimeoutError, StoreUnavailableError
from satchel.stores.memcached import MemcachedStore
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server
from tests.stores.memcached.wire import HOST, pause, raw, shared_port

pytestmark = pytest.mark.server("memcached")


async def test_a_server_that_was_killed_is_unavailable_and_works_again_by_itself() -> None:
    with private_server("memcached") as server:
        async with MemcachedStore(port=server.port, timeout=1000) as store:
            await store.put("a", "k", 1)
            server.kill()
            for call in (store.get("a", "k"), store.put("a", "k", 2), store.delete("a", "k"), store.ping()):
                with pytest.raises(StoreUnavailableError, match="is memcached running there") as failure:
                    await call
                assert failure.value.retryable
            server.start()
            assert await store.get("a", "k") is None
            await store.put("a", "k", 3)
            assert await store.get("a", "k") == 3


async def test_a_restart_between_two_calls_is_not_noticed() -> None:
    with private_server("memcached") as server:
        async with MemcachedStore(port=server.port) as store:
            await store.put("a", "k", 1)
            server.kill()
            server.start()
            await asyncio.sleep(0.05)
            await store.put("a", "k", 2)
            assert await store.get("a", "k") == 2


async def test_a_server_killed_under_load_ends_every_call() -> None:
    with private_server("memcached") as server:
        async with MemcachedStore(port=server.port, timeout=5) as store:

            async def use(number: int) -> int:
                failed = 0
                for step in range(100_000):
                    try:
                        await store.put("a", f"{number}", step)
                        assert await store.get("a", f"{number}") == step
                    except StoreUnavailableError:
                        failed += 1
                        if failed == 3:
                            return failed
                return failed

            users = [asyncio.create_task(use(number)) for number in range(50)]
            await asyncio.sleep(0.2)
            server.kill()
            assert await asyncio.wait_for(asyncio.gather(*users), 20) == [3] * 50
            server.start()
            await store.put("a", "after", 1)
            assert await store.get("a", "after") == 1


@pytest.mark.parametrize("size", [0, 1, 5, 40, 1000, 90_000])
async def test_a_connection_cut_within_a_reply_is_unavailable(size: int) -> None:
    async with FaultyProxy(shared_port()) as proxy, MemcachedStore(port=proxy.port, prefix=f"cut{size}") as store:
        await store.put("a", "k", b"x" * 100_000)
        assert await store.get("a", "k") == b"x" * 100_000
        proxy.cut_replies_after(size)
        with pytest.raises(StoreUnavailableError, match="hung up"):
            await store.get("a", "k")
        assert await store.get("a", "k") == b"x" * 100_000
        proxy.cut_replies_after(0)
        with pytest.raises(StoreUnavailableError, match="hung up"):
            await store.put("a", "k", 1)
        await store.put("a", "k", 2)
        assert await store.get("a", "k") == 2


async def test_a_server_that_stops_answering_times_out_and_works_again() -> None:
    async with FaultyProxy(shared_port()) as proxy, MemcachedStore(port=proxy.port, timeout=10) as store:
        await store.put("silent", "k", 1)
        proxy.silent = True
        with impatient(store, 0.2):
            for call in (store.get("silent", "k"), store.put("silent", "k", 2), store.ping()):
                with pytest.raises(StoreTimeoutError) as failure:
                    await call
                assert failure.value.retryable
        proxy.silent = False
        await store.put("silent", "k", 3)
        assert await store.get("silent", "k") == 3


async def test_a_reply_that_comes_too_late_answers_no_later_call() -> None:
    async with FaultyProxy(shared_port()) as proxy, MemcachedStore(port=proxy.port, timeout=10) as store:
        await store.put_many("late", {"a": "of a", "b": "of b"})
        proxy.delay = 0.3
        for _ in range(3):
            with impatient(store, 0.15), pytest.raises(StoreTimeoutError):
                await store.get("late", "a")
        proxy.delay = 0.0
        assert await store.get("late", "b") == "of b"
        await asyncio.sleep(0.3)
        assert await store.get_many("late", ["b", "a"]) == {"a": "of a", "b": "of b"}


async def test_cancelled_calls_leave_no_reply_to_others() -> None:
    chance = random.Random(5)
    async with FaultyProxy(shared_port()) as proxy, MemcachedStore(port=proxy.port) as store:
        await store.put_many("cancel", {str(number): number for number in range(20)})
        proxy.delay = 0.002

        async def use() -> None:
            for _ in range(30):
                number = chance.randrange(20)
                call = asyncio.create_task(store.get("cancel", str(number)))
                await asyncio.sleep(chance.random() * 0.004)
                if chance.random() < 0.5:
                    call.cancel()
                (found,) = await asyncio.gather(call, return_exceptions=True)
                assert found == number or isinstance(found, asyncio.CancelledError)

        await asyncio.gather(*(use() for _ in range(5)))


# A large value takes the server longer to carry out than a small one that comes later over another connection.
SLOW = b"x" * 800_000


async def test_a_put_that_timed_out_never_lands_over_a_later_one() -> None:
    with private_server("memcached") as server:
        async with MemcachedStore(port=server.port, timeout=10) as store:
            for number in range(3):
                await asyncio.gather(store.put("a", "k", "before"), store.get("a", "k"))
                pause(server)
                with impatient(store, 0.5):
                    for value in (SLOW, "not even sent"):
                        with pytest.raises(StoreTimeoutError):
                            await store.put("a", "k", value)
                server.resume()
                await store.put("a", "k", number)
                await asyncio.sleep(0.02)
                assert await store.get("a", "k") == number


async def test_a_put_cancelled_while_the_server_stands_never_lands_over_a_later_one() -> None:
    with private_server("memcached") as server:
        async with MemcachedStore(port=server.port) as store:
            for number in range(20):
                await asyncio.gather(store.put("a", "k", "before"), store.get("a", "k"))
                pause(server)
                call = asyncio.create_task(store.put("a", "k", SLOW))
                await asyncio.sleep(0.02)
                call.cancel()
                later = asyncio.create_task(store.put("a", "k", number))
                await asyncio.sleep(0.01)
                server.resume()
                await later
                await asyncio.sleep(0.02)
                assert await store.get("a", "k") == number


async def test_5000_concurrent_calls_share_at_most_4_connections() -> None:
    async with FaultyProxy(shared_port()) as proxy, MemcachedStore(port=proxy.port) as store:
        await asyncio.gather(*(store.put("many", str(number), number) for number in range(5000)))
        found = await asyncio.gather(*(store.get("many", str(number)) for number in range(5000)))
        await asyncio.gather(*(store.ping() for _ in range(100)))
        assert found == list(range(5000))
        assert proxy.connections <= 4


async def test_closing_ends_every_connection() -> None:
    with private_server("memcached") as server:

        def connections() -> int:
            stats = dict(line.split()[1:] for line in raw(server.port, b"stats\r\n").splitlines()[:-1])
            return int(stats[b"curr_connections"])

        before = connections()
        stores = [MemcachedStore(host=HOST, port=server.port) for _ in range(10)]
        for store in stores:
            await asyncio.gather(store.put("a", "k", 1), store.get("a", "k"))
        assert connections() >= before + 10
        for store in stores:
            await store.aclose()
        await until(lambda: connections() < before + 10)


def test_a_loop_that_ends_in_the_midst_of_a_put_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    with private_server("memcached") as server:
        store = MemcachedStore(port=server.port)

        async def leave_behind() -> None:
            await store.put("a", "k", 1)
            pause(server)
            task = asyncio.create_task(store.put("a", "k", 2))
            await asyncio.sleep(0.02)
            assert not task.done()

        asyncio.run(leave_behind())
        server.resume()
        assert asyncio.run(store.get("a", "k")) in (1, 2)
        asyncio.run(store.aclose())
        gc.collect()
        assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]
