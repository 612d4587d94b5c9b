"""Increments that tasks of one process make at the same time: they share a write, and nothing else."""

import asyncio
from contextvars import ContextVar
from itertools import chain

import pytest

from satchel import IntegrityError, MemoryStore, SerializationError, StoreUnavailableError
from satchel.coordination import Counter, update
from satchel.coordination.tally import _tallies
from satchel.testing import FlakyStore
from tests.coordination.test_counter import Another


class Gated(MemoryStore):
    """Answers so many reads as it is let."""

    def __init__(self, *, answers=0):
        super().__init__()
        self._answers, self.asked = asyncio.Semaphore(answers), asyncio.Event()
        self.writes = 0

    def answer(self, reads=1000):
        self.asked.clear()
        for _ in range(reads):
            self._answers.release()

    async def get_entry(self, collection, key):
        self.asked.set()
        await self._answers.acquire()
        await asyncio.sleep(0)
        return await super().get_entry(collection, key)

    async def compare_and_put(self, *arguments, **named):
        self.writes += 1
        return await super().compare_and_put(*arguments, **named)


async def start(store, *amounts):
    """Begin an increment that is under way, and others that wait for it."""
    tasks = [asyncio.create_task(Counter(store, "c").increment(by)) for by in amounts]
    await store.asked.wait()
    await asyncio.sleep(0)
    return tasks


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert not _tallies


async def test_all_that_wait_share_a_write_and_each_gets_a_count_of_its_own():
    store = Gated()
    await store.put("counters", "c", 10)
    tasks = await start(store, 1, *[2] * 50)
    store.answer()
    assert await asyncio.gather(*tasks) == list(range(11, 113, 2))
    assert store.writes == 2


async def test_those_who_go_on_share_each_write_again():
    store = Gated(answers=1000)
    await store.put("counters", "c", 0)

    async def work():
        return [await Counter(store, "c").increment() for _ in range(10)]

    counts = await asyncio.gather(*[work() for _ in range(20)])
    assert sorted(chain(*counts)) == list(range(1, 201))
    assert store.writes < 20


async def test_counters_of_other_names_collections_and_stores_do_not_wait():
    store, other = Gated(), MemoryStore()
    (waiting,) = await start(store, 1)
    assert await Counter(other, "c").increment() == 1
    assert await Counter(Another(other), "c").increment() == 2
    free = Counter(store, "c", collection="others"), Counter(store, "d")
    tasks = [asyncio.create_task(counter.increment()) for counter in free]
    store.answer()
    assert await asyncio.gather(waiting, *tasks) == [1, 1, 1]


async def test_one_that_is_cancelled_while_it_waits_is_not_counted():
    store = Gated()
    first, second, third = await start(store, 1, 10, 100)
    second.cancel()
    await asyncio.wait([second])
    store.answer()
    assert await asyncio.gather(first, third) == [1, 101]
    assert second.cancelled()


async def test_the_cancellation_of_the_one_under_way_is_not_that_of_those_who_wait():
    store = Gated()
    first, second, third = await start(store, 1, 10, 100)
    first.cancel()
    await asyncio.wait([first])
    store.answer()
    assert await asyncio.gather(second, third) == [10, 110]
    assert first.cancelled()


async def test_the_cancellation_of_one_that_shares_a_write_is_its_own():
    store = Gated()
    first, second, third = await start(store, 1, 10, 100)
    store.answer(1)
    assert await first == 1
    await store.asked.wait()
    second.cancel()
    await asyncio.wait([second])
    store.answer()
    assert await third == 111
    assert second.cancelled()


async def test_a_failure_is_told_to_each_by_an_error_of_its_own():
    store = FlakyStore()
    counter = Counter(store, "c")
    store.fail_next(2)
    errors = await asyncio.gather(*[counter.increment() for _ in range(4)], return_exceptions=True)
    assert [type(error) for error in errors] == [StoreUnavailableError] * 4
    assert len({id(error) for error in errors}) == 4
    assert await counter.increment() == 1


async def test_each_is_told_that_the_entry_is_no_count():
    store = Gated()
    await store.put("counters", "c", "seven")
    tasks = await start(store, 1, 2, 3)
    store.answer()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [IntegrityError] * 3
    assert await store.get("counters", "c") == "seven"


async def test_only_what_does_not_fit_is_refused():
    store = Gated()
    await store.put("counters", "c", 2**63 - 5)
    tasks = await start(store, 1, 10, 2, -10, 10)
    store.answer()
    first, refused, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(refused, SerializationError)
    assert "key 'c' of collection 'counters' would leave the 64-bit integers" in str(refused)
    assert [first, *others] == [2**63 + count for count in (-4, -2, -12, -2)]
    assert await Counter(store, "c").value() == 2**63 - 2


async def test_updates_of_the_same_entry_take_their_turns_with_it():
    store = MemoryStore()
    changes = [update(store, "counters", "c", lambda count: count + 1, initial=0) for _ in range(20)]
    await asyncio.gather(*changes, *[Counter(store, "c").increment() for _ in range(20)])
    assert await Counter(store, "c").value() == 40


async def test_nobody_waits_for_ever_when_the_shared_write_is_cancelled():
    for steps in range(3):  # before its first step, too
        store = Gated()
        before = asyncio.all_tasks()
        first, *others = await start(store, 1, 10, 100)
        first.cancel()
        await asyncio.wait([first])
        for _ in range(steps):
            await asyncio.sleep(0)
        (shared,) = asyncio.all_tasks() - before - set(others)
        shared.cancel()
        async with asyncio.timeout(50):
            await asyncio.wait(others)
        assert all(task.cancelled() for task in others)


async def test_a_shared_write_carries_the_variables_of_none():
    who = ContextVar("who", default="nobody")
    seen = []

    class Telling(Gated):
        async def put_if_absent(self, *arguments, **named):
            seen.append(who.get())
            return await super().put_if_absent(*arguments, **named)

        async def compare_and_put(self, *arguments, **named):
            seen.append(who.get())
            return await super().compare_and_put(*arguments, **named)

    store = Telling()
    who.set("ada")
    tasks = await start(store, 1, 2)
    store.answer()
    await asyncio.gather(*tasks)
    assert seen == ["ada", "nobody"]
