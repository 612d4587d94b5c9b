from pathlib import Path

import pytest

from satchel import Clock, DiskStore, MemoryStore
from satchel.stores.http import HTTPStore
from satchel.stores.redis import RedisStore
from satchel.testing import StoreConformance
from tests.servers import server_url
from tests.stores.http.serving import Serving


class TestHTTPStore(StoreConformance):
    persistent = True

    @pytest.fixture(autouse=True)
    def has_server(self, serving: Serving) -> None:
        self.serving = serving

    def make_store(self, clock: Clock, place: Path) -> HTTPStore:
        return HTTPStore(self.serving.mount(place.name, lambda: self.make_inner(clock, place)), clock=clock)

    def make_inner(self, clock: Clock, place: Path) -> MemoryStore | DiskStore | RedisStore:
        return MemoryStore(clock=clock)


@pytest.mark.long
class TestHTTPStoreOverDisk(TestHTTPStore):
    def make_inner(self, clock: Clock, place: Path) -> DiskStore:
        return DiskStore(place, clock=clock)


@pytest.mark.night
@pytest.mark.server("redis")
class TestHTTPStoreOverRedis(TestHTTPStore):
    def make_inner(self, clock: Clock, place: Path) -> RedisStore:
        return RedisStore(server_url("redis"), key_prefix=place.name, clock=clock)
