from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.dynamodb import DynamoDBStore
from satchel.testing import StoreConformance
from tests.stores.dynamodb_table import local_store

pytestmark = pytest.mark.server("dynamodb")


class TestDynamoDBStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> DynamoDBStore:
        return local_store(place.name, create_table=True, clock=clock)
