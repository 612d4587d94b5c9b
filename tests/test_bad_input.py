"""Every bad input has its own error, raised before any I/O: no hook is called, and the store is not opened for it."""

import asyncio
import enum
import math
from collections import namedtuple
from datetime import UTC, datetime

import pytest

from satchel import (
    BaseStore,
    Capability,
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    JsonCodec,
    MemoryStore,
    SerializationError,
    StoreClosedError,
    StoreError,
    UnsupportedOperationError,
    require,
)
from tests.scripted import BatchStore, SingleStore

WRONG_NAMES = ["", None, 7, b"k", "a\ud800", "k" * 4097, "é" * 2049, ("a", "b")]
WRONG_TTLS = [0, -1, math.nan, math.inf, 1e12, True, "5", b"5", [1]]


class Color(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", "x y")  # noqa: PYI024  # what is tested is that it is a tuple

LOOP = []
LOOP.append(LOOP)
DEEP = None
for _ in range(101):
    DEEP = [DEEP]

WRONG_VALUES = {
    "tuple": (1, 2),
    "named tuple": Point(1, 2),
    "set": {1},
    "nan": [math.nan],
    "infinity": math.inf,
    "enum": Color.RED,
    "subclass of str": Text("a"),
    "big integer": 2**63,
    "key that is no str": {1: 2},
    "datetime": datetime(2024, 1, 1, tzinfo=UTC),
    "bytes inside": {"a": b"b"},
    "bytearray": bytearray(b"b"),
    "lone surrogate": "\ud800",
    "object": object(),
    "deep": DEEP,
    "refers to itself": LOOP,
}

NAMED_CALLS = {
    "get": lambda store, collection, key: store.get(collection, key),
    "get_entry": lambda store, collection, key: store.get_entry(collection, key),
    "exists": lambda store, collection, key: store.exists(collection, key),
    "put": lambda store, collection, key: store.put(collection, key, 1),
    "delete": lambda store, collection, key: store.delete(collection, key),
    "get_many": lambda store, collection, key: store.get_many(collection, ["good", key]),
    "get_entries": lambda store, collection, key: store.get_entries(collection, ["good", key]),
    "put_many": lambda store, collection, key: store.put_many(collection, {"good": 1, key: 2}),
    "delete_many": lambda store, collection, key: store.delete_many(collection, ["good", key]),
    "put_if_absent": lambda store, collection, key: store.put_if_absent(collection, key, 1),
    "compare_and_put": lambda store, collection, key: store.compare_and_put(collection, key, 1, version="v"),
    "compare_and_delete": lambda store, collection, key: store.compare_and_delete(collection, key, version="v"),
    "touch": lambda store, collection, key: store.touch(collection, key, ttl=1),
}
COLLECTION_CALLS = NAMED_CALLS | {
    "put_many of nothing": lambda store, collection, key: store.put_many(collection, {}),
    "get_many of nothing": lambda store, collection, key: store.get_many(collection, []),
    "destroy_collection": lambda store, collection, key: store.destroy_collection(collection),
    "keys": lambda store, collection, key: at_the_call(store.keys, collection),
}
VALUE_CALLS = {
    "put": lambda store, value: store.put("c", "k", value),
    "put_many": lambda store, value: store.put_many("c", {"good": 1, "k": value}),
    "put_if_absent": lambda store, value: store.put_if_absent("c", "k", value),
    "compare_and_put": lambda store, value: store.compare_and_put("c", "k", value, version="v"),
}
TTL_CALLS = {
    "put": lambda store, ttl: store.put("c", "k", 1, ttl=ttl),
    "put_many": lambda store, ttl: store.put_many("c", {"k": 1}, ttl=ttl),
    "put_many of nothing": lambda store, ttl: store.put_many("c", {}, ttl=ttl),
    "put_if_absent": lambda store, ttl: store.put_if_absent("c", "k", 1, ttl=ttl),
    "compare_and_put": lambda store, ttl: store.compare_and_put("c", "k", 1, version="v", ttl=ttl),
    "touch": lambda store, ttl: store.touch("c", "k", ttl=ttl),
}
EVERY_CALL = NAMED_CALLS | {
    "ping": lambda store, collection, key: store.ping(),
    "cull": lambda store, collection, key: store.cull(),
    "destroy": lambda store, collection, key: store.destroy(),
    "destroy_collection": lambda store, collection, key: store.destroy_collection(collection),
    "keys": lambda store, collection, key: anext(store.keys(collection)),
    "collections": lambda store, collection, key: anext(store.collections()),
    "get_many of nothing": lambda store, collection, key: store.get_many(collection, []),
    "put_many of nothing": lambda store, collection, key: store.put_many(collection, {}),
    "delete_many of nothing": lambda store, collection, key: store.delete_many(collection, []),
}


async def at_the_call(function, *args, **options):
    """Call something that must raise at the call, not at the first step."""
    return function(*args, **options)


@pytest.fixture(params=[MemoryStore, BatchStore, SingleStore])
async def store(request):
    """A store that must be untouched when the test has ended."""
    made = request.param()
    yield made
    if isinstance(made, MemoryStore):
        assert await made.destroy() is False
    else:
        assert made.events == []
        assert made.server.calls == []
    await made.aclose()


@pytest.mark.parametrize("name", WRONG_NAMES, ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("call", NAMED_CALLS.values(), ids=NAMED_CALLS)
async def test_a_wrong_key(store, call, name):
    with pytest.raises(InvalidKeyError, match=r"^key "):
        await call(store, "c", name)


@pytest.mark.parametrize("name", WRONG_NAMES, ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("call", COLLECTION_CALLS.values(), ids=COLLECTION_CALLS)
async def test_a_wrong_collection(store, call, name):
    with pytest.raises(InvalidKeyError, match=r"^collection "):
        await call(store, name, "k")


@pytest.mark.parametrize("value", WRONG_VALUES.values(), ids=WRONG_VALUES)
@pytest.mark.parametrize("call", VALUE_CALLS.values(), ids=VALUE_CALLS)
async def test_a_wrong_value(store, call, value):
    with pytest.raises(SerializationError, match=r"key 'k' in collection 'c' of .*\$"):
        await call(store, value)


@pytest.mark.parametrize("ttl", WRONG_TTLS, ids=repr)
@pytest.mark.parametrize("call", TTL_CALLS.values(), ids=TTL_CALLS)
async def test_a_wrong_ttl(store, call, ttl):
    with pytest.raises(InvalidTTLError, match=r"^ttl must be"):
        await call(store, ttl)


@pytest.mark.parametrize("keys", ["abc", b"abc", 7, None])
@pytest.mark.parametrize("verb", ["get_many", "get_entries", "delete_many"])
async def test_what_is_no_list_of_keys(store, verb, keys):
    with pytest.raises(InvalidKeyError, match=r"^keys must be an iterable of str"):
        await getattr(store, verb)("c", keys)


@pytest.mark.parametrize("items", ["abc", [("k", 1)], None, 7])
async def test_what_is_no_mapping_of_items(store, items):
    with pytest.raises(InvalidKeyError, match=r"^items must be a mapping"):
        await store.put_many("c", items)


@pytest.mark.parametrize("prefix", [None, 7, b"a", "\ud800", "k" * 4097])
async def test_a_wrong_prefix(store, prefix):
    with pytest.raises(InvalidKeyError, match=r"^prefix "):
        store.keys("c", prefix=prefix)


@pytest.mark.parametrize("limit", [-1, 1.5, "1", True])
async def test_a_wrong_limit(store, limit):
    with pytest.raises(ValueError, match=r"^limit must be"):
        store.keys("c", limit=limit)


@pytest.mark.parametrize("version", [None, 7, b"v"])
async def test_a_wrong_version(store, version):
    with pytest.raises(TypeError, match=r"^version must be"):
        await store.compare_and_put("c", "k", 1, version=version)
    with pytest.raises(TypeError, match=r"^version must be"):
        await store.compare_and_delete("c", "k", version=version)


@pytest.mark.parametrize("kind", [BatchStore, SingleStore])
@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
async def test_use_after_close(kind, call):
    store = kind()
    await store.put("c", "k", 1)
    await store.aclose()
    with pytest.raises(StoreClosedError, match=r"Store\(\) is closed") as caught:
        await call(store, "c", "k")
    assert caught.value.operation
    assert not caught.value.retryable


@pytest.mark.parametrize("kind", [MemoryStore, BatchStore, SingleStore])
async def test_a_second_close(kind):
    store = kind()
    await store.aclose()
    with pytest.raises(StoreClosedError):
        await store.aclose()


@pytest.mark.parametrize("kind", [BatchStore, SingleStore])
@pytest.mark.parametrize("call", [*EVERY_CALL.values(), lambda store, *_: store.aclose()], ids=[*EVERY_CALL, "aclose"])
async def test_use_from_another_running_loop(kind, call):
    store = kind()
    await store.put("c", "k", 1)

    async def elsewhere():
        await call(store, "c", "k")

    with pytest.raises(StoreError, match="another event loop") as caught:
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert caught.value.operation
    assert await store.get("c", "k") == 1
    await store.aclose()


class Bare(BaseStore):
    """Has the core alone."""

    async def _read(self, refs):
        raise AssertionError("was asked")

    _write = _delete = _read


OPTIONAL_CALLS = {
    "keys": lambda store: at_the_call(store.keys, "c"),
    "collections": lambda store: at_the_call(store.collections),
    "destroy_collection": lambda store: store.destroy_collection("c"),
    "destroy": lambda store: store.destroy(),
    "cull": lambda store: store.cull(),
    "put_if_absent": lambda store: store.put_if_absent("c", "k", 1),
    "compare_and_put": lambda store: store.compare_and_put("c", "k", 1, version="v"),
    "compare_and_delete": lambda store: store.compare_and_delete("c", "k", version="v"),
    "touch": lambda store: store.touch("c", "k", ttl=1),
}


@pytest.mark.parametrize("name", OPTIONAL_CALLS)
async def test_what_a_store_does_not_have(name):
    with pytest.raises(UnsupportedOperationError, match=rf"Bare\(\) does not have {name}"):
        await OPTIONAL_CALLS[name](Bare())


def test_requiring_what_a_store_does_not_have():
    with pytest.raises(UnsupportedOperationError, match=r"Bare\(\) does not have ENUMERATE_KEYS, CULL"):
        require(Bare(), Capability.ENUMERATE_KEYS | Capability.CULL)
    store = MemoryStore()
    assert require(store, Capability.ENUMERATE_KEYS | Capability.CULL) is store


@pytest.mark.parametrize("options", [{"clock": 7}, {"codec": "json"}, {"codec": JsonCodec}])
def test_a_wrong_option(options):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(options))} must be"):
        MemoryStore(**options)


async def test_a_store_is_never_falsy():
    assert BatchStore()
    assert MemoryStore()
