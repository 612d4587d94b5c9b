import pytest

from satchel import Capability, ConfigurationError, InvalidKeyError, MemoryStore, SerializationError
from satchel.wrappers import PrefixKeysWrapper


async def held(store):
    return sorted([(name, key) async for name in store.collections() async for key in store.keys(name)])


async def test_a_key_is_kept_behind_the_prefix():
    inner = MemoryStore()
    store = PrefixKeysWrapper(inner, prefix="app")
    await store.put("c", "k", 1)
    await store.put_many("c", {"l": 2})
    assert await held(inner) == [("c", "app:k"), ("c", "app:l")]
    assert await held(store) == [("c", "k"), ("c", "l")]


OVERLAPPING = ["a", "a:", "a:b", "a%3ab", "a%", "a%3a", "ab", "A", ":", "%", "é"]


async def test_prefixes_that_begin_alike_do_not_meet():
    inner = MemoryStore()
    stores = {prefix: PrefixKeysWrapper(inner, prefix=prefix) for prefix in OVERLAPPING}
    for prefix, store in stores.items():
        await store.put_many("c", {"k": prefix, "b:k": prefix, ":k": prefix, "b%3ak": prefix})
    for prefix, store in stores.items():
        assert set((await store.get_many("c", ["k", "b:k", ":k", "b%3ak"])).values()) == {prefix}
        assert await held(store) == [("c", ":k"), ("c", "b%3ak"), ("c", "b:k"), ("c", "k")]
    assert await stores["a"].destroy() is True
    assert len(await held(inner)) == 4 * (len(OVERLAPPING) - 1)


async def test_neighbours_are_neither_seen_nor_destroyed():
    inner = MemoryStore()
    await inner.put("c", "a:", "the prefix alone")
    await inner.put("c", "b", 1)
    await inner.put("other", "b", 1)
    a, b = PrefixKeysWrapper(inner, prefix="a"), PrefixKeysWrapper(inner, prefix="b")
    await b.put("c", "k", 1)
    await a.put("c", "k", 1)
    assert await held(a) == [("c", "k")]
    assert [key async for key in a.keys("c", prefix="k")] == ["k"]
    assert [key async for key in a.keys("c", prefix="b")] == []
    assert await a.destroy_collection("c") is True
    assert await a.destroy_collection("c") is False
    await a.put("d", "k", 1)
    assert await a.destroy() is True
    assert await a.destroy() is False
    assert await held(inner) == [("c", "a:"), ("c", "b"), ("c", "b:k"), ("other", "b")]


async def test_the_longest_key_is_shorter_by_the_prefix_in_bytes():
    store = PrefixKeysWrapper(MemoryStore(), prefix="é")
    assert store.max_key_bytes == 4093
    await store.put("c", "k" * 4093, 1)
    assert await held(store) == [("c", "k" * 4093)]
    with pytest.raises(InvalidKeyError, match="4094 bytes in UTF-8, the limit here is 4093"):
        await store.get("c", "k" * 4094)


async def test_errors_name_the_callers_own_key():
    with pytest.raises(SerializationError, match="of key 'k' in collection 'c'"):
        await PrefixKeysWrapper(MemoryStore(), prefix="secret-tenant").put("c", "k", (1,))


def test_what_lists_nothing_cannot_destroy():
    inner = MemoryStore()
    inner._missing = Capability.ENUMERATE_KEYS
    left = Capability.CULL | Capability.CONDITIONAL | Capability.WATCH
    assert PrefixKeysWrapper(inner, prefix="a").capabilities == left


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("", "prefix must not be empty"),
        (None, "prefix must be a str, got NoneType"),
        (b"a", "prefix must be a str, got bytes"),
        ("\ud800", "prefix has a lone surrogate"),
        ("p" * 4097, "prefix has 4097 bytes in UTF-8, the limit here is 4096"),
        ("p" * 4095, "prefix takes 4096 bytes of the 4096 that a name can have, and leaves no room"),
    ],
)
def test_bad_options_are_refused(prefix, message):
    with pytest.raises(ConfigurationError, match=message):
        PrefixKeysWrapper(MemoryStore(), prefix=prefix)


def test_what_is_no_store_is_refused():
    with pytest.raises(ConfigurationError, match="PrefixKeysWrapper goes around a store, got dict"):
        PrefixKeysWrapper({}, prefix="a")
