"""Batches far longer than what is worked on at once: the same results, and turns for others all the while."""

import asyncio

import pytest

from satchel import BatchError, InvalidKeyError, StoreClosedError, StoreUnavailableError
from satchel._batches import LONG
from satchel._threads import Yielder
from satchel.stores.memory import MemoryStore
from satchel.wrappers.base import BaseWrapper
from satchel.wrappers.default_value import DefaultValueWrapper
from satchel.wrappers.fallback import FallbackWrapper
from satchel.wrappers.limit_size import LimitSizeWrapper
from satchel.wrappers.on_error import OnErrorWrapper
from satchel.wrappers.prefix_keys import PrefixKeysWrapper
from satchel.wrappers.retry import RetryWrapper
from satchel.wrappers.routing import RoutingStore
from satchel.wrappers.statistics import StatisticsWrapper
from satchel.wrappers.tiered import TieredStore
from satchel.wrappers.tiered.pending import Inflight
from satchel.wrappers.tiered.tiers import Tiers
from tests.scripted import BatchStore, Server, turns

COUNT = 10_000
KEYS = [f"k{number}" for number in range(COUNT)]
ITEMS = {key: number for number, key in enumerate(KEYS)}


def routed():
    stores = MemoryStore(), MemoryStore()
    return RoutingStore(stores[0], others=stores[1:], route=lambda _, key: stores[key[-1:] in "13579"])


STORES = {
    "memory": MemoryStore,
    "prefix": lambda: PrefixKeysWrapper(MemoryStore(), prefix="p"),
    "limit": lambda: LimitSizeWrapper(MemoryStore(), max_bytes=1000),
    "default": lambda: DefaultValueWrapper(MemoryStore(), value=0),
    "around": lambda: StatisticsWrapper(MemoryStore()),
    "routing": routed,
    "tiered": lambda: TieredStore(MemoryStore(), MemoryStore()),
    "around hot": lambda: TieredStore(MemoryStore(), MemoryStore(), write="around"),
    "back": lambda: TieredStore(MemoryStore(), MemoryStore(), write="back", queue_size=2 * COUNT),
    "both": lambda: FallbackWrapper(MemoryStore(), MemoryStore(), write_both=True),
    "lazy": lambda: OnErrorWrapper(MemoryStore(), policy="lazy"),
    "retry": lambda: RetryWrapper(MemoryStore()),
}


class Refusing(MemoryStore):
    async def _write(self, records):
        return [StoreUnavailableError("full") if ref[1][-1] == "7" else None for ref, _ in records]


SHORT = {"memory", "around", "tiered"}
"""A store, a wrapper and a composite: what other Pythons are asked for."""


@pytest.fixture(params=[name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in STORES])
async def store(request):
    async with STORES[request.param]() as made:
        yield made


@pytest.mark.long
async def test_a_long_batch_is_one_batch(store):
    await store.put_many("c", ITEMS)
    backwards = KEYS[::-1]
    assert list((await store.get_many("c", iter(backwards))).items()) == [(key, ITEMS[key]) for key in backwards]
    assert [entry.value for entry in (await store.get_entries("c", KEYS)).values()] == list(range(COUNT))
    assert await store.delete_many("c", KEYS + KEYS) == COUNT
    assert await store.get_entries("c", KEYS) == {}


async def test_a_bad_key_at_the_end_of_a_long_batch_refuses_it_all(store):
    with pytest.raises(InvalidKeyError):
        await store.put_many("c", ITEMS | {"": 1})
    assert await store.get_entries("c", KEYS) == {}
    for call in (store.get_many, store.get_entries, store.delete_many):
        with pytest.raises(InvalidKeyError):
            await call("c", [*KEYS, ""])


async def test_a_bad_value_at_the_end_of_a_long_batch_refuses_it_all():
    async with MemoryStore() as store:
        with pytest.raises(Exception, match="last"):
            await store.put_many("c", ITEMS | {"last": object()})
        assert await store.get_many("c", KEYS) == {}


@pytest.mark.parametrize("around", [lambda inner: inner, lambda inner: PrefixKeysWrapper(inner, prefix="p")])
async def test_what_fails_of_a_long_batch_is_one_error(around):
    async with around(Refusing()) as store:
        with pytest.raises(BatchError, match=r"1000 of 10000 keys failed") as caught:
            await store.put_many("c", ITEMS)
        assert list(caught.value.failed) == [key for key in KEYS if key[-1] == "7"]
        assert caught.value.failed["k7"].key == "k7"


async def test_other_tasks_run_while_a_long_batch_is_worked_through(store, monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)  # each item takes longer
    turned, done = 0, False

    async def count():
        nonlocal turned
        while not done:
            turned += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for call in (store.put_many, store.get_many, store.get_entries, store.delete_many):
        turned = 0
        await call("c", ITEMS)
        assert turned >= 30  # the queue alone pauses 20 times, once for each 500 requests
    done = True
    await counting


class Turns:
    """Counts the keys worked on between two turns of another task."""

    def __init__(self):
        self.now = self.most = 0

    def counting(self, function, size):
        def counted(*args):
            self.now += size(*args)
            self.most = max(self.most, self.now)
            return function(*args)

        return counted

    async def take(self):
        while True:
            self.now = 0
            await asyncio.sleep(0)


SOME_LONG = ["through", pytest.param("around", marks=pytest.mark.long), pytest.param("back", marks=pytest.mark.long)]


@pytest.mark.parametrize("write", SOME_LONG)
async def test_a_tiered_store_works_on_few_keys_of_a_long_batch_between_turns_of_others(write, monkeypatch):
    class AlwaysDue(Yielder):
        def over(self):
            return True

    monkeypatch.setattr("satchel.wrappers.tiered.store.Yielder", AlwaysDue)
    steps = {
        "begin": (Inflight, lambda _, ref: 1),
        "mark_done": (Inflight, lambda _, changes: len(changes)),
        "finish": (Inflight, lambda _, changes: len(changes)),
        "read": (Tiers, lambda _, verb, collection, keys: len(keys)),
    }
    counted = {step: Turns() for step in steps}
    for step, (kind, size) in steps.items():
        monkeypatch.setattr(kind, step, counted[step].counting(getattr(kind, step), size))
    async with TieredStore(MemoryStore(), MemoryStore(), write=write, queue_size=COUNT) as store:
        turning = [asyncio.create_task(turns.take()) for turns in counted.values()]
        await store.put_many("c", ITEMS)
        assert await store.get_many("c", KEYS) == ITEMS
        await store.delete_many("c", KEYS)
        for task in turning:
            task.cancel()
    most = {step: turns.most for step, turns in counted.items()}
    assert all(0 < count <= 2 * LONG for count in most.values()), most


@pytest.mark.long
async def test_a_write_to_both_stores_sorts_few_keys_of_a_long_batch_between_turns_of_others(monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)
    counted = Turns()
    monkeypatch.setattr("satchel.wrappers.fallback.sorted", counted.counting(sorted, len), raising=False)
    async with FallbackWrapper(MemoryStore(), MemoryStore(), write_both=True) as store:
        turning = asyncio.create_task(counted.take())
        await store.put_many("c", ITEMS)
        turning.cancel()
        assert await store.fallback.get_many("c", KEYS) == ITEMS
    assert 0 < counted.most <= 2 * LONG


@pytest.mark.long
@pytest.mark.parametrize("when", [pytest.param("begin", marks=pytest.mark.long), "mark_done", "finish"])
async def test_a_long_put_that_is_cancelled_at_any_step_leaves_no_old_value_to_be_read(when, monkeypatch):
    reached, count = asyncio.Event(), 0
    original = getattr(Inflight, when)

    def counted(self, argument):
        nonlocal count
        count += 1 if when == "begin" else len(argument)
        if count >= 2 * COUNT + COUNT // 2:
            reached.set()
        return original(self, argument)

    monkeypatch.setattr(Inflight, when, counted)
    cold = MemoryStore()
    async with TieredStore(MemoryStore(), cold) as store:
        await store.put_many("c", ITEMS)
        await store.put_many("c", ITEMS)
        putting = asyncio.create_task(store.put_many("c", dict.fromkeys(KEYS, "new")))
        await reached.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await store.get_many("c", KEYS) == await cold.get_many("c", KEYS)
        assert (when == "begin") == (await store.get("c", "k0") == 0)
        assert not store._hot.states


async def test_checking_names_alone_leaves_turns_to_others(monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)
    turned = 0

    class Inner(MemoryStore):
        async def get_many(self, _collection, _keys):
            return {}

    async def count():
        nonlocal turned
        while True:
            turned += 1
            await asyncio.sleep(0)

    async with BaseWrapper(Inner()) as store:
        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        await BaseWrapper.get_many(store, "c", KEYS)
        counting.cancel()
    assert turned >= 40  # 20 while names are checked, 20 while they are mapped


async def test_items_changed_during_a_long_put_are_put_as_they_were(monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)
    items = dict(ITEMS)
    async with MemoryStore() as store:
        putting = asyncio.create_task(store.put_many("c", items))
        await asyncio.sleep(0)
        items.clear()
        await putting
        assert await store.get_many("c", KEYS) == ITEMS


async def test_closing_waits_for_all_parts_of_a_long_batch():
    server = Server(delay=lambda: 1)
    store = BatchStore(server)
    await store.ping()
    putting = asyncio.create_task(store.put_many("c", ITEMS))
    await turns(5)
    assert not putting.done()
    await store.aclose()
    await putting
    with pytest.raises(StoreClosedError):
        await store.get_many("c", KEYS)


MANY = [f"k{number}" for number in range(60_000)]


@pytest.mark.long
async def test_all_of_a_long_batch_is_tried_again():
    failing = True

    class Once(MemoryStore):
        async def _write(self, records):
            return [StoreUnavailableError("away") if failing else None for _ in records]

    async def sleep(_):
        nonlocal failing
        failing = False

    async with RetryWrapper(Once(), sleep=sleep) as store:
        await store.put_many("c", dict.fromkeys(MANY, 1))


@pytest.mark.long
async def test_a_long_batch_of_deletes_waits_for_the_writes_that_are_queued():
    cold = MemoryStore()
    async with TieredStore(MemoryStore(), cold, write="back", queue_size=len(MANY)) as store:
        await store.put_many("c", dict.fromkeys(MANY, 1))
        assert await store.delete_many("c", MANY) == len(MANY)
        await store.flush()
        assert [key async for key in cold.keys("c")] == []


@pytest.mark.parametrize("verb", ["get_many", "delete_many"])
async def test_what_fails_in_parts_of_a_long_batch_is_one_error(verb):
    class Failing(MemoryStore):
        async def _read(self, refs):
            return [StoreUnavailableError("gone") if ref[1][-1] == "7" else None for ref in refs]

        async def _delete(self, refs, now):
            return [StoreUnavailableError("gone") if ref[1][-1] == "7" else False for ref in refs]

    async with TieredStore(MemoryStore(), Failing()) as store:
        with pytest.raises(BatchError, match=r"1000 of 10000 keys failed|1000 keys failed") as caught:
            await getattr(store, verb)("c", KEYS)
        assert sorted(caught.value.failed) == sorted(key for key in KEYS if key[-1] == "7")
