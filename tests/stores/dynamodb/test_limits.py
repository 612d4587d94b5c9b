"""The limits of DynamoDB: the size of an item, of a batch and of an answer, and throttling."""

import asyncio
import os
from typing import Any

import pytest

from satchel import BatchError, StoreUnavailableError, ValueTooLargeError
from satchel.stores.dynamodb.items import MAX_ITEM_BYTES
from tests.stores.dynamodb.table import Endpoint, local_store, new_name, new_store, refusal

pytestmark = pytest.mark.server("dynamodb")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.backend.coalescer._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("satchel.stores.dynamodb.table._PAUSES", (0.001,) * 3)


def largest(error: ValueTooLargeError) -> int:
    """Return how many bytes of a value there is room for, as the error says."""
    return int(str(error).rpartition("leaves ")[2].split()[0])


@pytest.mark.parametrize(
    ("collection", "key"),
    [("c", "k"), ("é" * 900, "k" * 1000), ("c" * 4096, "é" * 2048)],
    ids=["short", "long", "hashed"],
)
@pytest.mark.parametrize("ttl", [None, 3600])
async def test_the_largest_value_that_is_accepted_is_accepted_by_dynamodb(
    collection: str, key: str, ttl: float | None
) -> None:
    async with new_store() as store:
        with pytest.raises(ValueTooLargeError) as refused:
            await store.put(collection, key, bytes(MAX_ITEM_BYTES), ttl=ttl)
        room = largest(refused.value)
        value = os.urandom(room)
        await store.put(collection, key, value, ttl=ttl)
        assert await store.get(collection, key) == value
        text = "é" * (room // 2 - 1)
        assert await store.put_if_absent(collection, f"{key[:-1]}t", text, ttl=ttl) is not None
        assert await store.get(collection, f"{key[:-1]}t") == text


async def test_a_value_that_is_too_large_is_refused_before_it_is_sent() -> None:
    name = new_name()
    async with (
        Endpoint(lambda *_: None) as endpoint,
        local_store(name, endpoint_url=endpoint.url, create_table=True) as store,
    ):
        await store.ping()
        asked = len(endpoint.asked)
        for call in (store.put, store.put_if_absent):
            for size in (MAX_ITEM_BYTES - 10, MAX_ITEM_BYTES + 1, 5_000_000):
                with pytest.raises(ValueTooLargeError, match="at most 409600"):
                    await call("c", "k", bytes(size))
        assert len(endpoint.asked) == asked
        with pytest.raises(BatchError) as failed:
            await store.put_many("c", {"large": bytes(MAX_ITEM_BYTES - 10), "small": 1, "other": 2})
        assert list(failed.value.failed) == ["large"]
        assert await store.get_many("c", ["large", "small", "other"]) == {"small": 1, "other": 2}


async def test_an_answer_of_more_than_16_megabytes_comes_in_parts() -> None:
    name, value = new_name(), os.urandom(390_000)
    async with local_store(name, create_table=True) as store:
        await store.put_many("c", {str(number): value for number in range(50)})
    counted = Endpoint(lambda *_: None)
    async with counted as endpoint, local_store(name, endpoint_url=endpoint.url) as store:
        found = await store.get_many("c", map(str, range(60)))
    assert len(found) == 50
    assert all(each == value for each in found.values())
    assert counted.asked.count("BatchGetItem") > 1


async def test_500_keys_are_written_read_and_removed_in_batches() -> None:
    sizes: dict[str, list[int]] = {"BatchGetItem": [], "BatchWriteItem": []}

    def count(operation: str, body: dict[str, Any]) -> None:
        for part in body.get("RequestItems", {}).values():
            sizes[operation].append(len(part["Keys"] if operation == "BatchGetItem" else part))

    name = new_name()
    async with Endpoint(count) as endpoint, local_store(name, endpoint_url=endpoint.url, create_table=True) as store:
        await store.put_many("c", {str(number): number for number in range(500)})
        assert await store.get_many("c", map(str, range(600))) == {str(number): number for number in range(500)}
        assert await store.delete_many("c", map(str, range(600))) == 500
    assert sizes == {"BatchGetItem": [100] * 6, "BatchWriteItem": [25] * 20}


class Throttle:
    """Refuses the first requests of each kind, as AWS does past the capacity of a table."""

    def __init__(self, times: int, code: str = "ProvisionedThroughputExceededException") -> None:
        self.times, self.code = times, code
        self.refused: dict[str, int] = {}

    def __call__(self, operation: str, _: object) -> Any:
        if operation.startswith("Describe") or self.refused.get(operation, 0) >= self.times:
            return None
        self.refused[operation] = self.refused.get(operation, 0) + 1
        return refusal(self.code, "slow down")


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"]
)
async def test_throttled_requests_are_sent_again_as_aws_documents_them(code: str) -> None:
    name, throttle = new_name(), Throttle(3, code)
    async with local_store(name, create_table=True) as store:
        await store.ping()
    async with Endpoint(throttle) as endpoint, local_store(name, endpoint_url=endpoint.url) as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
        await store.put_many("c", {"l": 2, "m": 3})
        assert await store.get_many("c", ["l", "m", "x"]) == {"l": 2, "m": 3}
        assert await store.touch("c", "k", ttl=60)
        version = await store.put_if_absent("c", "n", 4)
        assert version is not None
        assert await store.compare_and_delete("c", "n", version=version) is True
        assert await store.delete("c", "m") is True
        assert sorted([key async for key in store.keys("c")]) == ["k", "l"]
        assert [each async for each in store.collections()] == ["c"]
        assert await store.destroy() is True
    assert set(throttle.refused) == {
        *("PutItem", "GetItem", "BatchWriteItem", "BatchGetItem", "UpdateItem", "DeleteItem", "Query", "Scan")
    }
    assert set(throttle.refused.values()) == {3}


async def test_throttling_without_end_is_a_retryable_error() -> None:
    name = new_name()
    async with local_store(name, create_table=True) as store:
        await store.ping()
    async with Endpoint(Throttle(10**6)) as endpoint, local_store(name, endpoint_url=endpoint.url) as store:
        for call in (store.get("c", "k"), store.put("c", "k", 1), store.delete("c", "k"), store.destroy()):
            with pytest.raises(StoreUnavailableError) as refused:
                await call
            assert refused.value.retryable
        with pytest.raises(BatchError) as failed:
            await store.put_many("c", {"k": 1, "l": 2})
        assert failed.value.retryable


class HandsBack:
    """Carries out one part of each batch, and hands the rest back."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, operation: str, body: dict[str, Any]) -> Any:
        wanted = body.get("RequestItems", {})
        for table, part in wanted.items():
            items = part if operation == "BatchWriteItem" else part["Keys"]
            if len(items) > 1:
                self.times += 1
                field = "UnprocessedItems" if operation == "BatchWriteItem" else "UnprocessedKeys"
                extra = {} if operation == "BatchWriteItem" else {"Responses": {table: []}}
                return 200, {field: wanted, **extra}
        return None


async def test_items_that_are_handed_back_are_sent_again() -> None:
    """The local server hands nothing back, so an HTTP server does what AWS documents: nothing done, all returned."""
    name = new_name()
    hands_back = HandsBack()
    seen = 0

    def answer(operation: str, body: dict[str, Any]) -> Any:
        nonlocal seen
        seen += operation.startswith("Batch")
        return hands_back(operation, body) if operation.startswith("Batch") and seen % 2 else None

    async with local_store(name, create_table=True) as store:
        await store.ping()
    async with Endpoint(answer) as endpoint, local_store(name, endpoint_url=endpoint.url) as store:
        await store.put_many("c", {str(number): number for number in range(20)})
        assert await store.get_many("c", map(str, range(20))) == {str(number): number for number in range(20)}
        assert await store.destroy_collection("c") is True
        assert await store.get_many("c", map(str, range(20))) == {}
    assert hands_back.times == 4


async def test_300_concurrent_calls_wait_for_their_turn() -> None:
    async with new_store() as store:
        await asyncio.gather(*(store.put("c", str(number), number) for number in range(300)))
        taken = await asyncio.gather(*(store.put_if_absent("c", str(number), 0) for number in range(600)))
        assert sum(version is not None for version in taken) == 300
        assert sum(await asyncio.gather(*(store.delete("c", str(number)) for number in range(600)))) == 600
