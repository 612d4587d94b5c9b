import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from satchel import Clock
from satchel.testing.conformance.suite import listed
from satchel.testing.machine import check_random_operations
from tests.servers import server_url
from tests.stores.mongodb.places import MongoDBConformance, StoreOverMotor

# Under load the emulator, which is slow by itself, takes longer than most tests may.
pytestmark = [pytest.mark.server("mongodb"), pytest.mark.long, pytest.mark.timeout(240)]


def by_night(test: Callable[..., Any]) -> Any:
    """Leave a test to the night that keeps the emulator busy for seconds with what is the same for every client."""

    @pytest.mark.night
    @functools.wraps(test)
    async def run(self: Any, **fixtures: Any) -> None:
        await test(self, **fixtures)

    return run


class TestEmulatedMongoDBStoreOverMotor(MongoDBConformance):
    test_large_batches_are_whole = by_night(MongoDBConformance.test_large_batches_are_whole)
    test_a_listing_goes_on_over_all_pages = by_night(MongoDBConformance.test_a_listing_goes_on_over_all_pages)
    test_what_is_there_throughout_is_listed_once = by_night(
        MongoDBConformance.test_what_is_there_throughout_is_listed_once
    )
    test_every_key_can_be_deleted_while_it_is_listed = by_night(
        MongoDBConformance.test_every_key_can_be_deleted_while_it_is_listed
    )
    test_a_listing_can_be_left_half_way = by_night(MongoDBConformance.test_a_listing_can_be_left_half_way)
    test_a_destroyed_collection_is_usable_at_once = by_night(
        MongoDBConformance.test_a_destroyed_collection_is_usable_at_once
    )
    test_three_megabytes_of_json_come_back = by_night(MongoDBConformance.test_three_megabytes_of_json_come_back)

    def make_store(self, clock: Clock, place: Path) -> StoreOverMotor:
        return StoreOverMotor(server_url("mongodb"), coll_name=place.name, clock=clock)

    async def test_what_is_more_than_a_page_and_a_batch_is_whole(self, store: StoreOverMotor) -> None:
        """Does by day, with one page and a little, what the tests above do by night with many."""
        items: dict[str, Any] = {f"key {number:03}": number for number in range(520)}
        items["key 000"] = [{"name": f"user {number}"} for number in range(5000)]  # goes through a worker thread
        await store.put_many("c", items)
        found = await store.get_many("c", items)
        assert found == items
        assert list(found) == list(items)
        async for key in store.keys("c"):
            if int(key[-3:]) < 10 or int(key[-3:]) > 500:
                assert await store.delete("c", key) is True
        assert await listed(store.keys("c")) == sorted(items)[10:501]
        assert await store.delete_many("c", items) == 491
        await store.put_many("c", items)
        assert await store.destroy_collection("c") is True
        assert await listed(store.keys("c")) == []

    def test_random_operations_agree_with_a_dict(self, tmp_path: Path) -> None:
        unhurried = [HealthCheck.too_slow, HealthCheck.data_too_large]
        a_tenth = settings(max_examples=settings().max_examples // 10, suppress_health_check=unhurried)
        check_random_operations(self.make_store, tmp_path, persistent=self.persistent, chosen=a_tenth)
