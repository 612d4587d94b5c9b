import pytest

from satchel import Capability, ConfigurationError, MemoryStore, ReadOnlyError, UnsupportedOperationError
from satchel.testing import FakeClock
from satchel.verbs import METHODS, SEAMS
from satchel.wrappers import ReadOnlyWrapper

READS = {"count", "get", "get_entry", "exists", "get_many", "get_entries", "ping", "keys", "collections", "watch"}
ARGUMENTS = {
    "put": ("c", "k", 1),
    "put_many": ("c", {"k": 1}),
    "delete": ("c", "k"),
    "delete_many": ("c", ["k"]),
    "put_if_absent": ("c", "other", 1),
    "compare_and_put": ("c", "k", 1, "v"),
    "compare_and_delete": ("c", "k", "v"),
    "touch": ("c", "k", 5),
    "destroy_collection": ("c",),
    "destroy": (),
    "cull": (),
}


def test_every_verb_is_either_a_read_or_refused_here():
    assert READS | set(ARGUMENTS) == set(SEAMS)
    assert not READS & set(ARGUMENTS)


@pytest.mark.parametrize("operation", ARGUMENTS)
async def test_nothing_changes_what_is_inside(operation):
    clock = FakeClock()
    inner = MemoryStore(clock=clock)
    await inner.put("c", "k", "old")
    before = await inner.get_entry("c", "k")
    store = ReadOnlyWrapper(inner)
    conditional = {name for names in METHODS.values() for name in names}
    expected = UnsupportedOperationError if operation in conditional else ReadOnlyError
    with pytest.raises(expected, match=rf"ReadOnlyWrapper\(MemoryStore\(\)\).* {operation}"):
        await getattr(store, operation)(*ARGUMENTS[operation])
    assert await inner.get_entry("c", "k") == before
    assert [key async for key in inner.keys("c")] == ["k"]


async def test_reads_are_the_inner_stores_own():
    inner = MemoryStore(seed={"c": {"k": 1}})
    store = ReadOnlyWrapper(inner)
    assert all(getattr(store, operation) == getattr(inner, operation) for operation in READS)
    assert await store.get("c", "k") == 1
    assert await store.collection("c").get("k") == 1


def test_listing_and_watching_alone_are_passed_on():
    listing = Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS
    assert ReadOnlyWrapper(MemoryStore()).capabilities == listing | Capability.WATCH


async def test_a_refusal_shows_no_value():
    with pytest.raises(ReadOnlyError) as refusal:
        await ReadOnlyWrapper(MemoryStore()).put("c", "k", "hunter2")
    assert "hunter2" not in str(refusal.value)


def test_what_is_no_store_is_refused():
    with pytest.raises(ConfigurationError, match="ReadOnlyWrapper goes around a store, got NoneType"):
        ReadOnlyWrapper(None)
