"""Updates and counters, by the tasks of one process."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from satchel import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    InvalidKeyError,
    InvalidTTLError,
    KeyMissingError,
    MemoryStore,
    SerializationError,
    UnsupportedOperationError,
)
from satchel.coordination import Counter, Leader, Lock, Once, Semaphore, update
from satchel.testing import FlakyStore
from satchel.wrappers import ReadOnlyWrapper


class Another:
    """Reaches a store through an object of its own, as another process would."""

    def __init__(self, store):
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)


class SlowStore(MemoryStore):
    """Lets other tasks in between a read and the write that depends on it."""

    async def get_entry(self, collection, key):
        entry = await super().get_entry(collection, key)
        await asyncio.sleep(0)
        return entry


def add_one(count):
    return count + 1


async def test_update_gives_the_new_value(store):
    await store.put("c", "k", [1])
    assert await update(store, "c", "k", lambda items: [*items, 2]) == [1, 2]
    assert await store.get("c", "k") == [1, 2]


async def test_update_of_an_absent_key_begins_with_the_initial_value(store):
    assert await update(store, "c", "k", add_one, initial=0) == 1
    assert await update(store, "c", "k", add_one, initial=0) == 2


async def test_an_initial_value_may_be_none_and_is_never_changed_itself(store):
    assert await update(store, "c", "none", lambda value: [value], initial=None) == [None]
    empty: list[int] = []
    await update(store, "c", "k", lambda items: items.append(1) or items, initial=empty)
    assert empty == []


async def test_update_of_an_absent_key_without_an_initial_value_is_refused(store):
    with pytest.raises(KeyMissingError, match="key 'k' of collection 'c' is absent"):
        await update(store, "c", "k", add_one)


@pytest.mark.parametrize(
    ("given", "left"), [({}, 90.0), ({"ttl": 5}, 5.0), ({"ttl": timedelta(minutes=1)}, 60.0), ({"ttl": None}, None)]
)
async def test_update_keeps_a_deadline_unless_told_otherwise(store, clock, given, left):
    await store.put("c", "k", 1, ttl=100)
    clock.advance(10)
    await update(store, "c", "k", add_one, **given)
    assert (await store.get_entry("c", "k")).ttl == left


async def test_a_new_value_never_expires_unless_told_so(store):
    await update(store, "c", "a", add_one, initial=0)
    await update(store, "c", "b", add_one, initial=0, ttl=7)
    assert [(await store.get_entry("c", key)).ttl for key in "ab"] == [None, 7.0]


async def test_update_takes_a_plain_function_alone(store):
    async def later(count):
        return count

    with pytest.raises(TypeError, match="plain function"):
        await update(store, "c", "k", later, initial=0)
    with pytest.raises(TypeError, match="plain function"):
        await update(store, "c", "k", partial(later), initial=0)
    assert not await store.exists("c", "k")


async def test_what_is_no_function_is_refused_before_anything_is_read():
    store = FlakyStore()
    store.fail_next(1)
    with pytest.raises(TypeError, match="takes a function, got int"):
        await update(store, "c", "k", 5, initial=0)
    with pytest.raises(TypeError, match="takes a function, got NoneType"):
        await store.collection("c").update("k", None, initial=0)


@pytest.mark.parametrize(
    ("change", "error"),
    [({"collection": ""}, InvalidKeyError), ({"key": "x" * 5000}, InvalidKeyError), ({"ttl": -1}, InvalidTTLError)],
)
async def test_bad_arguments_are_refused_before_the_function_is_called(store, change, error):
    def never(count):
        raise AssertionError

    arguments = {"collection": "c", "key": "k", "function": never, "initial": 0} | change
    with pytest.raises(error):
        await update(store, **arguments)


async def test_updates_through_several_objects_lose_none(store):
    slow = SlowStore()
    asked = []

    def add(count):
        asked.append(count)
        return count + 1

    await asyncio.gather(*[update(Another(slow), "c", "k", add, initial=0) for _ in range(20)])
    assert await slow.get("c", "k") == 20
    assert len(asked) > 20


async def test_update_gives_up_when_others_are_always_faster(monkeypatch):
    class BusyStore(MemoryStore):
        async def compare_and_put(self, collection, key, value, *, version, ttl=None):
            await self.put(collection, key, 0)
            return await super().compare_and_put(collection, key, value, version=version, ttl=ttl)

    monkeypatch.setattr("satchel._update._LONGEST_PAUSE", 0.0)
    store = BusyStore()
    await store.put("c", "k", 0)
    with pytest.raises(ConflictError, match="key 'k' in collection 'c'"):
        await update(store, "c", "k", add_one)


async def test_a_counter_counts_up_and_down_and_begins_again(store):
    counter = Counter(store, "visits")
    assert await counter.value() == 0
    assert await counter.increment() == 1
    assert await counter.increment(by=10) == 11
    assert await counter.increment(-12) == -1
    assert await counter.value() == -1
    assert await store.get("counters", "visits") == -1
    await counter.reset()
    assert await counter.value() == 0
    assert await counter.increment() == 1


async def test_counters_of_different_names_and_collections_are_different(store):
    await Counter(store, "a").increment()
    await Counter(store, "b").increment(2)
    await Counter(store, "a", collection="other").increment(3)
    assert [await Counter(store, "a").value(), await Counter(store, "b").value()] == [1, 2]


async def test_a_counter_keeps_the_deadline_of_its_entry(store, clock):
    counter = Counter(store, "window")
    await counter.increment()
    await store.touch("counters", "window", ttl=60)
    await counter.increment()
    clock.advance(60)
    assert await counter.increment() == 1


@pytest.mark.parametrize("by", [True, 1.0, "1", None])
async def test_a_counter_counts_by_ints_alone(store, by):
    with pytest.raises(TypeError, match="by must be an int"):
        await Counter(store, "c").increment(by)


async def test_a_counter_refuses_what_is_no_count_and_leaves_it(store):
    counter = Counter(store, "c")
    await store.put("counters", "c", {"user": "data"})
    for call in (counter.increment, counter.value):
        with pytest.raises(IntegrityError, match="key 'c' of collection 'counters' holds a dict"):
            await call()
    assert await store.get("counters", "c") == {"user": "data"}


async def test_a_count_stays_within_64_bits(store):
    counter = Counter(store, "c")
    await counter.increment(2**63 - 1)
    before = await store.get_entry("counters", "c")
    with pytest.raises(SerializationError, match="would leave the 64-bit integers"):
        await counter.increment()
    assert await store.get_entry("counters", "c") == before


MAKERS = {
    "counter": lambda store: Counter(store, "name"),
    "lock": lambda store: Lock(store, "name"),
    "once": Once,
    "semaphore": lambda store: Semaphore(store, "name", permits=2),
    "leader": lambda store: Leader(store, "name"),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_store_without_conditional_writes_is_refused_when_made(make):
    with pytest.raises(UnsupportedOperationError, match=r"ReadOnlyWrapper.* does not have CONDITIONAL"):
        make(ReadOnlyWrapper(MemoryStore()))
    with pytest.raises(ConfigurationError):
        make("memory://")


async def test_update_refuses_a_store_without_conditional_writes():
    with pytest.raises(UnsupportedOperationError):
        await update(ReadOnlyWrapper(MemoryStore()), "c", "k", add_one, initial=0)


@pytest.mark.parametrize("kind", [Counter, Lock])
def test_names_are_checked_when_made(kind):
    for name, collection in [("", "c"), ("x" * 5000, "c"), ("n", ""), (1, "c")]:
        with pytest.raises(InvalidKeyError):
            kind(MemoryStore(), name, collection=collection)


async def test_each_window_of_a_counter_has_its_own_deadline(store, clock):
    counter = Counter(store, "visits", ttl=60)
    assert await counter.increment() == 1
    clock.advance(40)
    assert await counter.increment() == 2  # what is left stays
    assert (await store.get_entry("counters", "visits")).ttl == pytest.approx(20)
    clock.advance(20)
    assert await counter.value() == 0
    assert await counter.increment(by=5) == 5
    assert (await store.get_entry("counters", "visits")).ttl == pytest.approx(60)
    await counter.reset()
    assert await asyncio.gather(counter.increment(), counter.increment()) == [1, 2]
    assert (await store.get_entry("counters", "visits")).ttl == pytest.approx(60)
    assert repr(counter).endswith("collection='counters', ttl=60)")


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), "60"])
def test_a_counter_takes_no_ttl_that_is_not_one(store, ttl):
    with pytest.raises(InvalidTTLError):
        Counter(store, "visits", ttl=ttl)
