"""Locks over a store that answers late, loses answers, and carries out what nobody waits for any more."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import LockLostError, StoreError
from satchel.coordination import Lock
from satchel.coordination.lease import Lease
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore, Server

TTL = 30
HOLDERS = 4
ROUNDS = 4


class SlowServer(Server):
    """Takes seconds for a request, now and then more than a lease lasts."""

    async def _pause(self):
        await asyncio.sleep(self.delay())


class World:
    """Knows who thinks that he holds the lock, and what the lock protects."""

    def __init__(self, seed):
        random.seed(seed)  # of it the locks make their pauses: the same seed gives the same schedule
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=self._delay)
        self.server.loses_answer = lambda: self.chance.random() < 0.1
        self.ticks = itertools.count()
        self.locks = []
        self.given = []
        self.written = []
        self.refused = 0
        self.lost = 0

    def _delay(self):
        return self.chance.choices([0, 0.1, 1, 5, 2 * TTL], [20, 5, 5, 2, 1])[0]

    def new_lock(self):
        """Make a lock as another process would, with a store object of its own."""
        store = BatchStore(self.server, clock=wall_clock)
        store._timeout = 10
        lock = Lock(store, "name", ttl=TTL, clock=wall_clock)
        self.locks.append(lock)
        return lock

    def write(self, token):
        if self.written and token < self.written[-1]:
            self.refused += 1
        else:
            self.written.append(token)

    def check(self):
        assert sum(lock.held for lock in self.locks) <= 1

    async def hold(self):
        lock = self.new_lock()
        for _ in range(ROUNDS):
            begun = next(self.ticks)
            try:
                async with lock:
                    self.given.append((begun, next(self.ticks), lock.fencing_token))
                    self.check()
                    await self._work(lock, stops=self.chance.random() < 0.5)
            except (StoreError, LockLostError) as error:
                self.lost += isinstance(error, LockLostError)
            await asyncio.sleep(self.chance.choice([0, 1]))

    async def _work(self, lock, *, stops):
        token = lock.fencing_token
        if stops:
            lock._claim.lease.stop()  # a process that is stopped renews nothing
        for _ in range(self.chance.randrange(4)):
            try:
                await asyncio.sleep(self.chance.choice([0.1, 5, TTL / 2, TTL]))
            except asyncio.CancelledError:
                if stops:  # and writes when it goes on, before it learns that the lock was lost
                    await asyncio.sleep(self.chance.choice([1, TTL]))
                    self.write(token)
                raise
            self.write(token)
            self.check()


def explore(seed):
    world = World(seed)

    async def everybody():
        await asyncio.gather(*[world.hold() for _ in range(HOLDERS)])

    run(everybody())
    return world


def explore_many(count):
    return [explore(seed) for seed in range(count)]


@given(st.integers(min_value=0, max_value=2**32))
def test_whoever_acquires_later_has_the_higher_token_and_never_do_two_hold_the_lock(seed):
    world = explore(seed)
    tokens = [token for *_, token in world.given]
    assert len(set(tokens)) == len(tokens)
    for (_, ended, earlier), (begun, _, later) in itertools.permutations(world.given, 2):
        assert begun < ended or later > earlier  # the one began when the other had the lock
    assert world.written == sorted(world.written)


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = explore_many(100)
    assert sum(len(world.given) for world in worlds) > 100
    assert any(world.lost for world in worlds)
    assert any(world.refused for world in worlds)


@pytest.mark.long
def test_a_holder_that_counts_from_the_answer_is_caught(monkeypatch):
    make = Lease.__init__

    def late(self, length, sent, renew, what):
        make(self, length, asyncio.get_running_loop().time(), renew, what)

    monkeypatch.setattr(Lease, "__init__", late)
    with pytest.raises(AssertionError):
        explore_many(300)
