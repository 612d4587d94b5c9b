"""Queues over a store that answers late and loses answers, among processes that die at any moment."""

import asyncio
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import StoreError
from satchel.coordination import Queue
from satchel.coordination.queue import queue as taking
from satchel.coordination.queue import window
from satchel.coordination.queue.window import Window
from tests.coordination.test_lock_schedules import SlowServer
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore

LEASE = 30


@pytest.fixture(autouse=True)
def seldom_polls(monkeypatch):
    """Let those who wait look less often: a poll of an empty queue tries nothing new."""
    monkeypatch.setattr(taking, "SHORTEST_PAUSE", 2)
    monkeypatch.setattr(taking, "LONGEST_PAUSE", 10)


@pytest.fixture(autouse=True)
def no_log(caplog):
    """Spare the time of writing some thousand tracebacks."""
    caplog.set_level("CRITICAL", "satchel")


class Connection:
    """Way of one process to the server, which ends when the process is killed: what it has sent goes on."""

    def __init__(self, server):
        self._server, self.cut = server, False

    async def request(self, *arguments):
        if self.cut:
            await asyncio.Event().wait()
        answer = await self._server.request(*arguments)
        if self.cut:
            await asyncio.Event().wait()
        return answer

    def __getattr__(self, name):
        return getattr(self._server, name)


class World:
    """Pushers and workers, some of which are killed, and what is known about each job."""

    def __init__(self, seed):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=self._delay)
        self.server.loses_answer = lambda: self.chance.random() < 0.05
        self.pushed, self.maybe, self.worked, self.done, self.again = set(), set(), set(), set(), []
        self.holders, self.most_holders = {}, 0
        self.killed = 0

    def _delay(self):
        return self.chance.choices([0, 0.1, 1, 5, 2 * LEASE], [60, 10, 4, 1, 1])[0]

    def process(self, *, killed):
        connection = Connection(self.server)
        store = BatchStore(connection, clock=wall_clock)
        store._timeout = 10
        if killed:
            self.killed += 1
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 60), setattr, connection, "cut", True)
        return Queue(store, "mail", lease=LEASE, max_attempts=100, clock=wall_clock), connection

    async def push(self, number, *, killed):
        queue, _ = self.process(killed=killed)
        for part in range(4):
            name = f"{number}.{part}"
            self.maybe.add(name)
            with suppress(StoreError):
                await queue.push(name, id=name, delay=self.chance.choice([0, 0, 0, 20]))
                self.pushed.add(name)

    async def work(self, *, killed):
        queue, connection = self.process(killed=killed)
        while not connection.cut:
            with suppress(StoreError):
                job = await queue.take(timeout=100)
                if job is None:
                    return
                await self.do(job, connection)

    async def do(self, job, connection):
        if connection.cut:
            return
        if job.id in self.done:
            self.again.append(job.id)
        holders, fails = self.holders.setdefault(job.id, []), self.chance.random() < 0.2
        async with job:
            holders.append(job)
            self.most_holders = max(self.most_holders, sum(not other.lost for other in holders))
            try:
                await asyncio.sleep(self.chance.choice([0, 0.1, 1, LEASE]))
            finally:
                holders.remove(job)
            if connection.cut:
                await asyncio.Event().wait()
            if fails:
                raise ZeroDivisionError
            self.worked.add(job.id)
        if not fails and not job.lost:
            self.done.add(job.id)

    async def live(self):
        pushers = [self.push(number, killed=self.chance.random() < 0.5) for number in range(3)]
        workers = [self.work(killed=self.chance.random() < 0.5) for _ in range(3)]
        tasks = [asyncio.create_task(work) for work in pushers + workers]
        await asyncio.wait(tasks, timeout=300)
        for task in tasks:
            task.cancel()  # those that were killed wait for ever
        self.server.loses_answer, self.server.delay = lambda: False, lambda: 0
        await asyncio.sleep(2 * LEASE)
        await self.work(killed=False)
        queue, _ = self.process(killed=False)
        self.left = await queue.size()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    def check(self):
        assert self.left == 0
        assert self.pushed <= self.worked <= self.maybe
        assert not self.again
        assert self.most_holders <= 1
        keys = [key for _, key in self.server.data]
        tombstones = [key for key in keys if key.startswith("mail/items")]
        assert len(tombstones) <= 31 + 3  # a sweep is worth 32; a number is drawn for nothing now and then


def explore(seed):
    world = World(seed)
    run(world.live())
    world.check()
    return world


@given(st.integers(min_value=0, max_value=2**32))
def test_no_job_is_lost_and_none_that_was_done_is_taken_again(seed):
    explore(seed)


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_no_job_is_lost_in_20_000_schedules():
    explore_many(20_000)


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = [explore(seed) for seed in range(40)]
    assert any(world.killed for world in worlds)
    assert any(len(world.pushed) < 12 for world in worlds)
    assert sum(len(world.done) for world in worlds) > 300


def explore_many(count):
    for seed in range(count):
        explore(seed)


@pytest.mark.long
def test_a_head_that_passes_holes_is_caught(monkeypatch):
    advance = window._advance

    def careless(start, seen, room):
        return advance(start, {n: (item or window.Item("void"), at) for n, (item, at) in seen.items()}, room)

    monkeypatch.setattr(window, "_advance", careless)
    with pytest.raises(AssertionError):
        explore_many(300)


@pytest.mark.long
def test_voids_that_are_deleted_at_once_are_caught(monkeypatch):
    async def hasty(self, number):
        if self._observations.elapsed(f"{number} is absent", "") >= 1:
            await self._store.put_if_absent(self._collection, self.key(number), window.Item("done").record())

    monkeypatch.setattr(Window, "_fill_hole", hasty)
    with pytest.raises(AssertionError):
        explore_many(300)
