import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from satchel import Capability, ConfigurationError, InvalidKeyError, MemoryStore
from satchel.wrappers import SanitizationWrapper
from satchel.wrappers.sanitization import PRESETS

legal = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
LIMITS = {
    "redis-v1": 1024,
    "memcached-v1": 149,
    "dynamodb-v1": 1024,
    "mongodb-v1": 768,
    "elasticsearch-v1": 383,
    "postgresql-v1": 1000,
    "objectstore-v1": 700,
    "filesystem-v1": 200,
}


async def held(inner):
    return [(name, key) async for name in inner.collections() async for key in inner.keys(name)]


@pytest.mark.parametrize(
    ("options", "names", "expected"),
    [
        ({"key_strategy": "passthrough"}, ("a/b", "c:d"), ("a/b", "c:d")),
        ({"key_strategy": "escape"}, ("a/b", "c:é"), ("a/b", "c%3a%c3%a9")),
        ({"collection_strategy": "escape"}, ("a/b", "c:d"), ("a%2fb", "c:d")),
        ({"key_strategy": "escape", "characters": string.ascii_lowercase + string.digits + "-:"}, ("a", "c:D"),
         ("a", "c:%44")),
        ({"key_strategy": "allow-list"}, ("a/b", "ok-1"), ("a/b", "ok-1")),
        ({"key_strategy": "allow-list", "characters": "%/"}, ("a", "%/"), ("a", "%/")),
        ({"key_strategy": "hash"}, ("a", "abc"),
         ("a", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ({"key_strategy": "hash-excess-length", "max_bytes": 80}, ("a", "k" * 81),
         ("a", "k" * 14 + "%-163f6a3740ab11b44432de8bd109ffe8167a318dadf0df7547401aeb95443c96")),
    ],
)  # fmt: skip
async def test_what_each_strategy_makes_of_names(options, names, expected):
    inner = MemoryStore()
    store = SanitizationWrapper(inner, **options)
    await store.put(*names, 1)
    assert await held(inner) == [expected]
    assert await store.get(*names) == 1
    assert await store.delete(*names) is True


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"key_strategy": "passthrough", "max_bytes": 5}, "abcdef", "key has 6 bytes in UTF-8, the limit here is 5"),
        ({"key_strategy": "allow-list", "characters": "abc"}, "abd", "not on the allow-list: 'abd'"),
        ({"key_strategy": "allow-list", "characters": "abc", "max_bytes": 2}, "abc", "key has 3 bytes"),
        ({"key_strategy": "escape", "max_bytes": 90}, "é" * 20, "more than 90 bytes once escaped"),
        ({"key_strategy": "escape"}, "é" * 700, "more than 4096 bytes once escaped"),
    ],
)
async def test_what_a_strategy_does_not_take_is_refused_before_any_io(options, key, message):
    inner = MemoryStore()
    store = SanitizationWrapper(inner, **options)
    with pytest.raises(InvalidKeyError, match=message):
        await store.put("c", key, 1)
    with pytest.raises(InvalidKeyError, match=message):
        await store.get_many("c", [key])
    assert await held(inner) == []


async def test_reversible_strategies_list_and_skip_what_is_not_theirs():
    inner = MemoryStore()
    store = SanitizationWrapper(inner, key_strategy="escape", collection_strategy="escape")
    await store.put_many("a/b", {"x/y": 1, "x:z": 2, "é": 3})
    await inner.put("not/escaped", "k", 1)
    await inner.put("a%2fb", "not/escaped", 1)
    assert [name async for name in store.collections()] == ["a/b"]
    assert sorted([key async for key in store.keys("a/b")]) == ["x/y", "x:z", "é"]
    assert [key async for key in store.keys("a/b", prefix="x/")] == ["x/y"]
    assert await store.destroy_collection("a/b") is True
    assert await held(inner) == [("not/escaped", "k")]


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        ({"key_strategy": "hash"}, Capability.ENUMERATE_KEYS | Capability.WATCH),
        ({"key_strategy": "hash-excess-length"}, Capability.ENUMERATE_KEYS | Capability.WATCH),
        ({"collection_strategy": "hash"}, Capability.ENUMERATE_COLLECTIONS),
        ({"key_strategy": "escape", "collection_strategy": "allow-list"}, Capability.NONE),
        *(
            ({"preset": name}, Capability.ENUMERATE_KEYS | Capability.WATCH | Capability.ENUMERATE_COLLECTIONS)
            for name in PRESETS
        ),
    ],
)
def test_listing_and_watching_are_dropped_where_names_cannot_be_got_back(options, dropped):
    inner = MemoryStore()
    assert SanitizationWrapper(inner, **options).capabilities == inner.capabilities & ~dropped


@pytest.mark.parametrize("preset", PRESETS)
@given(one=legal, other=legal)
def test_presets_keep_the_limit_and_never_make_two_names_one(preset, one, other):
    assume(one != other)
    for rule in PRESETS[preset]:
        for name in (one, one * 13):
            made = rule.apply(name, "key")
            assert len(made.encode()) <= rule.max_bytes
            assert rule.apply(other, "key") != made
            assert all(mark in rule.characters or mark == "%" or (rule.unicode and not mark.isascii()) for mark in made)


def test_presets_stay_as_they_are():
    assert {name: key.max_bytes for name, (key, _) in PRESETS.items()} == LIMITS
    memcached, _ = PRESETS["memcached-v1"]
    assert memcached.apply("a b:c/é", "key") == "a%20b%3ac/%c3%a9"
    assert PRESETS["redis-v1"][0].apply("a*b:é", "key") == "a%2ab%3aé"
    assert PRESETS["filesystem-v1"][0].apply("Con.txt", "key") == "%43on.txt"
    assert PRESETS["filesystem-v1"][0].apply("aux", "key") == "%61ux"
    assert sum(rule.max_bytes for rule in PRESETS["memcached-v1"]) <= 250 - 1
    assert sum(rule.max_bytes for rule in PRESETS["elasticsearch-v1"]) <= 512 - 1


async def test_a_result_is_never_longer_than_the_inner_store_takes():
    class Short(MemoryStore):
        max_key_bytes = 100

    store = SanitizationWrapper(Short(), preset="redis-v1")
    await store.put("c", "k" * 4096, 1)
    assert await store.get("c", "k" * 4096) == 1
    assert store.max_key_bytes == 4096


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a preset or strategies"),
        ({"preset": "redis-v1", "key_strategy": "hash"}, "either a preset or strategies"),
        ({"preset": "redis"}, "unknown preset; did you mean 'redis-v1'.*memcached-v1"),
        ({"key_strategy": "hashed"}, "unknown strategy; did you mean 'hash'.*passthrough"),
        ({"preset": 3}, "preset must be a str, got int"),
        ({"preset": ["redis-v1"]}, "preset must be a str, got list"),
        ({"key_strategy": 3}, "key_strategy must be a str, got int"),
        ({"collection_strategy": ["hash"]}, "collection_strategy must be a str, got list"),
        ({"characters": 3}, "characters must be a str, got int"),
        ({"key_strategy": "escape", "max_bytes": 79}, "'escape' needs max_bytes of at least 80, got 79"),
        ({"key_strategy": "hash", "max_bytes": 63}, "'hash' needs max_bytes of at least 64, got 63"),
        ({"collection_strategy": "hash", "max_bytes": 10}, "'hash' needs max_bytes of at least 64, got 10"),
        ({"key_strategy": "escape", "characters": "abc"}, "characters must have - and 0-9a-f"),
        ({"key_strategy": "escape", "characters": "-0123456789abcdef%"}, "characters must not have %"),
        ({"key_strategy": "escape", "characters": "é"}, "characters must be ASCII"),
        ({"key_strategy": "hash", "max_bytes": 0}, "max_bytes must be an int from 1 to 4096, got 0"),
        ({"key_strategy": "hash", "max_bytes": True}, "max_bytes must be an int"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SanitizationWrapper(MemoryStore(), **options)


def test_what_goes_around_no_store_says_so_first():
    with pytest.raises(ConfigurationError, match="SanitizationWrapper goes around a store, got NoneType"):
        SanitizationWrapper(None)


@pytest.mark.parametrize(
    ("options", "needed"),
    [({"key_strategy": "hash"}, 64), ({"key_strategy": "escape"}, 80), ({"preset": "redis-v1"}, 80)],
)
def test_an_inner_store_whose_keys_are_too_short_for_a_strategy_is_refused(options, needed):
    class Short(MemoryStore):
        max_key_bytes = 63

    with pytest.raises(ConfigurationError, match=f"needs max_bytes of at least {needed}, got 63"):
        SanitizationWrapper(Short(), **options)
