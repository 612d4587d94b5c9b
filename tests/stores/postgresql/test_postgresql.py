from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.postgresql import PostgreSQLStore
from satchel.testing import StoreConformance
from tests.servers import server_url
from tests.stores.postgresql.tables import table_for

pytestmark = pytest.mark.server("postgresql")


class TestPostgreSQLStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> PostgreSQLStore:
        return PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(place), clock=clock)
