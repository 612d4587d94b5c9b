"""A network that fails, and a server that dies: nothing acknowledged is lost, nothing wrong is answered."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiobotocore.config import AioConfig

from satchel import BatchError, StoreError, StoreTimeoutError, StoreUnavailableError
from satchel.stores.dynamodb import DynamoDBStore
from scripts.test_servers.kinds import dynamodb_on_disk
from scripts.test_servers.server import Server
from tests.proxy import FaultyProxy
from tests.servers import server_url
from tests.stores.dynamodb.table import Endpoint, local_store, new_name, raw_client
from tests.stores.killed_under_load import Writers

pytestmark = pytest.mark.server("dynamodb")


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(urlsplit(server_url("dynamodb")).port or 0) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: FaultyProxy) -> AsyncIterator[DynamoDBStore]:
    async with through(proxy, create_table=True) as store:
        await store.put("c", "k", "before")
        yield store


def through(proxy: FaultyProxy, **options: Any) -> DynamoDBStore:
    return local_store(new_name(), endpoint_url=f"http://127.0.0.1:{proxy.port}", **options)


async def test_a_read_over_a_connection_that_had_ended_is_sent_again(store: DynamoDBStore, proxy: FaultyProxy) -> None:
    for _ in range(3):
        proxy.cut()
        assert await store.get("c", "k") == "before"
        proxy.cut()
        assert await store.get_many("c", ["k", "l"]) == {"k": "before"}


async def test_a_write_that_was_cut_off_is_not_sent_again(store: DynamoDBStore, proxy: FaultyProxy) -> None:
    proxy.cut_replies_after(0)
    with pytest.raises(StoreUnavailableError) as failed:
        await store.put("c", "k", "after")
    assert failed.value.retryable
    assert await store.get("c", "k") == "after", "the reply was lost, not the request"


async def test_a_reply_that_is_cut_in_the_middle_is_no_value(store: DynamoDBStore, proxy: FaultyProxy) -> None:
    value = os.urandom(200_000)
    await store.put("c", "large", value)
    for size in (10, 300, 100_000):
        proxy.cut_replies_after(size)
        assert await store.get("c", "large") == value, "it is sent again"


@pytest.mark.parametrize("verb", ["put_if_absent", "compare_and_put", "compare_and_delete", "delete", "touch"])
async def test_a_conditional_write_whose_reply_is_lost_is_an_error_and_not_a_wrong_answer(
    store: DynamoDBStore, proxy: FaultyProxy, verb: str
) -> None:
    entry = await store.get_entry("c", "k")
    assert entry is not None
    calls: dict[str, Any] = {
        "put_if_absent": lambda: store.put_if_absent("c", "new", 1),
        "compare_and_put": lambda: store.compare_and_put("c", "k", 2, version=entry.version),
        "compare_and_delete": lambda: store.compare_and_delete("c", "k", version=entry.version),
        "delete": lambda: store.delete("c", "k"),
        "touch": lambda: store.touch("c", "k", ttl=60),
    }
    proxy.cut_replies_after(0)
    with pytest.raises(StoreUnavailableError):
        await calls[verb]()


async def test_silence_ends_in_a_timeout_and_no_later_call_gets_an_earlier_reply(proxy: FaultyProxy) -> None:
    async with through(proxy, create_table=True) as store:
        await store.put_many("c", {str(number): number for number in range(20)})
        proxy.delay, patience, store._timeout = 0.8, store._timeout, 0.3
        for number in range(3):
            with pytest.raises(StoreTimeoutError):
                await store.get("c", str(number))
        proxy.delay, store._timeout = 0.0, patience
        for number in range(19, -1, -1):
            assert await store.get("c", str(number)) == number
        await asyncio.sleep(0.9)
        assert await store.get_many("c", map(str, range(20))) == {str(number): number for number in range(20)}


async def test_silence_ends_a_batch_of_single_requests_that_wait_for_their_turn(proxy: FaultyProxy) -> None:
    async with through(proxy, create_table=True) as store:
        await store.ping()
        proxy.silent, patience, store._timeout = True, store._timeout, 0.3
        with pytest.raises(BatchError) as failed:
            await store.delete_many("c", map(str, range(25)))
        assert {type(error) for error in failed.value.failed.values()} == {StoreTimeoutError}
        proxy.silent, store._timeout = False, patience
        proxy.cut()
        assert await store.delete_many("c", map(str, range(25))) == 0


async def test_a_cancelled_read_leaves_no_reply_behind(store: DynamoDBStore, proxy: FaultyProxy) -> None:
    await store.put_many("c", {str(number): number for number in range(20)})
    proxy.delay = 0.05
    for number in range(10):
        reading = asyncio.create_task(store.get("c", str(number)))
        await asyncio.sleep(0.02)
        reading.cancel()
        assert await store.get("c", str(number + 10)) == number + 10


async def test_an_endpoint_that_refuses_is_unavailable_and_comes_back(store: DynamoDBStore, proxy: FaultyProxy) -> None:
    proxy.refuse = True
    proxy.cut()
    for call in (store.get("c", "k"), store.put("c", "k", 1), store.put_if_absent("c", "k", 1), store.destroy()):
        with pytest.raises(StoreUnavailableError):
            await call
    proxy.refuse = False
    assert await store.get("c", "k") == "before"


# A client of the caller's sends again by itself, as the driver's own settings say.


@pytest.fixture
async def resending(proxy: FaultyProxy) -> AsyncIterator[DynamoDBStore]:
    url = f"http://127.0.0.1:{proxy.port}"
    settings = AioConfig(retries={"total_max_attempts": 4, "mode": "standard"})
    async with (
        raw_client(url, config=settings) as client,
        DynamoDBStore(new_name(), client=client, create_table=True) as store,
    ):
        await store.put("c", "k", "before")
        yield store


async def test_put_if_absent_that_a_client_sent_again_knows_its_own_write(
    resending: DynamoDBStore, proxy: FaultyProxy
) -> None:
    proxy.cut_replies_after(0)
    version = await resending.put_if_absent("c", "new", 1)
    entry = await resending.get_entry("c", "new")
    assert entry is not None
    assert entry.version == version
    proxy.cut_replies_after(0)
    assert await resending.compare_and_put("c", "new", 2, version=entry.version) is not None
    assert await resending.get("c", "new") == 2


async def test_what_a_client_sent_again_and_cannot_be_told_is_an_error(
    resending: DynamoDBStore, proxy: FaultyProxy
) -> None:
    entry = await resending.get_entry("c", "k")
    assert entry is not None
    for call in (
        lambda: resending.compare_and_delete("c", "k", version=entry.version),
        lambda: resending.delete("c", "never there"),
    ):
        proxy.cut_replies_after(0)
        with pytest.raises(StoreError, match="total_max_attempts"):
            await call()
    assert await resending.compare_and_delete("c", "k", version=entry.version) is False


async def test_a_client_of_the_stores_own_sends_once() -> None:
    attempts = 0

    def answer(operation: str, _: object) -> Any:
        nonlocal attempts
        attempts += operation == "PutItem"
        return (500, {"__type": "InternalServerError"}) if operation == "PutItem" else None

    async with (
        Endpoint(answer) as endpoint,
        local_store(new_name(), endpoint_url=endpoint.url, create_table=True) as it,
    ):
        with pytest.raises(StoreUnavailableError):
            await it.put_if_absent("c", "k", 1)
        assert attempts == 1


# A server that is killed. On disk, the local DynamoDB keeps what it acknowledged.


@pytest.mark.long
@pytest.mark.timeout(180)  # it starts a Java machine twice, and what is on disk is slow
async def test_a_server_killed_and_restarted_under_load_loses_nothing_acknowledged() -> None:
    with Server("dynamodb", dynamodb_on_disk) as server:
        await asyncio.to_thread(server.start)
        async with local_store(new_name(), endpoint_url=server.url, create_table=True, timeout=5) as store:
            await store.ping()
            async with Writers(store) as writers:
                await writers.write(20)
                await asyncio.to_thread(server.kill)
                await writers.fail()
                await asyncio.to_thread(server.start)
                await writers.write(20)
                await writers.stop()
            await asyncio.to_thread(server.kill)  # it takes its time to end by itself


async def test_of_those_who_delete_one_entry_at_once_one_is_told_that_it_was_there() -> None:
    name = new_name()
    async with local_store(name, create_table=True) as one, local_store(name) as other:
        for _ in range(60):  # the local DynamoDB gives the old item to several who ask without a condition
            await one.put("c", "k", "there")
            deletions = [store.delete("c", "k") for store in (one, other)]
            assert sorted(await asyncio.gather(*deletions)) == [False, True]
