"""What a store of py-key-value can and cannot do as a satchel store, and the form of its entries."""

import asyncio
import gc
import json
import sqlite3
import threading
import time

import pytest
from key_value.aio import errors as theirs
from key_value.aio.stores.disk import DiskStore as TheirDiskStore
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore
from key_value.aio.stores.null import NullStore as TheirNullStore
from key_value.aio.wrappers.limit_size import LimitSizeWrapper
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper
from key_value.aio.wrappers.read_only import ReadOnlyWrapper

from satchel import (
    Capability,
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    ReadOnlyError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from satchel.integrations.py_key_value import as_py_key_value, from_py_key_value
from satchel.integrations.py_key_value import store as py_key_value_store
from satchel.testing import FakeClock

NOW = 1767225600.0
LISTS = Capability.ENUMERATE_KEYS | Capability.DESTROY_COLLECTION
ALL = LISTS | Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_STORE

VERSION = "00112233445566778899aabbccddeeff"
HEADER = {"satchel": 1, "version": VERSION, "updated_at": NOW}
# Format 1, as it has been written: what is here stays readable.
GOLDEN = {
    "json": (
        {"name": "Ada", "n": [1, 1.0, True]},
        {**HEADER, "codec": 1, "checksum": 2096911884, "text": '{"name":"Ada","n":[1,1.0,true]}'},
    ),
    "bytes": (b"\x00\xff", {**HEADER, "codec": 0, "checksum": 2195722312, "base64": "AP8="}),
    "expiring": ("text", {**HEADER, "codec": 1, "checksum": 1283681244, "deadline": NOW + 60, "text": '"text"'}),
}
LONG = "k" * 300
LONG_HELD = {**HEADER, "codec": 1, "checksum": 1636690435, "names": ["c", LONG], "text": "1"}


class Failing(TheirMemoryStore):
    """Fails as it is told to, whatever is asked of it."""

    error = None

    async def _get_managed_entry(self, **names):
        raise self.error

    async def _put_managed_entry(self, **entry):
        raise self.error


class Slow(TheirMemoryStore):
    async def _get_managed_entry(self, **names):
        await asyncio.sleep(60)


class Waiting(TheirMemoryStore):
    async def _get_managed_entry(self, **names):
        await asyncio.sleep(0)


async def in_the_end(call):
    """Make a call again until it is in time, however busy the machine is."""
    while True:
        try:
            return await call()
        except StoreTimeoutError:
            await asyncio.sleep(0.01)


@pytest.fixture
def inner():
    return TheirMemoryStore()


@pytest.fixture
def store(inner):
    return from_py_key_value(inner, clock=FakeClock(NOW))


@pytest.mark.parametrize(
    ("made", "capabilities"),
    [
        (TheirMemoryStore, ALL),
        (lambda: TheirNullStore(stable_api=True), Capability.NONE),
        (lambda: PrefixKeysWrapper(TheirMemoryStore(), prefix="p"), Capability.NONE),
        (lambda: as_py_key_value(MemoryStore()), ALL),
    ],
)
def test_it_has_the_capabilities_that_their_store_has_methods_for(made, capabilities):
    assert from_py_key_value(made()).capabilities == capabilities


@pytest.mark.parametrize("given", [TheirMemoryStore, MemoryStore(), None])
def test_what_is_no_store_of_py_key_value_is_refused(given):
    with pytest.raises(ConfigurationError, match="from_py_key_value takes a store of py-key-value"):
        from_py_key_value(given)


def test_it_shows_nothing_of_the_store_but_its_class(store):
    assert repr(store) == "PyKeyValueStore(MemoryStore)"


@pytest.mark.parametrize("name", GOLDEN)
async def test_an_entry_is_written_in_format_1(name, inner, store):
    value, held = GOLDEN[name]
    await store.put("c", "k", value, ttl=60 if "deadline" in held else None)
    written = await inner.get("k", collection="c")
    changing = {"version": VERSION, "checksum": held["checksum"]}
    assert written | changing == held
    assert written["version"] != VERSION


@pytest.mark.parametrize("name", GOLDEN)
async def test_an_entry_of_format_1_is_read(name, inner, store):
    value, held = GOLDEN[name]
    await inner.put("k", held, collection="c")
    entry = await store.get_entry("c", "k")
    assert (entry.value, entry.version, entry.updated_at.timestamp()) == (value, VERSION, NOW)
    assert entry.ttl == (60 if "deadline" in held else None)


async def test_a_name_that_is_hashed_stands_in_the_entry(inner, store):
    await store.put("c", LONG, 1)
    (key,) = await inner.keys("c")
    assert len(key) == 200
    await inner.put(key, LONG_HELD, collection="c")
    assert await store.get("c", LONG) == 1
    assert [name async for name in store.keys("c")] == [LONG]
    await inner.put("other", LONG_HELD, collection="c")
    with pytest.raises(IntegrityError, match="belongs to another key"):
        await store.get("c", "other")


@pytest.mark.parametrize(
    "change",
    [
        {"text": '{"name":"Eve","n":[1,1.0,true]}'},
        {"version": "f" * 32},
        {"version": "no version"},
        {"updated_at": NOW + 1},
        {"codec": 2},
        {"satchel": 2},
        {"text": None},
        {"text": None, "base64": "not base64"},
        {"more": 1},
    ],
)
async def test_an_entry_that_was_changed_is_an_integrity_error_and_can_be_deleted(change, inner, store):
    await inner.put("k", GOLDEN["json"][1] | change, collection="c")
    with pytest.raises(IntegrityError):
        await store.get("c", "k")
    assert await store.delete("c", "k")
    assert await store.get("c", "k") is None


async def test_what_others_put_is_no_entry_and_is_never_destroyed(inner, store):
    await inner.put("theirs", {"name": "Ada"}, collection="c")
    await store.put("c", "ours", 1)
    with pytest.raises(IntegrityError, match="another program put it"):
        await store.get("c", "theirs")
    assert [key async for key in store.keys("c")] == ["ours"]
    assert await store.destroy_collection("c")
    assert await store.destroy() is False
    assert await inner.keys("c") == ["theirs"]


def test_names_that_their_stores_would_join_or_reserve_stay_apart(tmp_path):
    names = [("a", "b::c"), ("a::b", "c"), ("S_a", "H_b"), ("s_a", "h_b"), ("../a", "../b"), ("A", "B")]
    inner = TheirDiskStore(directory=tmp_path)

    async def use(store):
        async with store:
            for collection, key in names:
                await store.put(collection, key, [collection, key])
            return [await store.get(*name) for name in names]

    try:
        assert asyncio.run(use(from_py_key_value(inner))) == [list(name) for name in names]
    finally:
        inner._cache.close()


@pytest.mark.parametrize("end", ["closed", "forgotten"])
def test_a_thread_ends_without_leaving_a_connection_of_diskcache_open(tmp_path, end):
    """SQLite's connections belong to a thread, so that nobody could close one afterwards."""
    inner = TheirDiskStore(directory=tmp_path)
    mine = inner._cache._con
    opened = []

    async def use():
        store = from_py_key_value(inner)
        await store.put("c", "k", 1)
        worker = store._worker
        opened.append(await worker.run(lambda: inner._cache._con))
        if end == "closed":
            await store.aclose()
        return worker.thread

    thread = asyncio.run(use())
    gc.collect()
    thread.join(50)
    inner._cache.close()
    assert mine is not opened[0]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].interrupt()


async def test_their_store_keeps_an_entry_a_little_longer_and_the_deadline_decides(inner):
    clock = FakeClock(NOW)
    store = from_py_key_value(inner, clock=clock)
    await store.put("c", "k", 1, ttl=0.5)
    _, left = await inner.ttl("k", collection="c")
    assert 1 < left <= 2
    clock.advance(0.5)
    assert await store.get("c", "k") is None
    assert await inner.get("k", collection="c") is not None


async def test_more_names_than_py_key_value_lists_are_an_error_not_left_out(inner, store):
    await store.put_many("c", {f"{n}": n for n in range(9_999)})
    assert len([key async for key in store.keys("c")]) == 9_999
    await store.put("c", "one more", 1)
    with pytest.raises(StoreError, match="10000 keys of a collection or more"):
        await anext(store.keys("c"))
    with pytest.raises(StoreError, match="10000 keys of a collection or more"):
        await store.destroy_collection("c")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (theirs.StoreConnectionError("secret"), StoreUnavailableError),
        (theirs.StoreSetupError("secret"), StoreError),
        (theirs.DeserializationError("secret"), IntegrityError),
        (theirs.InvalidKeyError("secret"), InvalidKeyError),
        (theirs.ReadOnlyError("get"), ReadOnlyError),
        (OSError("secret"), StoreUnavailableError),
        (ValueError("secret"), StoreError),
    ],
)
async def test_their_errors_become_those_of_satchel_without_what_they_said(raised, expected):
    inner = Failing()
    inner.error = raised
    with pytest.raises(expected) as caught:
        await from_py_key_value(inner).get("c", "k")
    assert type(caught.value) is expected
    assert "secret" not in str(caught.value)


async def test_wrappers_that_refuse_a_write_refuse_it_here():
    with pytest.raises(ReadOnlyError):
        await from_py_key_value(ReadOnlyWrapper(TheirMemoryStore(), raise_on_write=True)).put("c", "k", 1)
    with pytest.raises(ValueTooLargeError):
        await from_py_key_value(LimitSizeWrapper(TheirMemoryStore(), max_size=10)).put("c", "k", 1)


async def test_a_call_that_takes_too_long_is_a_timeout():
    with pytest.raises(StoreTimeoutError):
        await from_py_key_value(Slow(), timeout=0.01).get("c", "k")


async def test_a_store_that_blocks_is_called_in_a_worker_thread():
    def thread_of(blocks):
        class Watched(TheirMemoryStore):
            async def _get_managed_entry(self, **names):
                Watched.thread = threading.current_thread()

        if blocks:
            Watched.__module__ = "key_value.aio.stores.disk.store"
        return Watched

    for blocks in (True, False):
        kind = thread_of(blocks)
        for given in (kind(), PrefixKeysWrapper(kind(), prefix="p")):
            async with from_py_key_value(given) as store:
                await store.get("c", "k")
            assert (kind.thread is not threading.main_thread()) is blocks


async def test_a_blocking_write_that_was_cut_off_never_lands_over_a_later_one(monkeypatch):
    go_on = threading.Event()

    class Stuck(TheirMemoryStore):
        async def _put_managed_entry(self, **entry):
            if not go_on.is_set():
                go_on.wait(5)
                time.sleep(0.05)  # noqa: ASYNC251  # it stands for a store that blocks
            await super()._put_managed_entry(**entry)

    monkeypatch.setattr(py_key_value_store, "_is_blocking", lambda store: True)
    store = from_py_key_value(Stuck(), timeout=0.05)
    with pytest.raises(StoreTimeoutError):
        await store.put("c", "k", "first")
    with pytest.raises(StoreTimeoutError):
        await store.put("c", "k", "second")
    go_on.set()
    await in_the_end(lambda: store.put("c", "k", "third"))
    await asyncio.sleep(0.2)
    assert await in_the_end(lambda: store.get("c", "k")) == "third"
    await store.aclose()


async def test_what_claims_to_block_and_waits_for_the_loop_is_an_error(monkeypatch):
    monkeypatch.setattr(py_key_value_store, "_is_blocking", lambda store: True)
    with pytest.raises(StoreError, match="waits for the event loop"):
        await from_py_key_value(Waiting()).get("c", "k")


async def test_their_store_stays_open_and_is_usable_without_satchel(inner):
    async with from_py_key_value(inner) as store:
        await store.put("c", "k", {"a": 1})
    assert json.loads((await inner.get("k", collection="c"))["text"]) == {"a": 1}


async def test_there_and_back_again_gives_the_same_values():
    outer = as_py_key_value(from_py_key_value(as_py_key_value(MemoryStore())))
    await outer.put("k", {"a": (1, 2.0, True)}, collection="c", ttl=6000)
    value, left = await outer.ttl("k", collection="c")
    assert value == {"a": [1, 2.0, True]}
    assert 5900 < left <= 6000
