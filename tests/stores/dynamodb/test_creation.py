"""`create_table=`: by any number of starters at once, waiting as long as AWS takes."""

import asyncio
import time
from typing import Any

import pytest

from satchel import ConfigurationError, StoreError
from tests.stores.dynamodb.table import Endpoint, local_store, new_name, raw_client, refusal
from tests.stores.dynamodb.test_errors import KEY

pytestmark = pytest.mark.server("dynamodb")


async def test_many_starters_make_one_table() -> None:
    name = new_name()
    stores = [local_store(name, create_table=True) for _ in range(8)]
    await asyncio.gather(*(store.put("c", str(number), number) for number, store in enumerate(stores)))
    assert len(await stores[0].get_many("c", map(str, range(8)))) == 8
    await asyncio.gather(*(store.aclose() for store in stores))
    async with raw_client() as client:
        table = (await client.describe_table(TableName=name))["Table"]
        expiry = (await client.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


async def test_further_arguments_of_create_table() -> None:
    capacity = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 2}
    name = new_name()
    options = {"BillingMode": "PROVISIONED", "ProvisionedThroughput": capacity, "DeletionProtectionEnabled": True}
    async with local_store(name, create_table=options) as store, raw_client() as client:
        await store.ping()
        table = (await client.describe_table(TableName=name))["Table"]
    assert table["DeletionProtectionEnabled"] is True
    assert {each: table["ProvisionedThroughput"][each] for each in capacity} == capacity


async def test_without_create_table_nothing_is_made() -> None:
    name = new_name()
    async with local_store(name) as store, raw_client() as client:
        with pytest.raises(StoreError, match="create_table=True"):
            await store.get("c", "k")
        assert name not in (await client.list_tables())["TableNames"]
        async with local_store(name, create_table=True) as maker:
            await maker.put("c", "k", 1)
        assert await store.get("c", "k") == 1, "a failed opening is tried again"


class Slow:
    """Makes a table as slowly as AWS does: it is missing, then being made for a time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.made_at = 0.0
        self.expires = False

    def __call__(self, operation: str, body: dict[str, Any]) -> Any:
        ready = self.made_at and time.monotonic() > self.made_at + self.seconds
        match operation:
            case "DescribeTable" if not self.made_at:
                return refusal("ResourceNotFoundException", "Requested resource not found")
            case "DescribeTable":
                return 200, {"Table": {"TableStatus": "ACTIVE" if ready else "CREATING", **KEY}}
            case "CreateTable" if self.made_at:
                return refusal("ResourceInUseException", "Table already exists: some-table")
            case "CreateTable":
                self.made_at = time.monotonic()
                return 200, {"TableDescription": {}}
            case "DescribeTimeToLive":
                status = {"TimeToLiveStatus": "ENABLING", "AttributeName": "ttl"} if self.expires else {}
                return 200, {"TimeToLiveDescription": status}
            case "UpdateTimeToLive" if self.expires:
                return refusal("ValidationException", "TimeToLive is already enabled")
            case "UpdateTimeToLive":
                self.expires = True
                return 200, {}
        return (200, {}) if ready else refusal("ResourceNotFoundException", "Requested resource not found")


async def test_opening_waits_for_the_table_longer_than_for_a_request() -> None:
    """An HTTP server stands for AWS, which takes seconds where the local one takes none."""
    slow = Slow(2.2)
    async with Endpoint(slow) as endpoint:
        where = {"endpoint_url": endpoint.url, "timeout": 2}
        makers = [local_store("some-table", create_table=True, **where) for _ in range(2)]
        await asyncio.gather(*(store.ping() for store in makers))
        assert slow.expires
        await asyncio.gather(*(store.aclose() for store in makers))


async def test_a_table_that_another_is_making_is_waited_for() -> None:
    slow = Slow(0.5)
    slow.made_at = time.monotonic()
    async with Endpoint(slow) as endpoint, local_store("some-table", endpoint_url=endpoint.url) as store:
        assert await store.get("c", "k") is None
        assert "CreateTable" not in endpoint.asked
        assert "UpdateTimeToLive" not in endpoint.asked


async def test_a_user_who_may_only_read_and_write_items_needs_no_other_permission() -> None:
    name = new_name()
    async with local_store(name, create_table=True) as store:
        await store.put("c", "k", 1)
    used = {"GetItem", "PutItem"}

    def answer(operation: str, _: object) -> Any:
        return None if operation in used else refusal("AccessDeniedException", "not authorized to perform")

    async with Endpoint(answer) as endpoint, local_store(name, endpoint_url=endpoint.url) as store:
        assert await store.get("c", "k") == 1
        await store.put("c", "k", 2)
        with pytest.raises(StoreError, match="do not permit dynamodb:DeleteItem on table"):
            await store.delete("c", "k")


async def test_a_table_that_expires_by_another_attribute_is_not_changed() -> None:
    name = new_name()
    async with local_store(name, create_table=True) as store, raw_client() as client:
        await store.ping()
        for specification in ({"Enabled": False, "AttributeName": "ttl"}, {"Enabled": True, "AttributeName": "theirs"}):
            await client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
        async with local_store(name, create_table=True) as other:
            with pytest.raises(ConfigurationError, match="by the attribute 'theirs'"):
                await other.ping()
        async with local_store(name) as other:
            await other.put("c", "k", 1)
