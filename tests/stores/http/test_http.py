from pathlib import Path

import pytest

from satchel import Clock, DiskStore, MemoryStore
from satchel.stores.http import HTTPStore
from satchel.stores.redis import RedisStore
from satchel.testing import StoreConformance, WatchConformance
from satchel.testing.conformance.entries import EntryPromises
from satchel.testing.conformance.expiry import ExpiryPromises
from tests.servers import server_url
from tests.stores.http.serving import Serving


class OverHTTP:
    """Makes stores over a socket, each over a store of its own in the server."""

    persistent = True

    @pytest.fixture(autouse=True)
    def has_server(self, serving: Serving) -> None:
        self.serving = serving

    def make_store(self, clock: Clock, place: Path) -> HTTPStore:
        return HTTPStore(self.serving.mount(place.name, lambda: self.make_inner(clock, place)), clock=clock)

    def make_inner(self, clock: Clock, place: Path) -> MemoryStore | DiskStore | RedisStore:
        return MemoryStore(clock=clock)


class TestHTTPStoreInBrief(OverHTTP, EntryPromises, ExpiryPromises):
    """Tests of versions and times, which the interface carries, also in the quick profile."""


@pytest.mark.long
class TestHTTPStore(OverHTTP, StoreConformance):
    pass


@pytest.mark.long
class TestWatchingOverHTTP(OverHTTP, WatchConformance):
    pass


@pytest.mark.night
class TestHTTPStoreOverDisk(OverHTTP, StoreConformance):
    def make_inner(self, clock: Clock, place: Path) -> DiskStore:
        return DiskStore(place, clock=clock)


@pytest.mark.night
@pytest.mark.server("redis")
class TestHTTPStoreOverRedis(OverHTTP, StoreConformance):
    def make_inner(self, clock: Clock, place: Path) -> RedisStore:
        return RedisStore(server_url("redis"), prefix=place.name, clock=clock)
