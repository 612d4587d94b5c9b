import pytest

from satchel import Capability, ConfigurationError, InvalidKeyError, MemoryStore
from satchel.wrappers import PrefixCollectionsWrapper


async def held(store):
    return sorted([(name, key) async for name in store.collections() async for key in store.keys(name)])


async def test_a_collection_is_kept_behind_the_prefix():
    inner = MemoryStore()
    store = PrefixCollectionsWrapper(inner, prefix="app")
    await store.put("c", "k", 1)
    assert await held(inner) == [("app:c", "k")]
    assert await held(store) == [("c", "k")]
    assert store.max_key_bytes == inner.max_key_bytes


async def test_destroy_stays_among_its_own_collections():
    inner = MemoryStore()
    for name in ("a", "a:", "b", "A:1"):
        await inner.put(name, "k", 1)
    a, other = PrefixCollectionsWrapper(inner, prefix="a"), PrefixCollectionsWrapper(inner, prefix="a:")
    await a.put("1", "k", 1)
    await a.put(":1", "k", 1)
    await other.put("1", "k", 1)
    assert await held(a) == [("1", "k"), (":1", "k")]
    assert await held(other) == [("1", "k")]
    assert await a.destroy_collection("1") is True
    assert await a.destroy_collection("1") is False
    assert await a.destroy() is True
    assert await a.destroy() is False
    assert await held(inner) == [("A:1", "k"), ("a", "k"), ("a%3a:1", "k"), ("a:", "k"), ("b", "k")]
    await a.put("2", "k", 2)
    assert await a.get("2", "k") == 2


async def test_a_collection_without_room_for_the_prefix_is_refused_in_the_callers_terms():
    store = PrefixCollectionsWrapper(MemoryStore(), prefix="é")
    await store.put("c" * 4093, "k", 1)
    assert [name async for name in store.collections()] == ["c" * 4093]
    for call in (store.get, store.delete, store.exists):
        with pytest.raises(InvalidKeyError, match="collection has 4094 bytes in UTF-8, the limit here is 4093: 'ccc"):
            await call("c" * 4094, "k")
    for call in (store.get_many, store.delete_many, lambda name, _: store.put_many(name, {})):
        with pytest.raises(InvalidKeyError, match="the limit here is 4093"):
            await call("c" * 4094, [])
    with pytest.raises(InvalidKeyError, match="the limit here is 4093"):
        store.keys("c" * 4094)


@pytest.mark.parametrize("lacking", [Capability.ENUMERATE_COLLECTIONS, Capability.DESTROY_COLLECTION])
def test_without_a_way_to_its_own_collections_there_is_no_destroy(lacking):
    inner = MemoryStore()
    inner._missing = lacking
    store = PrefixCollectionsWrapper(inner, prefix="a")
    assert store.capabilities == inner.capabilities & ~Capability.DESTROY_STORE


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("", "prefix must not be empty"),
        (5, "prefix must be a str, got int"),
        ("p" * 4094 + ":", "prefix takes 4098 bytes of the 4096 that a name can have, and leaves no room"),
    ],
)
def test_bad_options_are_refused(prefix, message):
    with pytest.raises(ConfigurationError, match=message):
        PrefixCollectionsWrapper(MemoryStore(), prefix=prefix)
