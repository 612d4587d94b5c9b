"""A MongoDB whose network fails: calls end in time with an error, and the store works again."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from satchel import StoreError, StoreTimeoutError, StoreUnavailableError
from satchel.stores.mongodb import MongoDBStore
from scripts.test_servers.kinds import mongodb_on_disk
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.killed_under_load import Writers
from tests.stores.mongodb.places import blocking_detector, forgotten_sockets  # noqa: F401  # they are for all tests here

pytestmark = pytest.mark.server("mongodb")


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(urlsplit(server_url("mongodb")).port or 27017) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: FaultyProxy) -> AsyncIterator[MongoDBStore]:
    url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true&retryWrites=false&retryReads=false"
    async with MongoDBStore(url, coll_name=f"trouble-{uuid.uuid4().hex}", timeout=3) as store:
        await store.put("c", "k", "before")
        yield store


async def test_emulated_a_silent_server_is_a_timeout_and_no_answer_reaches_another_call(
    proxy: FaultyProxy, store: MongoDBStore
) -> None:
    await store.put("c", "other", "theirs")
    proxy.silent = True
    with pytest.raises(StoreTimeoutError) as failure:
        await store.get("c", "k")
    assert failure.value.retryable
    proxy.silent = False
    assert await store.get("c", "other") == "theirs"
    assert await store.get("c", "k") == "before"


async def test_emulated_cut_connections_are_unavailable_and_then_made_anew(
    proxy: FaultyProxy, store: MongoDBStore
) -> None:
    proxy.cut()
    for _ in range(5):
        try:
            await store.put("c", "k", "after")
            break
        except StoreUnavailableError:
            continue
    assert await store.get("c", "k") == "after"


async def test_emulated_a_cancelled_read_leaves_no_reply_to_a_later_one(
    proxy: FaultyProxy, store: MongoDBStore
) -> None:
    await store.put_many("c", {str(number): number for number in range(20)})
    proxy.delay = 0.05
    for number in range(20):
        cancelled = asyncio.create_task(store.get("c", str(number)))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert await store.get("c", str(19 - number)) == 19 - number


async def test_emulated_an_answer_cut_short_is_an_error_for_every_write_under_way(
    proxy: FaultyProxy, store: MongoDBStore
) -> None:
    proxy.cut_replies_after(10)
    outcomes = await asyncio.gather(
        *(store.put_if_absent("c", f"new {number}", number) for number in range(5)), return_exceptions=True
    )
    for number, outcome in enumerate(outcomes):
        # What was reported as written is there; nothing that failed was reported as found.
        assert isinstance(outcome, (str, StoreError)), outcome
        if isinstance(outcome, str):
            assert await store.get("c", f"new {number}") == number


@pytest.mark.long
async def test_emulated_a_server_killed_and_restarted_under_load_loses_nothing_acknowledged() -> None:
    with private_server("mongodb", mongodb_on_disk) as server:
        async with MongoDBStore(server.url, timeout=1) as store, Writers(store) as writers:
            await writers.write(40)
            await asyncio.to_thread(server.kill)
            await writers.fail()
            await asyncio.to_thread(server.start)
            await writers.write(40)
            await writers.stop()
