from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.nats import NATSStore
from satchel.testing import StoreConformance
from scripts.test_servers.kinds import nats210
from tests.servers import private_server, server_url


@pytest.mark.server("nats")
class TestNATSStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> NATSStore:
        return NATSStore(url=server_url("nats"), bucket=place.name, clock=clock)


@pytest.fixture(scope="module")
def old_server() -> Iterator[str]:
    with private_server("nats", nats210) as server:
        yield server.url


@pytest.fixture(autouse=True, scope="class")
def old_server_of_class(request: pytest.FixtureRequest) -> None:
    if hasattr(request.cls, "old"):
        request.cls.url = request.getfixturevalue("old_server")


@pytest.mark.night
@pytest.mark.server("nats")
class TestNATSStoreOnAServerWithoutTimesToLive(StoreConformance):
    persistent = True
    old = True
    url: str

    def make_store(self, clock: Clock, place: Path) -> NATSStore:
        return NATSStore(url=self.url, bucket=place.name, clock=clock)
