"""What each operation costs in round trips, as docs/coordination.md says it."""

import asyncio
from pathlib import Path

import pytest

from satchel.coordination import Counter, Lock, Once, Queue, Semaphore, update
from tests.coordination.test_counter import Another
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore

PAGE = Path(__file__).parents[2] / "docs" / "coordination.md"


class Counted:
    """Counts the requests of each step over one engine."""

    def __init__(self):
        self.store = BatchStore(clock=wall_clock)
        self.other = Another(self.store)
        self.lock = Lock(self.store, "name", ttl=30, clock=wall_clock)
        self.once = Once(self.store, claim_ttl=30)
        self.costs = {}

    async def step(self, name, work):
        before = len(self.store.server.calls)
        result = await work
        self.costs[name] = len(self.store.server.calls) - before
        return result


async def gather(calls):
    return await asyncio.gather(*calls)


async def count_updates(counted):
    store, counter = counted.store, Counter(counted.store, "name")
    await counted.step("`update`", update(store, "c", "k", lambda count: count + 1, initial=0))
    await counted.step("`Counter.increment`", counter.increment())
    for _ in range(2):
        await counter.increment()
    await counted.step("`Counter.increment`, while nobody else counts", counter.increment())
    await counted.step("100 concurrent `Counter.increment`", gather(counter.increment() for _ in range(100)))
    await counted.step("`Counter.value`", counter.value())
    await counted.step("`Counter.reset`", counter.reset())


async def count_lock(counted):
    async with Lock(counted.store, "name"):
        pass
    await counted.step("`Lock.acquire` of a free lock", counted.lock.acquire())
    await counted.step("a poll by a waiting task", Lock(counted.other, "name", clock=wall_clock).acquire(timeout=0))
    await counted.step("`Lock.locked`", counted.lock.locked())
    await counted.step("a renewal, every third of `ttl`", asyncio.sleep(11))
    await counted.step("`Lock.release`", counted.lock.release())
    await counted.step("`Lock.acquire` by the object that held it last", counted.lock.acquire())
    await counted.lock.release()


async def count_semaphore(counted):
    permit = Semaphore(counted.store, "name", permits=2, ttl=30).permit()
    await counted.step("entering `Semaphore.permit`", permit.__aenter__())
    await counted.step("a renewal of a permit, every third of `ttl`", asyncio.sleep(11))
    await counted.step("leaving `Semaphore.permit`", permit.__aexit__(None, None, None))


async def count_queue(counted):
    queue = Queue(counted.store, "name", lease=30)
    await Queue(counted.other, "name").push("value")
    await counted.step("`Queue.push`", queue.push("value"))
    await queue.push("value")
    await queue.push("value")
    await counted.step("`Queue.push`, while no other process pushes", queue.push("value"))
    await counted.step("`Queue.take` that looks for jobs", queue.take())
    job = None

    async def take():
        nonlocal job
        job = await queue.take()

    await counted.step("`Queue.take` of one of up to 32 jobs found before", take())
    await counted.step("finishing a job", do(job))


async def do(job):
    async with job:
        pass


async def succeed():
    return "done"


async def fail():
    raise ZeroDivisionError


async def count_once(counted):
    await counted.step("`Once.run`, the first time", counted.once.run("key", succeed))
    await counted.step("`Once.run`, later", counted.once.run("key", succeed))

    async def failing():
        with pytest.raises(ZeroDivisionError):
            await counted.once.run("other", fail)

    await counted.step("`Once.run` of a function that fails", failing())


def documented():
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return {row[0]: int(row[1]) for row in rows if row[-1].isdigit()}


def test_each_operation_takes_as_many_round_trips_as_the_page_says():
    async def scenario():
        counted = Counted()
        for count in (count_updates, count_lock, count_once, count_semaphore, count_queue):
            await count(counted)
        return counted.costs

    assert run(scenario()) == documented()
