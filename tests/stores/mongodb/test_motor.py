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


def make_store(clock: Clock, place: Path) -> StoreOverMotor:
    return StoreOverMotor(server_url("mongodb"), coll_name=place.name, clock=clock)


@pytest.mark.night  # by day, the suite runs over PyMongo's own driver
class TestEmulatedMongoDBStoreOverMotor(MongoDBConformance):
    def make_store(self, clock: Clock, place: Path) -> StoreOverMotor:
        return make_store(clock, place)


async def test_what_is_more_than_a_page_and_a_batch_is_whole(tmp_path: Path) -> None:
    async with StoreOverMotor(server_url("mongodb"), coll_name=tmp_path.name) as store:
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


def test_random_operations_agree_with_a_dict(tmp_path: Path) -> None:
    unhurried = [HealthCheck.too_slow, HealthCheck.data_too_large]
    a_tenth = settings(max_examples=settings().max_examples // 10, suppress_health_check=unhurried)
    check_random_operations(make_store, tmp_path, persistent=MongoDBConformance.persistent, chosen=a_tenth)
