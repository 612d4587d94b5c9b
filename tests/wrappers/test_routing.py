import pytest

from satchel import (
    BatchError,
    Capability,
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    NullStore,
    SerializationError,
    StoreClosedError,
    StoreUnavailableError,
    UnsupportedOperationError,
    open_store,
)
from satchel.wrappers import PrefixKeysWrapper, RoutingStore


async def held(store):
    return sorted([(name, key) async for name in store.collections() async for key in store.keys(name)])


class Broken(MemoryStore):
    """Fails every write."""

    async def _write(self, records):
        raise StoreUnavailableError("down")


def by_first_letter(default, other):
    return RoutingStore(default, others=[other], route=lambda _, key: other if key.startswith("b") else None)


async def test_collections_are_where_their_names_or_the_longest_prefix_leads():
    default, one, two, three = (MemoryStore() for _ in range(4))
    store = RoutingStore(default, collections={"cache-x": one}, prefixes={"cache": two, "cache-": three})
    for name in ("cache-x", "cache-xx", "cache-", "cache", "caches", "Cache-x", "other"):
        await store.put(name, "k", name)
    assert [[name for name, _ in await held(inner)] for inner in (default, one, two, three)] == [
        ["Cache-x", "other"],
        ["cache-x"],
        ["cache", "caches"],
        ["cache-", "cache-xx"],
    ]
    assert [name for name, _ in await held(store)] == sorted(
        ["cache-x", "cache-xx", "cache-", "cache", "caches", "Cache-x", "other"]
    )


async def test_a_function_splits_batches_and_their_parts_come_together():
    default, other = MemoryStore(), MemoryStore()
    store = by_first_letter(default, other)
    await store.put_many("c", {"b1": 1, "a1": 2, "b2": None, "a2": 4}, ttl=60)
    assert await held(default) == [("c", "a1"), ("c", "a2")]
    assert await held(other) == [("c", "b1"), ("c", "b2")]
    keys = ["b2", "a9", "a2", "b1", "a2"]
    assert list((await store.get_many("c", iter(keys))).items()) == [("b2", None), ("a2", 4), ("b1", 1)]
    assert list(await store.get_entries("c", keys)) == ["b2", "a2", "b1"]
    assert await held(store) == [("c", "a1"), ("c", "a2"), ("c", "b1"), ("c", "b2")]
    assert len([key async for key in store.keys("c", limit=3)]) == 3
    assert [key async for key in store.keys("c", prefix="b2")] == ["b2"]
    assert [name async for name in store.collections()] == ["c"]
    assert await store.delete_many("c", ["a1", "b1", "b9"]) == 2
    assert await store.put_if_absent("c", "b2", 1) is None
    assert await store.destroy_collection("c") is True
    assert await store.destroy_collection("c") is False


@pytest.mark.parametrize("route", ["collection", "key"])
async def test_what_leads_elsewhere_is_neither_found_nor_listed_nor_destroyed(route):
    default, other = MemoryStore(), MemoryStore()
    store = by_first_letter(default, other) if route == "key" else RoutingStore(default, collections={"b": other})
    await default.put("b", "b", "foreign")
    await other.put("a", "a", "foreign")
    assert await store.get("b", "b") is None
    assert await store.get_many("a", ["a"]) == {}
    assert await held(store) == []
    assert await store.destroy_collection("b") is False
    assert await store.destroy() is False
    await store.put("a", "a", 1)
    await store.put("b", "b", 1)
    assert await held(store) == [("a", "a"), ("b", "b")]
    assert await store.destroy_collection("a") is True
    assert await store.destroy() is True
    assert await store.destroy() is False
    assert await held(default) == [("b", "b")]
    assert await held(other) == [("a", "a")]


async def test_a_collection_in_several_stores_is_listed_once():
    stores = [MemoryStore() for _ in range(4)]
    store = RoutingStore(stores[0], others=stores[1:], route=lambda _, key: stores[int(key[0])])
    await stores[0].put("c", "1 is foreign here", 1)
    await store.put_many("c", {"1": 1, "3": 1})
    await store.put_many("d", {"0": 1, "2": 1, "3": 1})
    assert sorted([name async for name in store.collections()]) == ["c", "d"]


async def test_capabilities_are_those_of_all_and_enough_to_work_on_a_part():
    everything = MemoryStore().capabilities
    listing, destroying = MemoryStore(), MemoryStore()
    listing._missing = Capability.ENUMERATE_KEYS
    destroying._missing = Capability.DESTROY_COLLECTION | Capability.CONDITIONAL
    by_key, by_name = by_first_letter(MemoryStore(), listing), RoutingStore(MemoryStore(), collections={"a": listing})
    assert by_key.capabilities == Capability.CULL | Capability.CONDITIONAL
    assert by_name.capabilities == everything & ~Capability.ENUMERATE_KEYS
    store = RoutingStore(MemoryStore(), prefixes={"a": destroying})
    lost = Capability.DESTROY_COLLECTION | Capability.DESTROY_STORE | Capability.CONDITIONAL
    assert store.capabilities == everything & ~lost
    with pytest.raises(UnsupportedOperationError, match=r"RoutingStore\(.*\) does not have destroy_collection"):
        await store.destroy_collection("not a")
    with pytest.raises(UnsupportedOperationError, match=r"RoutingStore\(.*\) does not have put_if_absent"):
        await store.put_if_absent("not a", "k", 1)


async def test_a_batch_that_fails_in_one_store_names_its_keys_and_the_others_are_written():
    default = MemoryStore()
    store = by_first_letter(default, Broken())
    with pytest.raises(BatchError) as caught:
        await store.put_many("c", {"a": 1, "b": 2, "b2": 3})
    assert sorted(caught.value.failed) == ["b", "b2"]
    assert caught.value.retryable
    assert (caught.value.operation, caught.value.collection) == ("put_many", "c")
    assert await store.get("c", "a") == 1
    with pytest.raises(BatchError) as caught:
        await store.put_many("c", {"a": 2, "b": (1,)})
    assert {key: type(error) for key, error in caught.value.failed.items()} == {"b": SerializationError}
    assert not caught.value.retryable


async def test_what_fails_everywhere_alike_is_raised_as_it_is():
    store = by_first_letter(MemoryStore(), MemoryStore())
    with pytest.raises(InvalidTTLError):
        await store.put_many("c", {"a": 1, "b": 1}, ttl=-1)
    with pytest.raises(SerializationError):
        await store.put_many("c", {"b": (1,)})
    await store.aclose()
    with pytest.raises(StoreClosedError):
        await store.get_many("c", ["a", "b"])
    with pytest.raises(StoreClosedError):
        await store.get_many("c", [])


async def test_the_longest_key_is_one_that_every_store_takes():
    store = RoutingStore(MemoryStore(), collections={"a": PrefixKeysWrapper(MemoryStore(), prefix="p" * 95)})
    assert store.max_key_bytes == 4000
    with pytest.raises(InvalidKeyError, match="the limit here is 4000"):
        await store.get("b", "k" * 4001)


@pytest.mark.parametrize("name", [["a"], None, 5, "", "\ud800"])
async def test_an_illegal_name_is_refused_before_it_leads_anywhere(name):
    store = RoutingStore(MemoryStore(), collections={"a": NullStore()})
    for call in (
        lambda: store.get(name, "k"),
        lambda: store.put("a", name, 1),
        lambda: store.get_many(name, []),
        lambda: store.destroy_collection(name),
    ):
        with pytest.raises(InvalidKeyError):
            await call()
    with pytest.raises(InvalidKeyError):
        store.keys(name)


async def test_a_function_that_gives_no_store_of_its_own_is_said_so():
    store = RoutingStore(MemoryStore(), route=lambda collection, key: NullStore())
    for call in (lambda: store.put("c", "k", 1), lambda: store.get_many("c", ["k"])):
        with pytest.raises(ConfigurationError, match=r"route gave NullStore\(\), which is none of the stores"):
            await call()


def test_it_describes_itself_and_is_built_again():
    a, b, c = MemoryStore(), MemoryStore(), MemoryStore()
    store = RoutingStore(a, others=[b, c], route=lambda collection, key: b)
    description = store.describe()
    assert str(description) == "RoutingStore://?default=<MemoryStore>&others=<list>&route=<function>"
    again = open_store(description)
    assert again.inners == (a, b, c)
    assert again.describe() == description


@pytest.mark.parametrize(
    ("default", "options", "message"),
    [
        (MemoryStore(), {}, "either collections and prefixes, or route"),
        (MemoryStore(), {"collections": {}, "route": print}, "either collections and prefixes, or route"),
        (MemoryStore(), {"collections": {}, "others": [NullStore()]}, "further stores with route alone"),
        (MemoryStore(), {"route": print, "others": NullStore()}, "others must be a list of stores, got NullStore"),
        (MemoryStore(), {"route": {"c": NullStore()}}, "route must be a function of collection and key, got dict"),
        (MemoryStore(), {"collections": ["a"]}, "collections must be a mapping of names to stores, got list"),
        (MemoryStore(), {"prefixes": {"": NullStore()}}, "prefixes must not be empty"),
        (MemoryStore(), {"prefixes": {5: NullStore()}}, "prefixes must be a str, got int"),
        (MemoryStore(), {"collections": {"a": "memory://"}}, "RoutingStore goes over stores, got str"),
        (None, {"route": print}, "RoutingStore goes over stores, got NoneType"),
    ],
)
def test_bad_options_are_refused(default, options, message):
    with pytest.raises(ConfigurationError, match=message):
        RoutingStore(default, **options)
