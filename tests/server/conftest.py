import pytest

from satchel import DiskStore, MemoryStore, RedisStore
from tests.server.serving import serving
from tests.servers import server_url


@pytest.fixture(params=["memory", "disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
async def store(request, tmp_path):
    stores = {
        "memory": MemoryStore,
        "disk": lambda: DiskStore(tmp_path),
        "redis": lambda: RedisStore(server_url("redis"), prefix=tmp_path.name),
    }
    async with stores[request.param]() as store:
        yield store


@pytest.fixture
async def client(store):
    async with serving(store) as client:
        yield client
