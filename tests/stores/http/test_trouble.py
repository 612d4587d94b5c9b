"""Servers and networks that fail: an error that says so, never a wrong answer, and the store works again by itself."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from satchel import MemoryStore, StoreUnavailableError
from satchel.server import create_app
from satchel.stores.http import HTTPStore
from tests.patience import gives_up
from tests.proxy import FaultyProxy
from tests.stores.http.processes import Process
from tests.stores.http.serving import Serving
from tests.stores.killed_under_load import Writers


@pytest.fixture
async def proxy(serving):
    async with FaultyProxy(serving.port) as proxy:
        yield proxy


@asynccontextmanager
async def behind(proxy, serving, name, **options):
    """Give a store over the app of this name, seen through the proxy."""
    url = serving.mount(name, MemoryStore).replace(str(serving.port), str(proxy.port))
    async with HTTPStore(url, **options) as store:
        await store.ping()
        yield store


async def test_a_reply_that_is_cut_anywhere_loses_nothing_and_does_nothing_twice(proxy, serving):
    async with behind(proxy, serving, "cut") as store:
        before = proxy.answered
        await store.put_if_absent("c", "first", 0)
        whole = proxy.answered - before
        for size in range(0, whole, 19):
            key = str(size)
            proxy.cut_replies_after(size)
            version = await store.put_if_absent("c", key, "made")
            assert version is not None, "it was the only one to write this key"
            proxy.cut_replies_after(size)
            changed = await store.compare_and_put("c", key, "changed", version=version)
            entry = await store.get_entry("c", key)
            assert (entry.value, entry.version) == ("changed", changed)
            proxy.cut_replies_after(size)
            await store.put("c", f"{key}-plain", size)
            proxy.cut_replies_after(size)
            assert await store.touch("c", key, ttl=60) is True
            proxy.cut_replies_after(size)
            assert await store.compare_and_delete("c", key, version=changed) is True
            proxy.cut_replies_after(size)
            assert await store.delete("c", f"{key}-plain") is True
        assert [key async for key in store.keys("c")] == ["first"]


async def test_a_reply_that_is_cut_anywhere_costs_a_read_nothing(proxy, serving):
    async with behind(proxy, serving, "read") as store:
        await store.put("c", "k", "value")
        before = proxy.answered
        await store.get("c", "k")
        for size in range(0, proxy.answered - before, 29):
            proxy.cut_replies_after(size)
            assert await store.get("c", "k") == "value"
            proxy.cut_replies_after(size)
            assert [key async for key in store.keys("c", after="")] == ["k"]
            proxy.cut_replies_after(size)
            assert await store.count("c") == 1


async def test_a_listing_that_is_cut_is_an_error_and_never_short(proxy, serving):
    async with behind(proxy, serving, "listing") as store:
        await store.put_many("c", {f"key-{number}": number for number in range(300)})
        before = proxy.answered
        assert len([key async for key in store.keys("c")]) == 300
        whole = proxy.answered - before
        failed = 0
        for size in range(0, whole, whole // 20):
            proxy.cut_replies_after(size)
            try:
                assert len([key async for key in store.keys("c")]) == 300
            except StoreUnavailableError as error:
                failed += error.retryable
        assert failed


async def test_a_change_that_an_earlier_run_of_the_server_may_have_made_is_not_made_again(proxy, serving):
    async with behind(proxy, serving, "restarted") as store:
        old, new = serving.apps["restarted"], create_app(MemoryStore())

        async def restarting(scope, receive, send):
            serving.apps["restarted"] = new
            await old(scope, receive, send)

        await store.put("c", "first", 1)
        serving.apps["restarted"] = restarting
        proxy.cut_replies_after(0)
        with pytest.raises(StoreUnavailableError, match="may or may not have happened") as failed:
            await store.put_if_absent("c", "k", 1)
        assert failed.value.retryable
        assert await store.exists("c", "k") is False, "the second run did nothing"
        assert await store.put_if_absent("c", "k", 2) is not None


async def test_a_cut_connection_fails_nothing_that_can_be_asked_again(proxy, serving):
    async with behind(proxy, serving, "dropped") as store:
        proxy.delay = 0.1
        calls = [asyncio.create_task(store.put_if_absent("c", str(number), number)) for number in range(20)]
        await asyncio.sleep(0.05)
        proxy.cut()
        proxy.delay = 0
        assert None not in await asyncio.gather(*calls)
        assert await store.count("c") == 20


@pytest.mark.long
async def test_a_silent_server_is_given_up_in_time_and_used_again(proxy, serving):
    async with behind(proxy, serving, "silent") as store:
        await gives_up(store, proxy)


@pytest.mark.long
async def test_cancelled_calls_leave_no_answer_to_others(proxy, serving):
    async with behind(proxy, serving, "cancelled") as store:
        await store.put_many("c", {str(number): number for number in range(20)})
        proxy.delay = 0.01
        for number in range(20):
            call = asyncio.create_task(store.get("c", str(number)))
            await asyncio.sleep(number % 5 * 0.005)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert await store.get("c", str(19 - number)) == 19 - number


async def test_a_server_that_was_started_again_is_used_again():
    with Serving() as serving:
        url = serving.mount("s", MemoryStore)
        store = HTTPStore(url)
        await store.put("c", "k", 1)
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        await store.get("c", "k")
    with Serving(serving.port) as again:
        again.mount("s", MemoryStore)
        assert await store.get("c", "k") is None
        await store.put("c", "k", 2)
        assert await store.get("c", "k") == 2
        await store.aclose()


@pytest.mark.long
async def test_a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged(tmp_path):
    with Process(f"disk://{tmp_path}/data") as server:
        async with HTTPStore(server.url, timeout=5) as store, Writers(store, count=10) as writers:
            await writers.write(50)
            await asyncio.to_thread(server.kill)
            await writers.fail()
            await asyncio.to_thread(server.start)
            await writers.write(50)
            await writers.stop()


@pytest.mark.long
async def test_a_server_that_is_stopped_under_load_answers_what_it_has_taken(tmp_path):
    with Process(f"disk://{tmp_path}/data") as server:
        async with HTTPStore(server.url, timeout=5) as store, Writers(store, count=10) as writers:
            await writers.write(50)
            await asyncio.to_thread(server.stop)
            await writers.fail()
            await asyncio.to_thread(server.start)
            await writers.write(50)
            await writers.stop()
