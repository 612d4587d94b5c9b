"""What coordination gives back although its caller is cancelled, while other tasks keep the store busy."""

import asyncio
import logging
from contextlib import suppress
from uuid import uuid4

import anyio
import pytest

from satchel import MemoryStore, open_store
from satchel._shielding import PATIENCE
from satchel.coordination import Lock, Once
from satchel.stores.disk import DiskStore
from tests.coordination.test_lock import Hanging
from tests.coordination.virtual import run
from tests.servers import server_url

ROUNDS = 10
BUSY = 8


@pytest.fixture(params=["memory", "disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
def opened(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    return DiskStore(tmp_path) if request.param == "disk" else open_store(server_url("redis"))


@pytest.fixture
async def store(opened):
    """A store that eight tasks use all the time."""

    async def use(number):
        while True:
            await opened.put("busy", f"{name}/{number}", number, ttl=60)
            await opened.get("busy", f"{name}/{number}")
            await asyncio.sleep(0)

    name = uuid4().hex
    async with opened:
        tasks = [asyncio.create_task(use(number)) for number in range(BUSY)]
        yield opened
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Block:
    """Holds a lock until it is told to leave."""

    def __init__(self, store):
        self.lock = Lock(store, uuid4().hex, ttl=60)
        self.inside, self.leaves = asyncio.Event(), asyncio.Event()

    async def run(self):
        async with self.lock:
            self.inside.set()
            await self.leaves.wait()

    async def is_taken(self):
        return await self.lock.locked()


async def test_a_lock_is_released_by_a_task_that_is_cancelled_as_it_leaves(store):
    blocks = [Block(store) for _ in range(ROUNDS)]
    for block in blocks:
        task = asyncio.create_task(block.run())
        await block.inside.wait()
        block.leaves.set()
        await asyncio.sleep(0)  # it runs into its exit
        task.cancel()
        await asyncio.wait([task])
    assert [await block.is_taken() for block in blocks] == [False] * ROUNDS


async def test_a_lock_is_released_when_a_timeout_around_it_ends_as_it_leaves(store):
    blocks = [Block(store) for _ in range(ROUNDS)]

    async def leave(block):
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await block.run()

    for block in blocks:
        limits = []
        task = asyncio.create_task(leave(block))
        await block.inside.wait()
        block.leaves.set()
        await asyncio.sleep(0)
        if not task.done():
            limits[0].reschedule(asyncio.get_running_loop().time() - 1)
        with suppress(TimeoutError):
            await task
        assert not task.cancelled()
    assert [await block.is_taken() for block in blocks] == [False] * ROUNDS


async def test_a_lock_is_released_in_a_scope_of_anyio_that_is_cancelled(store):
    blocks = [Block(store) for _ in range(ROUNDS)]

    async def leave(block):
        with anyio.move_on_after(60) as scope:
            scopes.append(scope)
            await block.run()
        return asyncio.current_task().cancelling()

    for number, block in enumerate(blocks):
        scopes = []
        task = asyncio.create_task(leave(block))
        await block.inside.wait()
        if number % 2:  # in the body; else as it leaves
            block.leaves.set()
            await asyncio.sleep(0)
        scopes[0].cancel()
        assert await task == 0
    assert [await block.is_taken() for block in blocks] == [False] * ROUNDS


async def test_a_lock_is_given_back_by_a_task_that_is_cancelled_at_any_moment(store):
    names = [uuid4().hex for _ in range(3 * ROUNDS)]

    async def pass_through(name):
        async with Lock(store, name, ttl=60):
            pass

    for moment, name in enumerate(names):
        task = asyncio.create_task(pass_through(name))
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert [await Lock(store, name).locked() for name in names] == [False] * len(names)


async def test_a_claim_is_given_back_by_a_run_that_is_cancelled_at_any_moment(store):
    names = [uuid4().hex for _ in range(2 * ROUNDS)]
    done = set()

    async def first(name):
        await asyncio.sleep(0)
        done.add(name)
        return "first"

    async def second():
        return "second"

    once = Once(store, ttl=60)
    for moment, name in enumerate(names):
        task = asyncio.create_task(once.run(name, lambda name=name: first(name)))
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(20):  # a claim that is left lapses after 30 s
        results = {name: await once.run(name, second) for name in names}
    assert all(results[name] == "first" for name in done)


async def test_a_task_that_is_cancelled_again_and_again_releases_its_lock(store):
    block = Block(store)
    task = asyncio.create_task(block.run())
    await block.inside.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert not await block.is_taken()


def test_the_end_of_the_loop_releases_a_lock(tmp_path):
    async def main(leaves):
        store = DiskStore(tmp_path)
        block = Block(store)
        keep.append(asyncio.create_task(block.run()))
        await block.inside.wait()
        if leaves:
            block.leaves.set()
            await asyncio.sleep(0)
        return block.lock._name

    async def look(names):
        async with DiskStore(tmp_path) as store:
            return [await Lock(store, name).locked() for name in names]

    keep = []
    names = [asyncio.run(main(leaves)) for leaves in (False, True)]
    assert asyncio.run(look(names)) == [False, False]


def test_a_store_that_does_not_answer_keeps_a_cancelled_task_for_a_bounded_time(caplog):
    async def scenario():
        store = Hanging()
        block = Block(store)
        task = asyncio.create_task(block.run())
        await block.inside.wait()
        store.answers.clear()
        begun = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        took = asyncio.get_running_loop().time() - begun
        store.answers.set()
        await asyncio.sleep(1)
        assert not await block.is_taken()  # it went on without its task
        return took

    caplog.set_level(logging.WARNING)
    assert run(scenario()) == pytest.approx(PATIENCE)
    assert caplog.text == ""
