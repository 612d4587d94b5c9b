import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import Capability, ConfigurationError, InvalidKeyError, MemoryStore
from satchel.wrappers import SingleCollectionWrapper

names = st.text(st.sampled_from("0123:a%é"), min_size=1, max_size=8)
WRAPPER = SingleCollectionWrapper(MemoryStore(), collection="all")


async def held(store):
    return sorted([(name, key) async for name in store.collections() async for key in store.keys(name)])


async def test_everything_is_in_the_one_collection():
    inner = MemoryStore()
    store = SingleCollectionWrapper(inner, collection="all")
    await store.put("users", "ada", 1)
    await store.put_many("é", {"a:b": 2})
    assert await held(inner) == [("all", "1:é:a:b"), ("all", "5:users:ada")]
    assert await held(store) == [("users", "ada"), ("é", "a:b")]


@given(st.tuples(names, names), st.tuples(names, names))
def test_two_entries_never_have_one_inner_key(one, other):
    made, also = WRAPPER._ref(*one), WRAPPER._ref(*other)
    assert (made == also) is (one == other)
    assert WRAPPER._key_from_inner(one[0], made[1]) == one[1]
    assert WRAPPER._split(made[1]) == one[0]
    assert (WRAPPER._key_from_inner(other[0], made[1]) is None) is (one[0] != other[0])


FOREIGN = [
    "5:users",
    "5:users:",
    "05:users:ada",
    ":users:ada",
    "6:users:ada",
    "users",
    "0::k",
    "99999:a:b",
    "5: users:x",
]


async def test_what_is_inside_with_keys_of_another_form_is_left_alone():
    inner = MemoryStore()
    await inner.put_many("all", dict.fromkeys(FOREIGN))
    await inner.put("other", "5:users:ada", 1)
    store = SingleCollectionWrapper(inner, collection="all")
    assert await held(store) == []
    assert await store.destroy() is False
    await store.put("users", "ada", 1)
    await store.put("users", "bob", 1)
    await store.put("user", "s", 1)
    assert await held(store) == [("user", "s"), ("users", "ada"), ("users", "bob")]
    assert [key async for key in store.keys("users", prefix="a")] == ["ada"]
    assert len([key async for key in store.keys("users", limit=1)]) == 1
    assert await store.destroy_collection("users") is True
    assert await store.destroy_collection("users") is False
    assert await held(store) == [("user", "s")]
    assert await store.destroy() is True
    assert await store.destroy() is False
    assert sorted([key async for key in inner.keys("all")]) == sorted(FOREIGN)
    assert await inner.exists("other", "5:users:ada")


async def test_a_collection_has_a_quarter_of_the_longest_key_and_the_key_the_rest():
    store = SingleCollectionWrapper(MemoryStore(), collection="all")
    assert store.max_key_bytes == 4096 - 1024 - 6
    for unit in ("x", "é"):
        collection, key = unit * (1024 // len(unit.encode())), "k" * store.max_key_bytes
        await store.put(collection, key, 1)
        assert await held(store) == [(collection, key)]
        with pytest.raises(InvalidKeyError, match=r"collection has 102\d bytes in UTF-8, the limit here is 1024"):
            await store.get(collection + unit, "k")
        await store.destroy()


@pytest.mark.parametrize("longest", range(8, 60))
async def test_short_inner_keys_are_shared_out_alike(longest):
    class Short(MemoryStore):
        max_key_bytes = longest

    store = SingleCollectionWrapper(Short(), collection="all")
    collection, key = "c" * (longest // 4), "k" * store.max_key_bytes
    await store.put(collection, key, 1)
    assert await held(store) == [(collection, key)]


def test_what_cannot_list_keys_cannot_list_or_destroy_collections():
    inner = MemoryStore()
    inner._missing = Capability.ENUMERATE_KEYS
    store = SingleCollectionWrapper(inner, collection="all")
    assert store.capabilities == Capability.CULL | Capability.CONDITIONAL | Capability.WATCH


class TooShort(MemoryStore):
    max_key_bytes = 7


@pytest.mark.parametrize(
    ("inner", "collection", "message"),
    [
        (MemoryStore(), "", "collection must not be empty"),
        (MemoryStore(), None, "collection must be a str"),
        (MemoryStore(), "c" * 4097, "collection has 4097 bytes"),
        (TooShort(), "c", "takes keys of 7 bytes, at least 8 are needed"),
        (None, "c", "SingleCollectionWrapper goes around a store, got NoneType"),
    ],
)
def test_bad_options_are_refused(inner, collection, message):
    with pytest.raises(ConfigurationError, match=message):
        SingleCollectionWrapper(inner, collection=collection)
