"""Calls that wait for each other: which, in which order, and what is left of it."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from enum import StrEnum

import pytest

from satchel import InvalidKeyError, MemoryStore
from satchel.verbs import LISTINGS, READS
from satchel.wrappers import BaseWrapper, SerializingWrapper
from tests.test_several_loops import OtherLoop
from tests.wrappers.doubles import Nothing

KEYS = ["a", "b", "c"]


class Beside(BaseWrapper):
    """Store that notes which calls run beside each other that must not, each taking a few turns of the loop."""

    _around_steps = True

    def __init__(self, inner, chance=None):
        self.wrong = []
        self.running = []
        self.chance = chance or random.Random(0)
        self.gate = None
        super().__init__(inner)

    async def _around(self, operation, function, /, *args, **named):
        names = args[1] if operation.endswith(("_many", "_entries")) else args[1:2]
        entries = set(names) if operation not in LISTINGS and args[1:] else None
        call = (operation, entries, operation in READS or operation in LISTINGS or operation == "count")
        self.wrong += [(call[0], other[0]) for other in self.running if clash(call, other)]
        self.running.append(call)
        try:
            if self.gate is not None:
                await self.gate.wait()
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)
            return await function(*args, **named)
        finally:
            self.running.remove(call)


def clash(one, other):
    """Return whether two calls must not run beside each other."""
    if one[2] and other[2]:
        return False
    return one[1] is None or other[1] is None or bool(one[1] & other[1])


async def call(store, chance):
    """Make one call at random."""
    some = chance.sample(KEYS, chance.randrange(4))
    key = chance.choice(KEYS)
    calls = [
        lambda: store.get("c", key),
        lambda: store.get_entry("c", key),
        lambda: store.put("c", key, 1),
        lambda: store.delete("c", key),
        lambda: store.put_if_absent("c", key, 2),
        lambda: store.get_many("c", some),
        lambda: store.put_many("c", dict.fromkeys(some, 3)),
        lambda: store.delete_many("c", some),
        lambda: store.count("c"),
        lambda: store.destroy_collection("c"),
        lambda: listed(store),
    ]
    await chance.choice(calls)()


async def listed(store):
    return [key async for key in store.keys("c")]


async def run_schedule(seed, wrap):
    """Run calls beside each other, some of which are cancelled, and return what was wrong."""
    chance = random.Random(seed)
    inner = Beside(MemoryStore(), chance)
    store = wrap(inner)
    tasks = [asyncio.create_task(call(store, chance)) for _ in range(chance.randrange(2, 12))]
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(0)
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(store, SerializingWrapper):
        assert len(store._gates) == 0
    return inner.wrong


async def test_random_calls_never_run_beside_those_that_they_must_not():
    for seed in range(300):
        assert await run_schedule(seed, SerializingWrapper) == [], seed


@pytest.mark.night
async def test_many_random_calls_never_run_beside_those_that_they_must_not():
    for seed in range(20_000):
        assert await run_schedule(seed, SerializingWrapper) == [], seed


async def test_without_the_wrapper_they_do():
    assert any([await run_schedule(seed, Nothing) for seed in range(20)])


async def test_one_lock_for_all_entries_lets_no_write_run_beside_anything():
    for seed in range(100):
        chance = random.Random(seed)
        inner = Beside(MemoryStore(), chance)
        store = SerializingWrapper(inner, per_key=False)
        kinds = []

        async def one(store=store, inner=inner, kinds=kinds, chance=chance):
            await call(store, chance)
            kinds.append([each[2] for each in inner.running])

        await asyncio.gather(*[one() for _ in range(8)])
        assert all(all(kind) or len(kind) == 1 for kind in kinds)
        assert inner.wrong == []


class Held:
    """Store whose calls stand still until they are let go."""

    def __init__(self, **options):
        self.inner = Beside(MemoryStore())
        self.inner.gate = asyncio.Event()
        self.store = SerializingWrapper(self.inner, **options)

    async def start(self, *calls):
        """Begin calls, one after the other, and return their tasks."""
        tasks = []
        for each in calls:
            tasks.append(asyncio.create_task(each))
            await asyncio.sleep(0.001)
        return tasks

    @property
    def inside(self):
        return Counter(operation for operation, _, _ in self.inner.running)

    async def let_go(self, tasks):
        self.inner.gate.set()
        async with asyncio.timeout(30):
            return await asyncio.gather(*tasks, return_exceptions=True)


async def test_reads_of_an_entry_run_beside_each_other():
    held = Held()
    tasks = await held.start(held.store.get("c", "a"), held.store.get_many("c", ["a"]), held.store.exists("c", "a"))
    assert held.inside == {"get": 1, "get_many": 1, "exists": 1}
    await held.let_go(tasks)


async def test_writes_of_an_entry_run_one_by_one():
    held = Held()
    tasks = await held.start(held.store.put("c", "a", 1), held.store.put("c", "a", 2), held.store.get("c", "a"))
    assert held.inside == {"put": 1}
    assert await held.let_go(tasks) == [None, None, 2]


async def test_writes_of_several_entries_run_beside_each_other():
    held = Held()
    tasks = await held.start(held.store.put("c", "a", 1), held.store.put("c", "b", 1), held.store.put("d", "a", 1))
    assert held.inside == {"put": 3}
    await held.let_go(tasks)


async def test_with_one_lock_writes_of_several_entries_run_one_by_one():
    held = Held(per_key=False)
    tasks = await held.start(held.store.put("c", "a", 1), held.store.put("d", "b", 1))
    assert held.inside == {"put": 1}
    await held.let_go(tasks)


async def test_reads_that_come_later_wait_for_a_write_that_waits():
    held = Held()
    tasks = await held.start(held.store.get("c", "a"), held.store.put("c", "a", 1), held.store.get("c", "a"))
    assert held.inside == {"get": 1}
    assert await held.let_go(tasks) == [None, None, 1]


async def test_reads_without_end_do_not_keep_a_write_out():
    store, end = SerializingWrapper(Beside(MemoryStore())), asyncio.Event()

    async def read():
        while not end.is_set():
            await store.get("c", "a")

    readers = [asyncio.create_task(read()) for _ in range(5)]
    async with asyncio.timeout(30):
        for number in range(20):
            await store.put("c", "a", number)
            await store.destroy_collection("c")
    end.set()
    await asyncio.gather(*readers)


async def test_batches_in_opposite_orders_do_not_wait_for_each_other_for_ever():
    store = SerializingWrapper(Beside(MemoryStore()))
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(store.put_many("c", dict.fromkeys(KEYS, 1)) for _ in range(10)),
            *(store.put_many("c", dict.fromkeys(reversed(KEYS), 2)) for _ in range(10)),
        )


@pytest.mark.parametrize("verb", ["destroy_collection", "destroy", "cull", "count", "keys", "collections"])
async def test_a_call_about_all_entries_waits_for_a_write_of_one(verb):
    held = Held()
    arguments = ["c"] if verb in ("destroy_collection", "count", "keys") else []

    async def about_all():
        made = getattr(held.store, verb)(*arguments)
        return [name async for name in made] if verb in LISTINGS else await made

    tasks = await held.start(held.store.put("c", "a", 1), about_all(), held.store.put("c", "b", 1))
    assert held.inside == {"put": 1}
    found = await held.let_go(tasks)
    assert found[1] in (True, 0, 1, ["a"], ["c"])


async def test_a_large_batch_holds_the_lock_of_the_store():
    held = Held()
    many = {str(number): 1 for number in range(1001)}
    tasks = await held.start(held.store.put_many("c", many), held.store.get("c", "other"))
    assert held.inside == {"put_many": 1}
    assert len(held.store._gates) == 1
    await held.let_go(tasks)


@pytest.mark.parametrize("per_key", [True, False])
async def test_a_listing_holds_no_lock_while_its_names_are_used(per_key):
    store = SerializingWrapper(MemoryStore(), per_key=per_key)
    await store.put_many("c", dict.fromkeys(KEYS, 1))
    async with asyncio.timeout(30):
        async for key in store.keys("c"):
            assert len(store._gates) == 0
            await store.put("c", key, 2)
            await store.delete("d", key)


async def test_a_watch_and_a_ping_hold_no_lock():
    held = Held()
    held.inner.gate.set()
    async with held.store.watch("c") as changes:
        assert len(held.store._gates) == 0
        await anext(changes)
        await held.store.put("c", "a", 1)
        assert (await anext(changes)).key == "a"
    held.inner.gate.clear()
    tasks = await held.start(held.store.ping())
    assert len(held.store._gates) == 0
    await held.let_go(tasks)


async def test_a_cancelled_call_lets_others_in():
    held = Held()
    running, waiting, later = await held.start(*(held.store.put("c", "a", number) for number in range(3)))
    waiting.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await held.let_go([waiting, later])
    assert await held.store.get("c", "a") == 2
    assert len(held.store._gates) == 0


async def test_a_batch_that_is_cancelled_while_it_waits_leaves_what_it_had():
    held = Held()
    running, batch = await held.start(held.store.put("c", "b", 1), held.store.put_many("c", dict.fromkeys(KEYS, 2)))
    (other,) = await held.start(held.store.get("c", "a"))
    assert held.inside == {"put": 1}
    batch.cancel()
    await asyncio.sleep(0.001)
    assert held.inside == {"put": 1, "get": 1}
    await held.let_go([running, other, batch])
    assert len(held.store._gates) == 0


async def test_a_call_that_fails_leaves_nothing():
    store = SerializingWrapper(MemoryStore())
    for key in ("", "\ud800", 5, None, ["a"], {"a": 1}, [[]], {}):
        with pytest.raises(InvalidKeyError):
            await store.put("c", key, 1)
        with pytest.raises(InvalidKeyError):
            await store.get(key, "k")
        with pytest.raises(InvalidKeyError):
            await store.put_many(key, {"k": 1})
    with pytest.raises(InvalidKeyError):
        await store.get_many("c", ["a", 5])
    assert len(store._gates) == 0


class Key(StrEnum):
    A = "a"


async def test_a_name_that_hashes_in_its_own_way_is_the_same_entry():
    held = Held()
    tasks = await held.start(held.store.put("c", Key.A, 1), held.store.put("c", "a", 2), held.store.delete(Key.A, "a"))
    assert held.inside == {"put": 1, "delete": 1}
    await held.let_go(tasks)


async def test_calls_of_several_loops_wait_for_each_other():
    held = Held()
    tasks = await held.start(held.store.put("c", "a", 1))
    async with OtherLoop() as other:
        there = other.start(SerializedElsewhere(held.store).put())
        await asyncio.sleep(0.05)
        assert held.inside == {"put": 1}
        held.inner.gate.set()
        held.inner.gate = None
        async with asyncio.timeout(30):
            await there
            await asyncio.gather(*tasks)
    assert await held.store.get("c", "a") == 2
    assert len(held.store._gates) == 0


class SerializedElsewhere:
    """Use of a store on another loop."""

    def __init__(self, store):
        self._store = store

    async def put(self):
        await self._store.put("c", "a", 2)


async def test_a_call_whose_loop_was_closed_while_it_waited_keeps_nobody_out():
    held = Held()
    tasks = await held.start(held.store.put("c", "a", 1))

    def abandon():
        loop = asyncio.new_event_loop()
        task = loop.create_task(held.store.put("c", "a", 2))
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        loop.close()
        task._log_destroy_pending = False
        return task

    abandoned = await asyncio.to_thread(abandon)
    tasks += await held.start(held.store.put("c", "a", 3))
    await held.let_go(tasks)
    assert await held.store.get("c", "a") == 3
    del abandoned
