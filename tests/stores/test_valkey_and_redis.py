"""What one of RedisStore and ValkeyStore writes the other reads, on one server and on a cluster."""

import pytest

from satchel import Capability
from satchel.stores.redis import RedisStore
from satchel.stores.valkey import ValkeyStore
from satchel.testing.conformance.suite import new_clock
from tests.servers import server_url

VALUES = {
    "plain": {"name": "Ada", "tags": ["a", None, 1.5]},
    "bytes": b"\x00\xff",
    "a:b%3a*[x]{y}": "colons and braces",
    "é\x00\n": [],
    "x" * 4096: 1,
}
COLLECTION = "users:{of}%"


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.server("valkey")),
        pytest.param("valkey-cluster", marks=pytest.mark.server("valkey-cluster")),
    ]
)
def url(request):
    return server_url(request.param)


@pytest.fixture(params=["valkey first", "redis first"])
async def stores(request, url, tmp_path):
    clock = new_clock()
    valkey = ValkeyStore(url=url, prefix=f"both:{tmp_path}", clock=clock)
    redis = RedisStore(url=url.replace("valkey", "redis"), prefix=f"both:{tmp_path}", clock=clock)
    async with valkey, redis:
        yield (valkey, redis, clock) if request.param == "valkey first" else (redis, valkey, clock)
        await valkey.destroy()


async def test_values_times_and_versions_are_the_same(stores):
    writer, reader, _ = stores
    await writer.put_many(COLLECTION, VALUES, ttl=60)
    assert await reader.get_many(COLLECTION, VALUES) == VALUES
    assert await reader.get_entries(COLLECTION, VALUES) == await writer.get_entries(COLLECTION, VALUES)
    assert sorted([key async for key in reader.keys(COLLECTION)]) == sorted(VALUES)
    assert [name async for name in reader.collections()] == [COLLECTION]
    assert reader.capabilities == writer.capabilities
    assert Capability.CONDITIONAL in reader.capabilities


async def test_each_keeps_the_others_conditions(stores):
    one, other, clock = stores
    version = await one.put_if_absent("c", "k", 1)
    assert await other.put_if_absent("c", "k", 2) is None
    newer = await other.compare_and_put("c", "k", 3, version=version)
    assert newer is not None
    assert not await one.compare_and_delete("c", "k", version=version)
    assert await one.touch("c", "k", ttl=5)
    entry = await other.get_entry("c", "k")
    assert (entry.value, entry.version, entry.ttl) == (3, newer, 5)
    clock.advance(6)
    assert await other.get("c", "k") is None
    assert not await one.delete("c", "k")


async def test_each_removes_what_the_other_wrote(stores):
    one, other, _ = stores
    await one.put_many("c", {str(n): n for n in range(50)})
    assert await other.delete_many("c", ["1", "2"]) == 2
    assert await other.destroy_collection("c")
    assert await one.get_many("c", map(str, range(50))) == {}
