"""Each seam of `BaseWrapper`, and what comes without one."""

import asyncio
import threading

import pytest

from satchel import (
    BatchError,
    Capability,
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    SerializationError,
    StoreClosedError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from satchel.protocol import AsyncKeyValue
from satchel.verbs import METHODS, SEAMS
from satchel.wrappers import MISSING, BaseWrapper, StatisticsWrapper, TTLWrapper
from satchel.wrappers.base import bind
from satchel.wrappers.call import IN_WORKER
from tests.wrappers.doubles import Around, Framed, Inspects, Nothing, OneWay, PrefixCollections, PrefixKeys, Reversed


async def listed(names):
    return sorted([name async for name in names])


class Broken(MemoryStore):
    """Fails for keys that hold `bad`."""

    async def _read(self, refs):
        outcomes = await super()._read(refs)
        return [self._fail(key) or outcome for (_, key), outcome in zip(refs, outcomes, strict=True)]

    async def _delete(self, refs, now):
        return [self._fail(key) or True for _, key in refs]

    def _fail(self, key):
        return StoreUnavailableError("down") if "bad" in key else None

    async def get(self, collection, key, default=None):
        return await super(MemoryStore, self).get(collection, key, default)


def test_every_verb_is_known_to_the_base():
    protocol = {name for name in vars(AsyncKeyValue) if not name.startswith("_")}
    verbs = protocol - {"capabilities", "max_key_bytes", "max_value_bytes", "aclose"}
    assert verbs | {name for names in METHODS.values() for name in names} == set(SEAMS)
    assert all(callable(vars(BaseWrapper)[name]) for name in SEAMS)


def test_what_no_seam_is_about_is_the_inner_stores_own():
    inner = MemoryStore()
    assert Nothing(Nothing(inner)).get == inner.get
    assert Framed(inner).delete == inner.delete
    assert Framed(inner).get != inner.get
    assert PrefixKeys(inner).cull == inner.cull


def test_binding_gives_what_is_not_the_method_of_the_class():
    inner = MemoryStore()
    assert bind(Nothing(inner)) == {verb: getattr(inner, verb) for verb in SEAMS}
    assert bind(PrefixKeys(inner)).keys() == {"ping", "cull"}
    assert bind(Around(inner)).keys() == SEAMS.keys()
    assert bind(Around(inner))["keys"] == inner.keys
    with pytest.raises(UnsupportedOperationError, match="does not have keys"):
        bind(OneWay(inner))["keys"]("c")


@pytest.mark.parametrize("inner", [None, "memory://", {}, MemoryStore])
def test_what_is_no_store_is_refused(inner):
    with pytest.raises(ConfigurationError, match="Nothing goes around a store, got"):
        Nothing(inner)


async def test_two_prefixes_share_a_store_and_see_only_their_own():
    inner = MemoryStore()
    a, b = PrefixKeys(inner, prefix="a:"), PrefixKeys(inner, prefix="b:")
    await a.put_many("c", {"k": 1, "l": 2})
    await b.put("c", "k", 3)
    await b.put("other", "k", 4)
    await inner.put("foreign", "k", 5)
    assert await a.get_many("c", ["l", "k"]) == {"l": 2, "k": 1}
    assert await listed(a.keys("c")) == ["k", "l"]
    assert await listed(a.keys("c", limit=1)) in (["k"], ["l"])
    assert await listed(a.collections()) == ["c"]
    assert await listed(b.collections()) == ["c", "other"]
    assert await a.destroy_collection("c") is True
    assert await a.destroy_collection("c") is False
    assert await b.get("c", "k") == 3
    assert await b.destroy() is True
    assert await b.destroy() is False
    assert await listed(inner.collections()) == ["foreign"]


async def test_destroying_key_by_key_goes_beyond_one_page():
    wrapper = PrefixKeys(MemoryStore())
    await wrapper.put_many("c", {str(number): number for number in range(1203)})
    assert await wrapper.destroy_collection("c") is True
    assert await listed(wrapper.keys("c")) == []


async def test_a_collection_prefix_destroys_its_own_collection_alone():
    inner = MemoryStore()
    wrapper = PrefixCollections(inner)
    await wrapper.put("c", "k", 1)
    await inner.put("c", "k", 2)
    assert await listed(wrapper.collections()) == ["c"]
    assert await listed(inner.collections()) == ["c", "p:c"]
    assert await wrapper.destroy_collection("c") is True
    assert await inner.get("c", "k") == 2


async def test_keys_without_a_common_prefix_are_filtered_and_limited_after_mapping_back():
    wrapper = Reversed(MemoryStore())
    await wrapper.put_many("c", {"ab": 1, "ac": 2, "ba": 3})
    assert await listed(wrapper.keys("c", prefix="a")) == ["ab", "ac"]
    assert len(await listed(wrapper.keys("c", prefix="a", limit=1))) == 1
    assert await listed(wrapper.keys("c", limit=0)) == []


@pytest.mark.parametrize("arguments", [{"limit": -1}, {"limit": True}, {"prefix": 1}])
def test_arguments_of_a_listing_are_checked_at_the_call(arguments):
    with pytest.raises((ValueError, InvalidKeyError)):
        Reversed(MemoryStore()).keys("c", **arguments)


def test_without_a_way_back_listing_is_dropped_and_refused_by_name():
    wrapper = OneWay(MemoryStore())
    assert wrapper.capabilities == MemoryStore().capabilities & ~(
        Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS | Capability.WATCH
    )
    for refused in (lambda: wrapper.keys("c"), wrapper.collections, lambda: wrapper.watch("c")):
        with pytest.raises(
            UnsupportedOperationError, match=r"OneWay\(MemoryStore\(\)\) does not have (keys|coll|watch)"
        ):
            refused()


async def test_what_a_wrapper_drops_is_refused_by_name_however_it_is_stacked():
    class Drops(BaseWrapper):
        def __init__(self, inner):
            super().__init__(inner, drops=Capability.CONDITIONAL | Capability.CULL)

    wrapper = Around(Nothing(Drops(MemoryStore())))
    assert not wrapper.capabilities & (Capability.CONDITIONAL | Capability.CULL)
    for operation, arguments in {"touch": ("c", "k"), "put_if_absent": ("c", "k", 1), "cull": ()}.items():
        with pytest.raises(UnsupportedOperationError, match=rf"Drops\(MemoryStore\(\)\) does not have {operation}"):
            await getattr(wrapper, operation)(*arguments, **({"ttl": 1} if operation == "touch" else {}))


class SharedOneWay(OneWay):
    _inner_collection_is_shared = True


async def test_a_sharing_wrapper_needs_listing_to_destroy():
    inner = MemoryStore()
    inner._missing = Capability.ENUMERATE_KEYS
    assert PrefixKeys(inner).capabilities == Capability.CULL | Capability.CONDITIONAL | Capability.WATCH
    inner._missing = Capability.ENUMERATE_COLLECTIONS
    lost = Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_STORE
    assert PrefixKeys(inner).capabilities == MemoryStore().capabilities & ~lost
    for refused in (PrefixKeys(inner).destroy, SharedOneWay(MemoryStore()).destroy):
        with pytest.raises(UnsupportedOperationError, match="does not have destroy"):
            await refused()
    with pytest.raises(UnsupportedOperationError, match=r"PrefixKeys.* does not have collections"):
        PrefixKeys(inner).collections()


async def test_a_prefix_takes_its_length_off_the_longest_key():
    wrapper = PrefixKeys(MemoryStore(), prefix="abc:")
    assert wrapper.max_key_bytes == 4092
    await wrapper.put("c", "k" * 4092, 1)
    for key in ("k" * 4093, ""):
        with pytest.raises(InvalidKeyError):
            await wrapper.put("c", key, 1)
    with pytest.raises(InvalidKeyError, match="limit here is 4092"):
        await wrapper.get_many("c", ["k" * 4093])
    assert await listed(wrapper.keys("c", prefix="k" * 4096)) == []


async def test_errors_name_the_callers_own_key():
    wrapper = PrefixKeys(PrefixCollections(Broken()))
    with pytest.raises(StoreUnavailableError) as caught:
        await wrapper.get("c", "bad")
    assert (caught.value.collection, caught.value.key) == ("c", "bad")
    assert caught.value.__cause__ is not None
    with pytest.raises(SerializationError, match="put of key 'k' in collection 'c' of MemoryStore") as refused:
        await PrefixKeys(PrefixCollections(MemoryStore())).put("c", "k", (1,))
    assert "p:" not in str(refused.value)


async def test_a_batch_error_names_the_callers_own_keys():
    wrapper = PrefixKeys(Broken())
    await wrapper.put("c", "good", 1)
    for call in (wrapper.get_many, wrapper.get_entries, wrapper.delete_many):
        with pytest.raises(BatchError) as caught:
            await call("c", ["good", "bad", "bad too"])
        assert sorted(caught.value.failed) == ["bad", "bad too"]
        assert {(error.collection, error.key) for error in caught.value.failed.values()} == {
            ("c", "bad"),
            ("c", "bad too"),
        }
        assert caught.value.collection in {None, "c"}
    assert caught.value.key is None


async def test_values_are_transformed_on_every_path():
    inner = MemoryStore()
    wrapper = Framed(inner)
    await wrapper.put("c", "a", {"x": 1})
    await wrapper.put_many("c", {"b": b"\x00", "d": None})
    assert await wrapper.put_if_absent("c", "e", [1])
    version = (await wrapper.get_entry("c", "e")).version
    assert await wrapper.compare_and_put("c", "e", [2], version=version)
    expected = {"a": {"x": 1}, "b": b"\x00", "d": None, "e": [2]}
    held = await inner.get_many("c", expected)
    assert all(type(frame) is bytes and frame.startswith(b"'c'|") for frame in held.values())
    assert {key: await wrapper.get("c", key, MISSING) for key in expected} == expected
    assert await wrapper.get_many("c", expected) == expected
    assert {key: entry.value for key, entry in (await wrapper.get_entries("c", expected)).items()} == expected
    assert (await wrapper.get_entry("c", "d")).value is None
    assert await wrapper.get("c", "none", 7) == 7


async def test_a_value_that_cannot_be_decoded_fails_its_own_key():
    inner = MemoryStore()
    wrapper = Framed(inner)
    await wrapper.put("c", "good", 1)
    await inner.put("c", "bad", 1)
    with pytest.raises(IntegrityError, match=r"get of key 'bad' in collection 'c' of Framed\(MemoryStore\(\)\)"):
        await wrapper.get("c", "bad")
    for call in (wrapper.get_many, wrapper.get_entries):
        with pytest.raises(BatchError) as caught:
            await call("c", ["good", "bad"])
        assert list(caught.value.failed) == ["bad"]
        assert type(caught.value.failed["bad"]) is IntegrityError


async def test_other_tasks_run_while_a_batch_is_transformed(monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)  # each value takes longer
    store = Framed(MemoryStore())
    turns, done = 0, False

    async def count():
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for call in (
        lambda: store.put_many("c", {str(number): number for number in range(320)}),
        lambda: store.get_many("c", map(str, range(320))),
        lambda: store.get_entries("c", map(str, range(320))),
    ):
        turns = 0
        assert len(await call() or range(320)) == 320
        assert turns >= 20
    done = True
    await counting


async def test_a_wrapper_can_say_what_belongs_in_a_worker_thread():
    threads = []

    class Reading(BaseWrapper):
        def _decode(self, ref, value):
            threads.append(threading.current_thread())
            return value

        def _decode_if_small(self, ref, value):
            return IN_WORKER if value == "unpacks to much" else value

    store = Reading(MemoryStore())
    await store.put_many("c", {"a": "x" * 100_000, "b": "unpacks to much"})
    assert await store.get("c", "a") == "x" * 100_000
    assert threads == []
    assert await store.get("c", "b") == "unpacks to much"
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_large_values_are_transformed_in_a_worker_thread():
    threads = []

    class Watching(Framed):
        def _encode(self, ref, value):
            threads.append(threading.current_thread())
            return super()._encode(ref, value)

        def _decode(self, ref, value):
            threads.append(threading.current_thread())
            return super()._decode(ref, value)

    wrapper = Watching(MemoryStore())
    for value in ("small", b"x" * 70_000, {"text": ["x" * 70_000]}):
        await wrapper.put("c", "k", value)
        assert await wrapper.get("c", "k") == value
    main = threading.main_thread()
    assert [thread is main for thread in threads] == [True, True, False, False, False, False]


@pytest.mark.parametrize("kind", [Around, Inspects])
async def test_every_call_but_a_listing_goes_around(kind):
    wrapper = kind(MemoryStore())
    await wrapper.put("c", "k", None)
    assert await wrapper.get("c", "k", 5) is None
    assert await wrapper.get(collection="c", key="none", default=5) == 5
    assert await wrapper.get_many("c", iter(["k", "k"])) == {"k": None}
    await wrapper.put_many(collection="c", items={"k": 1}, ttl=5)
    assert await wrapper.delete_many(collection="c", keys=(key for key in "kx")) == 1
    await wrapper.ping()
    assert await listed(wrapper.keys("c")) == []
    assert await wrapper.destroy() is False
    assert wrapper.operations == [
        ("put", "c"), ("get", "c"), ("get", "c"), ("get_many", "c"), ("put_many", "c"), ("delete_many", "c"),
        ("ping", None), ("destroy", None),
    ]  # fmt: skip


async def test_a_call_can_be_made_again():
    class Twice(BaseWrapper):
        async def _around(self, operation, function, /, *args, **named):
            await function(*args, **named)
            return await function(*args, **named)

    wrapper = Twice(MemoryStore())
    await wrapper.put("c", "k", 1)
    assert await wrapper.get_many("c", (key for key in "k")) == {"k": 1}
    assert await wrapper.delete("c", "k") is False


async def test_closing_closes_the_inner_store_for_every_wrapper_around_it():
    inner = MemoryStore()
    a, b = Nothing(inner), StatisticsWrapper(inner)
    async with a, b:
        await a.put("c", "k", 1)
        await b.aclose()
        with pytest.raises(StoreClosedError):
            await a.get("c", "k")
        with pytest.raises(StoreClosedError):
            await a.aclose()
    with pytest.raises(StoreClosedError):
        async with a:
            pass


class Queueing(Nothing):
    """Has writes of its own to finish before it closes."""

    def __init__(self, inner):
        self.queue = {}
        super().__init__(inner)

    async def _finish(self):
        for key in list(self.queue):
            await self.inner.put("c", key, self.queue.pop(key))


class Recording(MemoryStore):
    """Remembers what was put, also when it is closed."""

    def __init__(self):
        self.was_put = []
        super().__init__()

    async def put(self, collection, key, value, *, ttl=None):
        await super().put(collection, key, value, ttl=ttl)
        self.was_put.append(key)


@pytest.mark.parametrize("around", [lambda store: store, Nothing, Around])
async def test_leaving_closes_what_is_the_wrappers_own(around):
    inner = Recording()
    queueing = Queueing(inner)
    async with around(queueing) as store:
        queueing.queue["k"] = 1
    assert inner.was_put == ["k"]
    with pytest.raises(StoreClosedError):
        await store.get("c", "k")


async def test_leaving_after_an_explicit_close_raises_nothing_and_closing_twice_does():
    async with Queueing(MemoryStore()) as store:
        await store.aclose()
        with pytest.raises(StoreClosedError):
            await store.aclose()


async def test_what_a_wrapper_cannot_finish_is_raised_and_the_inner_store_closed():
    store = Queueing(inner := MemoryStore())
    store.queue["k"] = (1,)
    with pytest.raises(SerializationError):
        await store.aclose()
    with pytest.raises(StoreClosedError):
        await inner.get("c", "k")
    store.queue["k"] = 1
    with pytest.raises(StoreClosedError) as caught:
        await store.__aexit__(None, None, None)
    assert caught.value.operation == "put"


async def test_leaving_goes_through_an_aclose_of_the_wrappers_own():
    class Closing(Nothing):
        closed = 0

        async def aclose(self):
            self.closed += 1
            await super().aclose()

    async with Closing(MemoryStore()) as store:
        pass
    assert store.closed == 1


async def test_wrappers_have_typed_collections():
    users = Nothing(MemoryStore()).collection("users", model=dict[str, int])
    await users.put("ada", {"age": 36})
    assert await users.get("ada") == {"age": 36}


@pytest.mark.parametrize("wrap", [PrefixCollections, lambda inner: TTLWrapper(inner, default=5)])
@pytest.mark.parametrize(
    ("operation", "nothing"), [("get_many", []), ("get_entries", []), ("put_many", {}), ("delete_many", [])]
)
async def test_an_empty_batch_fails_as_the_inner_store_does(wrap, operation, nothing):
    store = wrap(MemoryStore())
    await store.aclose()
    with pytest.raises(StoreClosedError) as caught:
        await getattr(store, operation)("c", nothing)
    assert caught.value.collection in {None, "c"}
    assert caught.value.key is None
