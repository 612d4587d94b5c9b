"""`SyncStore`: opened, closed and forgotten, where it must refuse, and what it gives."""

import asyncio
import copy
import gc
import pickle
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest

from satchel import (
    ConfigurationError,
    DiskStore,
    InvalidKeyError,
    MemoryStore,
    NullStore,
    SerializationError,
    StoreClosedError,
    StoreError,
    UnsupportedOperationError,
)
from satchel.coordination import Lock
from satchel.sync import SyncStore
from satchel.sync.thread import _Call
from satchel.testing import FakeClock
from satchel.wrappers import StatisticsWrapper
from tests.patience import until, wait_until


@pytest.fixture
def store() -> Iterator[SyncStore]:
    with SyncStore(MemoryStore()) as store:
        yield store


EARLIER: set[threading.Thread] = set()
"""Threads that tests before have left, which may end at any time."""


@pytest.fixture(autouse=True)
def earlier_threads() -> None:
    EARLIER.clear()
    EARLIER.update(threading.enumerate())


def started() -> list[str]:
    """Return the names of the threads that this test has started, without the idle workers."""
    return [thread.name for thread in set(threading.enumerate()) - EARLIER if thread.name != "satchel-worker"]


def of_satchel() -> list[str]:
    return [name for name in started() if name.startswith("satchel-sync")]


class Slow(MemoryStore):
    """Reads the key "slow" only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.Event()
        self.gate = threading.Event()
        self.cancelled = threading.Event()

    async def get_entry(self, collection: str, key: str) -> Any:
        try:
            while key == "slow" and not self.gate.is_set():
                self.reading.set()
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await super().get_entry(collection, key)


# Opening and closing.


def test_threads_that_race_for_the_first_call_share_one_loop() -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        store.put("c", str(number), number)

    with SyncStore(MemoryStore()) as store, ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result()
        assert of_satchel() == ["satchel-sync"]
        assert len(store.get_many("c", map(str, range(8)))) == 8


def test_a_url_names_a_store_and_wrong_things_are_refused() -> None:
    with SyncStore("memory://?wrap=statistics") as store:
        store.put("c", "k", 1)
        assert store.get("c", "k") == 1
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        SyncStore("nonsense://")
    with pytest.raises(ConfigurationError, match="SyncStore takes a store"):
        SyncStore({})  # type: ignore[arg-type]  # the wrong thing on purpose


def test_a_blocking_store_is_none_to_what_awaits_its_store(store: SyncStore) -> None:
    given: Any = store
    with pytest.raises(ConfigurationError, match="SyncStore takes a store, got an object of type SyncStore"):
        SyncStore(given)
    with pytest.raises(ConfigurationError, match="got an object of type SyncStore"):
        Lock(given, "name")
    with pytest.raises(ConfigurationError, match="goes around a store, got SyncStore"):
        StatisticsWrapper(given)


def test_a_store_is_not_copied_or_pickled(store: SyncStore) -> None:
    store.put("c", "k", 1)
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="make a SyncStore in each process"):
            make(store)
    assert store.get("c", "k") == 1  # a copy that went would have ended the thread of both


def test_it_starts_its_thread_with_the_first_call_and_ends_it_when_closed(tmp_path: Path) -> None:
    with SyncStore(DiskStore(tmp_path)) as store:
        assert of_satchel() == []
        store.put("c", "large", "x" * 500_000)  # encoded in a worker thread
        assert of_satchel() == ["satchel-sync"]
    assert of_satchel() == []
    wait_until(lambda: started() == [])  # SQLite's thread, too, which ends by itself


def test_a_closed_store_refuses_every_verb() -> None:
    inner = MemoryStore()
    store = SyncStore(inner)
    collection = store.collection("c")
    store.put("c", "k", 1)
    started = store.keys("c")
    store.close()
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("c", "k"),
        "put": lambda: store.put("c", "k", 1),
        "keys": lambda: next(started),
        "destroy": store.destroy,
        "require": lambda: collection.require("k"),
        "close": store.close,
        "__enter__": store.__enter__,
    }
    for operation, call in calls.items():
        with pytest.raises(StoreClosedError, match="SyncStore") as caught:
            call()
        assert caught.value.operation == operation
    with pytest.raises(StoreClosedError):
        asyncio.run(inner.get("c", "k"))


def test_leaving_a_context_after_a_close_raises_nothing_and_an_error_passes() -> None:
    with SyncStore(MemoryStore()) as store:
        store.close()
    with pytest.raises(ZeroDivisionError), SyncStore(MemoryStore()) as store:
        raise ZeroDivisionError
    with pytest.raises(StoreClosedError):
        store.ping()


def test_closing_waits_for_the_calls_under_way_and_takes_no_new_ones() -> None:
    inner = Slow()
    store = SyncStore(inner)
    store.put("c", "slow", 1)
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(store.collection("c").update, "slow", lambda count: count + 1)
        assert inner.reading.wait(50)
        closing = pool.submit(store.close)
        wait_until(lambda: store._thread.closed)
        with pytest.raises(StoreClosedError):
            store.get("c", "k")
        assert not closing.done()
        inner.gate.set()
        closing.result(50)
        assert reading.result(50) == 2


def test_a_failure_to_close_is_raised_and_the_thread_ends() -> None:
    class Failing(MemoryStore):
        async def _close(self) -> None:
            raise OSError("no")

    store = SyncStore(Failing())
    store.ping()
    with pytest.raises(StoreError) as caught:
        store.close()
    assert caught.value.operation == "aclose"
    assert of_satchel() == []


def test_closing_ends_the_worker_threads_too() -> None:
    class Busy(MemoryStore):
        async def _close(self) -> None:
            self.left = asyncio.create_task(asyncio.to_thread(threading.Event().wait, 0.2))
            await asyncio.sleep(0.05)

    with SyncStore(Busy()) as store:
        store.ping()
    assert of_satchel() == []


def test_a_forgotten_store_ends_its_thread(tmp_path: Path) -> None:
    closed = threading.Event()

    class Telling(DiskStore):
        async def _close(self) -> None:
            await super()._close()
            closed.set()

    store = SyncStore(Telling(tmp_path))
    store.put_many("c", {str(number): number for number in range(3)})
    keys = store.keys("c")
    del store
    assert len(list(keys)) == 3, "a listing keeps the store alive"
    del keys
    gc.collect()
    assert closed.wait(50)
    wait_until(lambda: of_satchel() == [])


# Where it is called from.


async def test_a_thread_that_runs_a_loop_is_refused(store: SyncStore) -> None:
    for call in (lambda: store.get("c", "k"), lambda: next(store.keys("c")), store.close, store.__enter__):
        with pytest.raises(StoreError, match=r"would block the event loop.*await the store itself"):
            call()
    await asyncio.to_thread(store.put, "c", "k", 1)
    assert await asyncio.to_thread(store.get, "c", "k") == 1


def test_a_function_that_runs_in_the_loops_thread_cannot_call_the_store(store: SyncStore) -> None:
    numbers = store.collection("c", model=int)
    with pytest.raises(StoreError, match="would block the event loop"):
        numbers.update("k", lambda _: numbers.require("other"), initial=0)
    assert numbers.update("k", lambda count: count + 1, initial=0) == 1


async def test_a_call_that_is_interrupted_before_it_begins_is_not_kept() -> None:
    under_way: set[asyncio.Task[None]] = set()
    call = _Call(MemoryStore().ping, under_way)
    call.begin()
    assert len(under_way) == 1
    call.cancel()  # as KeyboardInterrupt has it
    await until(lambda: not under_way)


def test_what_a_function_raises_reaches_the_caller_alone(store: SyncStore) -> None:
    def leave(_: int) -> int:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        store.collection("c", model=int).update("k", leave, initial=0)
    assert store.get("c", "k") is None


def test_a_call_runs_in_the_context_of_its_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[str] = []

    class Watching(MemoryStore):
        async def get(self, collection: str, key: str, default: Any = None) -> Any:
            seen.append(variable.get())
            variable.set("changed in the call")
            return await super().get(collection, key, default)

    with SyncStore(Watching()) as store:
        store.get("c", "k")
        variable.set("mine")
        store.get("c", "k")
        assert variable.get() == "mine"
    assert seen == ["none", "mine"]


def test_the_context_of_a_caller_is_not_kept(store: SyncStore) -> None:
    variable: ContextVar[object] = ContextVar("variable")

    def call() -> weakref.ref[object]:
        anything = FakeClock()
        variable.set(anything)
        store.put("c", "k", 1, ttl=60)
        next(store.keys("c"))
        return weakref.ref(anything)

    kept = copy_context().run(call)
    store.ping()  # by now the loop has let go of the calls before

    def is_gone() -> bool:
        gc.collect()
        return kept() is None

    wait_until(is_gone)


def test_a_store_in_use_on_another_loop_is_refused(tmp_path) -> None:
    inner = DiskStore(tmp_path)
    with asyncio.Runner() as runner:
        runner.run(inner.put("c", "k", 1))
        store = SyncStore(inner)
        with pytest.raises(StoreError, match="another event loop"):
            store.get("c", "k")
    assert store.get("c", "k") == 1
    store.close()


# Errors, listings, values.


def test_errors_are_those_of_the_store_and_show_both_sides(store: SyncStore) -> None:
    with pytest.raises(SerializationError) as caught:
        store.put("c", "k", {1, 2})  # in this very line
    text = "".join(traceback.format_exception(caught.value))
    assert "# in this very line" in text
    assert "in _carry_out" in text


def test_an_error_leaves_no_cycle(store: SyncStore) -> None:
    gc.collect()
    gc.disable()
    try:
        errors = []
        for _ in range(5):
            with pytest.raises(InvalidKeyError) as caught:
                store.collection("c").require("")
            errors.append(weakref.ref(caught.value))
        assert len([error for error in errors if error() is not None]) <= 1, "errors wait for the garbage collector"
    finally:
        gc.enable()


def test_what_the_store_cannot_do_is_refused_by_name() -> None:
    class Simple(MemoryStore):
        _keys = None
        _put_if = None

    with SyncStore(Simple()) as store:
        for method, call in {
            "keys": lambda: store.keys("c"),
            "put_if_absent": lambda: store.put_if_absent("c", "k", 1),
            "touch": lambda: store.touch("c", "k", ttl=1),
        }.items():
            with pytest.raises(
                UnsupportedOperationError, match=rf"SyncStore\(MemoryStore\(\)\) does not have {method}"
            ):
                call()
        assert store.capabilities == store._store.capabilities
        assert of_satchel() == [], "a refusal needs no thread"


def test_a_null_store_holds_nothing() -> None:
    with SyncStore(NullStore()) as store:
        store.put("c", "k", 1)
        assert store.get("c", "k", "default") == "default"


def test_a_store_and_a_collection_are_never_falsy(store: SyncStore) -> None:
    for thing in (store, store.collection("c")):
        assert bool(thing) is True
        assert not hasattr(thing, "__len__")
        assert not hasattr(thing, "__bool__")
    assert repr(store) == "SyncStore(MemoryStore())"
    assert repr(store.collection("c", model=int)) == "SyncCollection(MemoryStore(), 'c', model=int)"


@pytest.mark.parametrize("patched", ["threading", "select", "queue"])
def test_under_gevents_monkey_patching_it_says_so(patched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patching = types.ModuleType("gevent.monkey")
    patching.is_module_patched = patched.__eq__  # type: ignore[attr-defined]  # as gevent's own
    monkeypatch.setitem(sys.modules, "gevent.monkey", patching)
    cure = r"patch_all\(thread=False, select=False, queue=False\)"
    with pytest.raises(StoreError, match=rf"put of .* gevent's monkey patching .* use {cure}"):
        SyncStore(MemoryStore()).put("c", "k", 1)
