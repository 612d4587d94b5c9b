from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.dynamodb import DynamoDBStore
from satchel.testing import StoreConformance
from tests.stores.dynamodb.table import local_store

# On a machine under load many requests through a slow driver take longer than most tests may.
pytestmark = [pytest.mark.server("dynamodb"), pytest.mark.timeout(240)]


class TestDynamoDBStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> DynamoDBStore:
        return local_store(place.name, create_table=True, clock=clock)
