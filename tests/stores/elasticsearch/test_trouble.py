"""Servers and networks that fail: an error that says so, never a wrong answer, and the store works again by itself."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest
from elasticsearch import AsyncElasticsearch

from satchel import BatchError, StoreUnavailableError
from tests.patience import gives_up, impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.elasticsearch.indices import indices_go, looking, make_store, new_prefix  # noqa: F401  # fixtures
from tests.stores.killed_under_load import Writers
from tests.stores.late import LateProxy

pytestmark = [pytest.mark.server("elasticsearch"), pytest.mark.filterwarnings("ignore:Sending a large body")]


@pytest.fixture
async def proxy():
    async with FaultyProxy(urlsplit(server_url("elasticsearch")).port) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy, prefix):
    async with make_store(prefix, f"elasticsearch://127.0.0.1:{proxy.port}", timeout=10) as store:
        await store.put("c", "first", 1)
        yield store


async def test_emulated_a_change_whose_answer_was_lost_is_not_sent_again(store, proxy):
    for number in range(5):
        await store.exists("c", "first")  # so that the connection is one that was used before
        proxy.cut_replies_after(0)
        with pytest.raises(StoreUnavailableError):
            await store.put_if_absent("c", str(number), number)
        assert await store.get("c", str(number)) == number, "it was carried out, so None would have been wrong"
        entry = await store.get_entry("c", str(number))
        proxy.cut_replies_after(600)  # the look at the entry has its answer, the change has none
        try:
            done = await store.compare_and_put("c", str(number), "new", version=entry.version)
        except StoreUnavailableError:
            done = "unknown"
        assert done is not None


async def test_emulated_a_cut_connection_fails_what_was_under_way_and_no_more(store, proxy):
    proxy.delay, answered = 1000.0, proxy.answered
    calls = [asyncio.create_task(store.put("c", str(number), number)) for number in range(20)]
    await until(lambda: proxy.answered > answered)
    proxy.cut()
    proxy.delay = 0
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
    assert all(outcome is None or isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
    await store.put("c", "k", 1)
    assert await store.get("c", "k") == 1


async def test_emulated_a_silent_server_is_given_up_in_time_and_used_again(proxy, prefix):
    async with make_store(prefix, f"elasticsearch://127.0.0.1:{proxy.port}", timeout=10) as store:
        await gives_up(store, proxy)


async def test_emulated_a_put_that_arrives_late_does_not_replace_a_later_one(prefix):
    async with (
        LateProxy(urlsplit(server_url("elasticsearch")).port) as proxy,
        make_store(prefix, f"elasticsearch://127.0.0.1:{proxy.port}", timeout=10) as store,
    ):
        await store.put_many("c", {"a": "old", "b": "old"})
        proxy.holding = True
        with impatient(store), pytest.raises(BatchError):
            await store.put_many("c", {"a": "late", "b": "late"})
        proxy.holding = False
        await store.put("c", "a", "new")
        assert b" 200 OK" in await proxy.deliver()
        assert await store.get_many("c", ["a", "b"]) == {"a": "new", "b": "late"}


async def test_emulated_a_put_takes_effect_after_that_of_a_host_whose_clock_is_ahead(prefix, client):
    async with make_store(prefix) as store:
        await store.put_many("c", {"a": 0, "b": 0})
        document = (await client.get(index=prefix, id="c:a"))["_source"]
        tomorrow = int((time.time() + 86400) * 1_000_000)
        await client.index(index=prefix, id="c:a", document=document, version=tomorrow, version_type="external")
        for number in range(1, 4):
            await store.put_many("c", {"a": number, "b": number})
            assert await store.get_many("c", ["a", "b"]) == {"a": number, "b": number}
            assert await store.touch("c", "a", ttl=60) is True
        assert await store.delete("c", "a") is True
        await store.put("c", "a", "again")
        assert await store.get("c", "a") == "again"


async def test_emulated_cancelled_calls_leave_no_answer_to_others(store, proxy):
    proxy.delay = 0.02
    await store.put_many("c", {str(number): number for number in range(50)})
    for number in range(50):
        call = asyncio.create_task(store.get("c", str(number)))
        await asyncio.sleep(number % 5 * 0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await store.get("c", str(49 - number)) == 49 - number


async def test_emulated_a_store_works_again_when_its_server_is_killed_and_restarted_under_load(prefix):
    with private_server("elasticsearch") as server:
        async with make_store(prefix, server.url, timeout=5) as store, Writers(store, count=10) as writers:
            await writers.write(50)
            await asyncio.to_thread(server.kill)
            await writers.fail()
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await store.get("c", "0-1")
            writers.forget()  # the emulator has lost everything, the index too
            await asyncio.to_thread(server.start)
            await writers.write(50)
            await writers.stop()
            assert await store.get("c", "0-1") is None
        async with AsyncElasticsearch(server.url.replace("elasticsearch", "http", 1)) as looking_there:
            found = await looking_there.indices.get_mapping(index=f"{prefix}*")
        assert [index["mappings"]["dynamic"] for index in found.values()] == ["strict"]


async def test_emulated_nothing_can_be_reached(prefix):
    async with FaultyProxy(1) as proxy:
        port = proxy.port
    async with make_store(prefix, f"elasticsearch://user:hunter2@127.0.0.1:{port}") as store:
        for call in (store.get("c", "k"), store.put("c", "k", 1), store.ping()):
            with pytest.raises(StoreUnavailableError, match="cannot be reached") as failed:
                await call
            assert "hunter2" not in f"{failed.value!r}{failed.value.store}{failed.value.__cause__!r}"


async def test_emulated_two_stores_increment_together(prefix):
    async with make_store(prefix) as one, make_store(prefix) as other:
        await one.put("c", "count", 0)

        async def increment(store):
            while True:
                entry = await store.get_entry("c", "count")
                if await store.compare_and_put("c", "count", entry.value + 1, version=entry.version):
                    return

        await asyncio.gather(*(increment(store) for store in (one, other) * 15))
        assert await one.get("c", "count") == 30
        deleted = await asyncio.gather(*(store.delete("c", "count") for store in (one, other)))
        assert sorted(deleted) == [False, True]
