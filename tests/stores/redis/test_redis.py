import pytest

from tests.stores.redis.servers import RedisConformance


@pytest.mark.server("redis")
class TestRedis7(RedisConformance):
    __test__, server = True, "redis"


@pytest.mark.server("redis82")
class TestRedis82(RedisConformance):
    __test__, server = True, "redis82"


@pytest.mark.server("redis-cluster")
class TestCluster(RedisConformance):
    __test__, server = True, "redis-cluster"


@pytest.mark.night
@pytest.mark.server("redis-sentinel")
class TestSentinel(RedisConformance):
    __test__, server = True, "redis-sentinel"
