from pathlib import Path

import pytest

from satchel import Clock
from tests.servers import server_url
from tests.stores.mongodb_places import MongoDBConformance, StoreOverMotor

pytestmark = [pytest.mark.server("mongodb"), pytest.mark.long]


class TestEmulatedMongoDBStoreOverMotor(MongoDBConformance):
    def make_store(self, clock: Clock, place: Path) -> StoreOverMotor:
        return StoreOverMotor(server_url("mongodb"), coll_name=place.name, clock=clock)
