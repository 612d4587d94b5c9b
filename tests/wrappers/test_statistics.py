import asyncio

import pytest

from satchel import ConfigurationError, InvalidKeyError, MemoryStore, SignedPickleCodec, UnsupportedOperationError
from satchel.wrappers import StatisticsWrapper, statistics
from tests.wrappers.doubles import Nothing


@pytest.fixture
def store():
    return StatisticsWrapper(MemoryStore())


async def test_hits_and_misses_of_every_read(store):
    await store.put_many("c", {"none": None, "empty": b"", "zero": 0})
    for key in ("none", "empty", "zero", "absent"):
        await store.get("c", key, "default")
        await store.exists("c", key)
        await store.get_entry("c", key)
    await store.get_many("c", ["none", "absent", "absent", "gone"])
    await store.get_entries("c", ["none", "zero"])
    counted = store.snapshot()["c"]
    found = {name: (one.calls, one.hits, one.misses) for name, one in counted.items()}
    assert found == {
        "put_many": (1, 0, 0),
        "get": (4, 3, 1),
        "exists": (4, 3, 1),
        "get_entry": (4, 3, 1),
        "get_many": (1, 1, 2),
        "get_entries": (1, 2, 0),
    }


async def test_every_operation_is_counted_by_collection(store):
    await store.put("a", "k", 1)
    version = await store.put_if_absent("b", "k", 1)
    version = await store.compare_and_put("b", "k", 1, version=version)
    await store.compare_and_delete("b", "k", version=version)
    await store.touch("a", "k", ttl=None)
    await store.delete("a", "k")
    await store.delete_many("a", ["k"])
    await store.destroy_collection("a")
    for _ in range(2):
        assert [key async for key in store.keys("a")] == [name async for name in store.collections()] == []
    await store.destroy()
    await store.cull()
    await store.ping()
    assert {name: {key: one.calls for key, one in of.items()} for name, of in store.snapshot().items()} == {
        "a": {"put": 1, "touch": 1, "delete": 1, "delete_many": 1, "destroy_collection": 1, "keys": 2},
        "b": {"put_if_absent": 1, "compare_and_put": 1, "compare_and_delete": 1},
        "": {"collections": 2, "destroy": 1, "cull": 1, "ping": 1},
    }


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (b"x" * 5, 5),
        (b"", 0),
        ("hé", 5),
        (None, 4),
        ([1, 2], 5),
        ({"a": [1, {"b": None}]}, 20),
        (["x" * 100] * 1000, 1000 * 103 + 1),
        ({str(n): n for n in range(100)}, 781),
    ],
)
async def test_bytes_of_what_is_put_and_got(store, value, size):
    await store.put("c", "k", value)
    await store.put_many("c", {"l": value, "m": value})
    await store.get("c", "k")
    await store.get_many("c", ["k", "l"])
    exact = (await store.get_entry("c", "k")).size
    await store.get_entries("c", ["k", "l", "m"])
    found = {name: one.bytes for name, one in store.snapshot()["c"].items()}
    assert found == {
        "put": size,
        "put_many": 2 * size,
        "get": size,
        "get_many": 2 * size,
        "get_entry": exact,
        "get_entries": 3 * exact,
    }


async def test_bytes_are_estimated_from_each_64th_value(store):
    for number in range(128):
        await store.put("c", str(number), b"x" * (100 if number % 64 == 0 else 1))
    await store.put_many("d", {str(number): b"x" * (100 if number in (0, 64) else 1) for number in range(65)})
    await store.put_many("d", {str(number): b"x" * (100 if number == 63 else 1) for number in range(64)})
    counted = store.snapshot()
    assert counted["c"]["put"].bytes == 12_800
    assert counted["d"]["put_many"].bytes == 12_900


async def test_a_value_that_json_lacks_counts_no_bytes():
    store = StatisticsWrapper(MemoryStore(codec=SignedPickleCodec(signing_key=b"k" * 32)))
    for value in (object, [object], [[object]], {"a": {1j: 2}}):
        await store.put("c", "k", value)
    assert store.snapshot()["c"]["put"].bytes == 0
    assert store.snapshot()["c"]["put"].calls == 4


async def test_errors_are_counted_and_passed_on(store):
    for collection in ("c", 5, ["c"], None):
        with pytest.raises(InvalidKeyError):
            await store.get(collection, "")
    with pytest.raises(InvalidKeyError):
        await store.get_many("c", "bare")
    counted = store.snapshot()
    assert (counted["c"]["get"].calls, counted["c"]["get"].errors, counted["c"]["get"].misses) == (1, 1, 0)
    assert counted[""]["get"].errors == 3
    assert "get_many" not in counted["c"]  # what is no batch is refused before it is a call


async def test_latencies_and_batch_sizes_are_in_buckets(monkeypatch):
    now = 0
    monkeypatch.setattr(statistics, "perf_counter_ns", lambda: now)

    class Slow(MemoryStore):
        async def _read(self, refs):
            nonlocal now
            now += 20_000_000
            return await super()._read(refs)

    store = StatisticsWrapper(Slow())
    for count in (1, 2, 3, 4):
        await store.get_many("c", [str(number) for number in range(count)])
    await store.get_many("c", [])
    counted = store.snapshot()["c"]["get_many"]
    assert counted.batch_sizes == {1: 1, 2: 1, 4: 2, 8: 1}
    assert counted.calls == 5
    assert counted.latencies == {0.000001: 1, 0.032768: 4}
    assert counted.seconds == pytest.approx(0.08)


async def test_collections_beyond_the_bound_are_counted_together():
    store = StatisticsWrapper(MemoryStore(), max_collections=2)
    await store.ping()
    for name in "abcdb":
        await store.get(name, "k")
    assert {name: sum(one.calls for one in of.values()) for name, of in store.snapshot().items()} == {
        "": 3,
        "a": 1,
        "b": 2,
    }


async def test_reset_counts_from_zero_and_a_snapshot_stays(store):
    await store.get("c", "k")
    before = store.snapshot()
    store.reset()
    assert store.snapshot() == {}
    await store.get("c", "k")
    await store.get("c", "k")
    assert before["c"]["get"].calls == 1
    assert store.snapshot()["c"]["get"].calls == 2


async def test_a_listing_that_is_not_there_is_refused():
    class NoListing(Nothing):
        def __init__(self, inner):
            super().__init__(inner, drops=~inner.capabilities | inner.capabilities)

    store = StatisticsWrapper(NoListing(MemoryStore()))
    with pytest.raises(UnsupportedOperationError, match="does not have keys"):
        store.keys("c")


@pytest.mark.parametrize("bound", [-1, 1.5, True, "5"])
def test_a_bad_bound_is_refused(bound):
    with pytest.raises(ConfigurationError, match="max_collections must be an int of at least 0"):
        StatisticsWrapper(MemoryStore(), max_collections=bound)


async def test_a_call_that_is_cancelled_or_times_out_is_counted_as_an_error():
    class Slow(MemoryStore):
        async def get(self, collection, key, default=None):
            await asyncio.Event().wait()

    store = StatisticsWrapper(Slow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.get("c", "k")
    waiting = asyncio.ensure_future(store.get("c", "k"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    counted = store.snapshot()["c"]["get"]
    assert (counted.calls, counted.errors, counted.hits, counted.misses) == (2, 2, 0, 0)
