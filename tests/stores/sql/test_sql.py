from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from satchel import Clock
from satchel.stores.sql import SQLStore
from satchel.testing import StoreConformance
from tests.servers import server_url
from tests.stores.sql.tables import hasten, postgresql_url, table_for


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    event.listen(Engine, "connect", hasten)
    yield
    event.remove(Engine, "connect", hasten)


@pytest.mark.long
class TestSQLStoreOnSQLite(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> SQLStore:
        return SQLStore(url=f"sqlite+aiosqlite:///{place}/data.sqlite3", clock=clock)


@pytest.mark.server("mariadb")
class TestSQLStoreOnMariaDB(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> SQLStore:
        return SQLStore(url=server_url("mariadb"), table_name=table_for(place), clock=clock)


@pytest.mark.night
@pytest.mark.server("postgresql")
class TestSQLStoreOnPostgreSQL(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> SQLStore:
        return SQLStore(url=postgresql_url(), table_name=table_for(place), clock=clock)
