"""A satchel store behaves as py-key-value's own: each case runs on its MemoryStore and on ours, and must end alike."""

import asyncio
import enum
import subprocess
import sys
import warnings
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from uuid import UUID

import pytest
from key_value.aio import errors
from key_value.aio.protocols.key_value import (
    AsyncCullProtocol,
    AsyncDestroyCollectionProtocol,
    AsyncDestroyStoreProtocol,
    AsyncEnumerateCollectionsProtocol,
    AsyncEnumerateKeysProtocol,
    AsyncKeyValueProtocol,
)
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper
from pydantic import AnyHttpUrl

from satchel import (
    Capability,
    ConfigurationError,
    DiskStore,
    FileTreeStore,
    InvalidKeyError,
    MemoryStore,
    NullStore,
    SignedPickleCodec,
)
from satchel.integrations.py_key_value import as_py_key_value
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import OnErrorWrapper, ReadOnlyWrapper

CAPABLE = {
    Capability.ENUMERATE_KEYS: AsyncEnumerateKeysProtocol,
    Capability.ENUMERATE_COLLECTIONS: AsyncEnumerateCollectionsProtocol,
    Capability.DESTROY_COLLECTION: AsyncDestroyCollectionProtocol,
    Capability.DESTROY_STORE: AsyncDestroyStoreProtocol,
    Capability.CULL: AsyncCullProtocol,
}


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Nothing:
    pass


def endless():
    value = {}
    value["itself"] = value
    return value


VALUES = {
    "nothing": {},
    "null": {"a": None, "b": [None]},
    "bools": {"a": True, "b": [False, 1, 1.0, 0]},
    "numbers": {"a": 10**18, "b": -42, "c": 1.0, "d": 12345678901.2345, "e": 1e300},
    "text": {"a": "é 世界 🌍\n\0", "": "", "null": "null", "1": "1"},
    "deep": {"a": {"b": {"c": {"d": [[[{"e": 1}]]]}}}},
    "tuple": {"a": (1, "two", 3.0, (True,))},
    "large tuple": {"a": (1, "two", 3.0) * 20_000},
    "large text": {"a": "x" * 1_000_000},
    "large list": {"a": list(range(50_000))},
    "ordered": OrderedDict(b=1, a=OrderedDict(d=1, c=2)),
    "proxy": MappingProxyType({"a": 1}),
    "nested proxy": {"a": MappingProxyType({"a": 1})},
    "int enum": {"a": Number.ONE, "b": [Number.ONE]},
    "str subclass": {Text("a"): Text("b")},
    "nested number keys": {"a": [{1: "a", 1.5: "d"}, {None: "b"}, {False: "c"}]},
    "number key": {1: "a"},
    "tuple key": {"a": {(1, 2): 3}},
    "datetime": {"a": datetime.now(UTC)},
    "uuid": {"a": UUID(int=1)},
    "url": {"a": AnyHttpUrl("https://example.com")},
    "decimal": {"a": Decimal(1)},
    "set": {"a": {1, 2}},
    "large set": {"a": set(range(100_000))},
    "bytes": {"a": b"a"},
    "object": {"a": Nothing()},
    "no mapping": [1, 2],
    "bare text": "text",
    "none": None,
}

TTLS = {
    "int": 100,
    "float": 100.5,
    "decimal": Decimal(100),
    "fraction": Fraction(1001, 10),
    "zero": 0,
    "negative": -5,
    "true": True,
    "text": "100",
    "list": [100],
}


async def put_and_get(store, value):
    await store.put(key="k", value=value, collection="c")
    return await store.get(key="k", collection="c"), await store.get("k", collection="c")


async def put_with_ttl(store, ttl):
    await store.put("k", {"a": 1}, collection="c", ttl=ttl)
    value, left = await store.ttl("k", collection="c")
    return value, round(left)


async def put_many_with_ttl(store, ttl):
    await store.put_many(["k", "l"], [{"a": 1}, {"a": 2}], collection="c", ttl=ttl)
    return [(value, round(left)) for value, left in await store.ttl_many(["l", "k"], collection="c")]


async def batches(store):
    await store.put_many(keys=("a", "b"), values=({"n": 1}, {"n": (2,)}), collection="c")
    await store.put_many(["d", "d"], [{"n": 1}, {"n": 2}], collection="c")
    return (
        await store.get_many(["b", "missing", "a", "b", "d"], collection="c"),
        await store.ttl_many(("a", "missing"), collection="c"),
        await store.get_many([], collection="c"),
        await store.delete_many(["a", "a", "missing"], collection="c"),
        await store.delete_many([], collection="c"),
        await store.get_many(["a", "b"], collection="c"),
    )


async def absence(store):
    return (
        await store.get("k", collection="c"),
        await store.ttl("k", collection="c"),
        await store.delete("k", collection="c"),
        await store.get_many(["k"], collection="c"),
        await store.keys("c"),
    )


async def deletes(store):
    await store.put("k", {"a": 1})
    return await store.delete("k"), await store.delete("k"), await store.get("k")


async def default_collection(store):
    await store.put("k", {"a": 1})
    return (
        await store.get("k", collection=""),
        await store.get("k", collection="default_collection"),
        await store.keys(),
        await store.collections(),
    )


async def listings(store):
    await store.put_many([f"{n}" for n in range(5)], [{}] * 5, collection="c")
    await store.put("k", {}, collection="d")
    return (
        sorted(await store.keys("c")),
        sorted(await store.keys(collection="c")),
        len(await store.keys("c", limit=2)),
        len(await store.keys("c", limit=100)),
        sorted(await store.collections()),
        len(await store.collections(limit=1)),
        await store.destroy_collection("d"),
        await store.destroy_collection("missing"),
        await store.collections(),
        await store.destroy(),
    )


async def a_ttl_is_removed_by_the_next_put(store):
    await store.put("k", {}, ttl=100)
    await store.put("k", {"a": 1})
    return await store.ttl("k")


async def names(store):
    ends = []
    for name in ("test" * 250, "a b!@#$%^&*()", "a::b", "a__b", "../a", "é\n🌍", "A", "a"):
        await store.put(name, {"name": name}, collection=name)
        ends.append(await store.get(name, collection=name))
    return ends, len(await store.collections()), await store.keys("a::b")


async def many_at_once(store):
    async def work(worker):
        ends = []
        for n in range(5):
            key = f"{worker}-{n}"
            ends.append(await store.get(key, collection="c"))
            await store.put(key, {"n": n}, collection="c")
            await store.put(key, {"n": n + 1}, collection="c")
            ends += [await store.get(key, collection="c"), await store.delete(key, collection="c")]
        return ends

    return await asyncio.gather(*map(work, range(3)))


MISTAKES = {
    "key is no str": lambda store: store.get(1),
    "key is None": lambda store: store.put(None, {}),
    "key is bytes": lambda store: store.delete(b"k"),
    "collection is no str": lambda store: store.get("k", collection=1),
    "keys is a number": lambda store: store.get_many(1),
    "keys is a set": lambda store: store.get_many({"a"}),
    "a key in keys": lambda store: store.delete_many([1]),
    "too few values": lambda store: store.put_many(["a", "b"], [{}]),
    "a value is a list": lambda store: store.put_many(["a"], [[1]]),
    "a value is wrong": lambda store: store.put_many(["a", "b"], [{}, {"a": b""}]),
    "a ttl is wrong": lambda store: store.put_many(["a"], [{}], ttl=-1),
    "collection by position": lambda store: store.get("k", "c"),
    "no collection": lambda store: store.destroy_collection(),
}

CASES = {
    **{f"value: {name}": lambda store, value=value: put_and_get(store, value) for name, value in VALUES.items()},
    **{f"ttl: {name}": lambda store, ttl=ttl: put_with_ttl(store, ttl) for name, ttl in TTLS.items()},
    **{f"ttl of many: {name}": lambda store, ttl=ttl: put_many_with_ttl(store, ttl) for name, ttl in TTLS.items()},
    **{f"mistake: {name}": mistake for name, mistake in MISTAKES.items()},
    "batches": batches,
    "absence": absence,
    "deletes": deletes,
    "default collection": default_collection,
    "listings": listings,
    "names": names,
    "many at once": many_at_once,
    "put removes a ttl": a_ttl_is_removed_by_the_next_put,
}


def exact(value):
    """Return a value with the exact type of everything in it; dicts are compared without their order."""
    if type(value) is dict:
        return "dict", sorted((key, exact(inner)) for key, inner in value.items())
    if type(value) in (list, tuple):
        return type(value).__name__, [exact(inner) for inner in value]
    return type(value).__name__, value


async def end_of(case, store):
    try:
        return exact(await case(store))
    except Exception as error:
        return type(error)


@pytest.fixture(params=["memory", "disk", "file tree"])
async def store(request, tmp_path):
    stores = {"memory": MemoryStore, "disk": DiskStore, "file tree": FileTreeStore}
    given = () if request.param == "memory" else (tmp_path / "data",)
    async with stores[request.param](*given) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
async def test_a_call_ends_as_on_their_own_store(name, store):
    with warnings.catch_warnings(action="ignore"):  # it warns of arguments of a wrong type before it refuses them
        theirs = await end_of(CASES[name], TheirMemoryStore())
    ours = await end_of(CASES[name], as_py_key_value(store))
    assert issubclass(ours, theirs) if isinstance(theirs, type) else ours == theirs


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": 2**64}, {"a": "\ud800"}, endless()])
async def test_what_satchel_does_not_keep_is_their_serialization_error(value):
    with pytest.raises(errors.SerializationError):
        await as_py_key_value(MemoryStore()).put("k", value)


@pytest.mark.parametrize("ttl", [float("nan"), float("inf"), 1e10, Decimal("NaN")])
async def test_a_ttl_beyond_reason_is_their_error(ttl):
    with pytest.raises(errors.InvalidTTLError):
        await as_py_key_value(MemoryStore()).put("k", {}, ttl=ttl)


async def test_a_name_that_is_none_is_their_error():
    with pytest.raises(errors.InvalidKeyError):
        await as_py_key_value(MemoryStore()).get("")


async def test_the_values_are_the_same_whatever_the_codec_of_the_store():
    store = as_py_key_value(MemoryStore(codec=SignedPickleCodec(signing_key=bytes(32))))
    await store.put("k", {"a": (1, 2)})
    assert exact(await store.get("k")) == exact({"a": [1, 2]})
    with pytest.raises(errors.SerializationError):
        await store.put("k", {"a": {1, 2}})


async def test_what_was_given_is_not_changed_and_not_kept():
    store, value = as_py_key_value(MemoryStore()), {"a": [1]}
    await store.put("k", value)
    value["a"].append(2)
    got = await store.get("k")
    got["a"].append(3)
    assert await store.get("k") == {"a": [1]}


async def test_an_entry_expires_by_the_clock_of_the_store():
    clock = FakeClock()
    store = as_py_key_value(MemoryStore(clock=clock))
    await store.put("k", {"a": 1}, ttl=10)
    clock.advance(4)
    assert await store.ttl("k") == ({"a": 1}, 6.0)
    clock.advance(6)
    assert await store.ttl("k") == (None, None)
    assert await store.delete("k") is False
    assert await store.keys() == []
    assert await store.cull() is None


async def test_a_listing_has_at_most_ten_thousand_names():
    inner = MemoryStore()
    store = as_py_key_value(inner, default_collection="c")
    await inner.put_many("c", {f"{n}": {} for n in range(10_001)})
    for limit in (None, 20_000):
        assert len(set(await store.keys(limit=limit))) == 10_000
    assert await store.keys(limit=0) == []
    assert await store.collections(limit=0) == []


@pytest.mark.parametrize("made", [MemoryStore, NullStore, lambda: ReadOnlyWrapper(MemoryStore())])
def test_it_has_those_methods_that_the_store_can_honour(made):
    inner = made()
    store = as_py_key_value(inner)
    assert isinstance(store, AsyncKeyValueProtocol)
    for capability, protocol in CAPABLE.items():
        assert isinstance(store, protocol) is (capability in inner.capabilities)


def test_a_store_without_listing_has_no_keys():
    store = as_py_key_value(ReadOnlyWrapper(MemoryStore()))
    assert isinstance(store, AsyncEnumerateKeysProtocol)
    assert not isinstance(store, AsyncCullProtocol)
    assert not hasattr(store, "destroy")


def test_it_is_never_falsy_and_says_what_it_is():
    store = as_py_key_value(MemoryStore())
    assert store
    assert repr(store) == "as_py_key_value(MemoryStore())"


@pytest.mark.parametrize("given", [MemoryStore, TheirMemoryStore(), None])
def test_what_is_no_store_is_refused(given):
    with pytest.raises(ConfigurationError, match="as_py_key_value takes a store"):
        as_py_key_value(given)


@pytest.mark.parametrize("name", ["", None, 1])
def test_a_default_collection_that_is_none_is_refused_at_once(name):
    with pytest.raises(InvalidKeyError, match="default_collection"):
        as_py_key_value(MemoryStore(), default_collection=name)


async def test_another_value_than_a_dict_is_their_deserialization_error():
    inner = MemoryStore()
    await inner.put_many("c", {"k": [1]})
    store = as_py_key_value(inner, default_collection="c")
    calls = [store.get("k"), store.ttl("k"), store.get_many(["k"]), store.ttl_many(["k"])]
    for call in calls:
        with pytest.raises(errors.DeserializationError, match="a list is stored here"):
            await call


async def test_a_write_to_a_read_only_store_is_their_error():
    store = as_py_key_value(ReadOnlyWrapper(MemoryStore()))
    with pytest.raises(errors.ReadOnlyError):
        await store.put("k", {})


async def test_a_queue_of_writes_that_is_full_is_their_store_error():
    store = FlakyStore()
    queued = OnErrorWrapper(store, policy="lazy", max_queued=1)
    store.fail_next(2)
    storage = as_py_key_value(queued)
    await storage.put("one", {})
    with pytest.raises(errors.KeyValueStoreError, match="takes no more"):
        await storage.put("two", {})
    await queued.aclose()


async def test_a_value_too_large_is_their_error(tmp_path):
    async with DiskStore(tmp_path / "data", max_size=100_000) as inner:
        with pytest.raises(errors.ValueTooLargeError):
            await as_py_key_value(inner).put("k", {"a": "x" * 1_000_000})
        with pytest.raises(errors.ValueTooLargeError):
            await as_py_key_value(inner).put_many(["k"], [{"a": "x" * 1_000_000}])


async def test_a_store_that_was_closed_or_cannot_be_reached_is_their_store_error():
    inner = MemoryStore()
    await inner.aclose()
    with pytest.raises(errors.KeyValueStoreError):
        await as_py_key_value(inner).get("k")
    flaky = FlakyStore()
    flaky.fail_next(1)
    with pytest.raises(errors.StoreConnectionError):
        await as_py_key_value(flaky).get("k")


async def test_their_wrappers_work_around_it():
    inner = MemoryStore()
    wrapped = PrefixKeysWrapper(as_py_key_value(inner, default_collection="c"), prefix="app")
    await asyncio.gather(*(wrapped.put(f"{n}", {"n": n}) for n in range(20)))
    assert await wrapped.get_many(["3", "none"]) == [{"n": 3}, None]
    assert await inner.get("c", "app__3") == {"n": 3}


def test_without_py_key_value_the_import_says_what_to_install():
    code = (
        "import sys; sys.modules['key_value'] = None\n"
        "import satchel\n"
        "try:\n    import satchel.integrations.py_key_value\n"
        "except satchel.MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "satchel[py-key-value]"' in done.stdout
