from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.redis import RedisStore
from satchel.testing import StoreConformance
from tests.servers import server_url


class OnRedis(StoreConformance):
    __test__ = False
    persistent = True
    server = "redis"

    def make_store(self, clock: Clock, place: Path) -> RedisStore:
        return RedisStore(server_url(self.server), prefix=place.name, clock=clock)


@pytest.mark.server("redis")
class TestRedis7(OnRedis):
    __test__ = True


@pytest.mark.server("redis82")
class TestRedis82(OnRedis):
    __test__ = True
    server = "redis82"


@pytest.mark.server("redis-cluster")
class TestCluster(OnRedis):
    __test__ = True
    server = "redis-cluster"


@pytest.mark.server("redis-sentinel")
class TestSentinel(OnRedis):
    __test__ = True
    server = "redis-sentinel"
