"""The Valkey store keeps every promise, on one server and on a cluster."""

from pathlib import Path

import pytest

from satchel.stores.valkey import ValkeyStore
from satchel.testing import FakeClock, StoreConformance
from tests.servers import server_url


@pytest.mark.server("valkey")
class TestValkeyStore(StoreConformance):
    persistent = True
    server = "valkey"

    def make_store(self, clock: FakeClock, place: Path) -> ValkeyStore:
        return ValkeyStore(url=server_url(self.server), prefix=place.name, clock=clock)


@pytest.mark.server("valkey-cluster")
class TestValkeyCluster(TestValkeyStore):
    server = "valkey-cluster"
