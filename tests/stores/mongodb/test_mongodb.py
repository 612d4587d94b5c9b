from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.mongodb import MongoDBStore
from tests.servers import server_url
from tests.stores.mongodb.places import MongoDBConformance

# Under load the emulator, which is slow by itself, takes longer than most tests may.
pytestmark = [pytest.mark.server("mongodb"), pytest.mark.timeout(240)]


class TestEmulatedMongoDBStore(MongoDBConformance):
    def make_store(self, clock: Clock, place: Path) -> MongoDBStore:
        return MongoDBStore(url=server_url("mongodb"), coll_name=place.name, clock=clock)
