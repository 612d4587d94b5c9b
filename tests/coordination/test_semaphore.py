"""Semaphores: never more holders than permits, also over a store that answers late and loses answers."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    InvalidTTLError,
    LockLostError,
    MemoryStore,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from satchel.coordination import Semaphore
from satchel.testing import FlakyStore
from satchel.wrappers import ReadOnlyWrapper
from tests.coordination.test_counter import Another
from tests.coordination.test_lock_schedules import SlowServer
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore


async def test_no_more_than_the_permits_are_in_at_once(store):
    inside, most = 0, 0

    async def work(semaphore):
        nonlocal inside, most
        async with semaphore.permit() as permit:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            assert not permit.lost
            inside -= 1

    shared = Semaphore(store, "name", permits=3)
    async with asyncio.timeout(50):
        await asyncio.gather(
            *[work(shared if n % 2 else Semaphore(Another(store), "name", permits=3)) for n in range(20)]
        )
    assert most == 3
    assert await shared.taken() == 0


async def test_a_permit_that_is_not_free_in_time_is_a_timeout(store):
    one, other = Semaphore(store, "name", permits=1), Semaphore(Another(store), "name", permits=1)
    async with one.permit():
        assert await other.taken() == 1
        for semaphore, timeout in ((one, 0), (other, 0), (other, 0.05)):
            with pytest.raises(TimeoutError, match="no permit of Semaphore"):
                await semaphore.permit(timeout=timeout).__aenter__()
    async with other.permit(timeout=0):
        pass


@pytest.mark.parametrize("seconds", [-1, True, "1", float("nan")])
async def test_a_timeout_is_a_number_of_seconds(store, seconds):
    with pytest.raises(ValueError, match="timeout must be"):
        await Semaphore(store, "name", permits=1).permit(timeout=seconds).__aenter__()


def test_options_are_checked_when_a_semaphore_is_made(store):
    for permits in (0, -1, 1001, True, "3", None, 1.0):
        with pytest.raises(ConfigurationError, match="permits must be an int from 1 to 1000"):
            Semaphore(store, "name", permits=permits)
    with pytest.raises(InvalidKeyError):
        Semaphore(store, "", permits=1)
    with pytest.raises(InvalidTTLError):
        Semaphore(store, "name", permits=1, ttl=0)
    with pytest.raises(UnsupportedOperationError):
        Semaphore(ReadOnlyWrapper(MemoryStore()), "name", permits=1)


async def test_an_entry_that_no_semaphore_wrote_is_refused_and_left(store):
    semaphore = Semaphore(store, "name", permits=1)
    for value in ({"user": "data"}, {"format": 1, "permits": [1]}, {"format": 1, "permits": [{"id": "a"}]}, b""):
        await store.put("semaphores", "name", value)
        with pytest.raises(IntegrityError, match="something that no Semaphore wrote"):
            await semaphore.permit().__aenter__()
        assert await store.get("semaphores", "name") == value


def test_the_permit_of_a_dead_process_is_free_after_its_lease_although_others_renew_theirs():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        dead, busy, waiting = [Semaphore(Another(store), "name", permits=2, ttl=30) for _ in range(3)]
        _, lease = await dead._acquire(float("inf"))  # and it renews nothing
        async with busy.permit():
            begun = wall_clock()
            async with waiting.permit():
                assert lease.lapsed
                assert 30 <= wall_clock() - begun <= 31

    run(scenario())


def test_a_permit_is_renewed_while_its_block_runs():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        async with Semaphore(Another(store), "name", permits=1, ttl=10).permit() as permit:
            with pytest.raises(TimeoutError):
                await Semaphore(Another(store), "name", permits=1).permit(timeout=100).__aenter__()
            assert not permit.lost

    run(scenario())


@pytest.mark.parametrize("loss", ["the store is away", "the entry is removed"])
def test_a_block_is_cancelled_when_its_permit_cannot_be_renewed(loss):
    async def scenario():
        store = FlakyStore(clock=wall_clock)
        begun = wall_clock()

        async def work():
            async with Semaphore(store, "name", permits=1, ttl=10).permit():
                if loss == "the store is away":
                    store.fail_next(1000)
                else:
                    await store.delete("semaphores", "name")
                await asyncio.sleep(1000)

        with pytest.raises(LockLostError):
            await work()
        return wall_clock() - begun

    assert run(scenario()) == pytest.approx(10 if loss == "the store is away" else 10 / 3)


def test_an_entry_outlives_its_lease_by_a_day_and_does_not_stay_for_ever(store):
    async def scenario():
        async with Semaphore(store, "name", permits=1, ttl=10).permit():
            held = await store.get_entry("semaphores", "name")
        released = await store.get_entry("semaphores", "name")
        return held.ttl, released.ttl, released.value

    assert run(scenario()) == (86_410, 86_410, {"format": 1, "permits": []})


async def test_a_permit_is_given_back_by_a_task_that_is_cancelled_at_any_step(store):
    semaphore = Semaphore(store, "name", permits=1)

    async def work():
        async with semaphore.permit():
            await asyncio.sleep(0)

    for steps in range(30):
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await semaphore.taken() == 0, steps


async def test_a_permit_whose_answer_was_lost_is_given_back():
    class Losing(MemoryStore):
        lose = True

        async def put_if_absent(self, *arguments, **named):
            version = await super().put_if_absent(*arguments, **named)
            if self.lose:
                self.lose = False
                raise StoreTimeoutError("lost")
            return version

    semaphore = Semaphore(Losing(), "name", permits=1)
    with pytest.raises(StoreTimeoutError):
        await semaphore.permit().__aenter__()
    async with asyncio.timeout(50), semaphore.permit():
        pass


async def test_a_block_succeeds_although_its_permit_cannot_be_given_back(caplog):
    store = FlakyStore()
    async with Semaphore(store, "name", permits=1).permit():
        store.fail_next(1)
    assert "was not given back, and will lapse" in caplog.text
    store.fail_next(1)
    with pytest.raises(StoreUnavailableError):
        await Semaphore(store, "name", permits=1).permit().__aenter__()


TTL = 30


class World:
    """Processes that want a permit, some of which stop renewing, over a slow engine that loses answers."""

    def __init__(self, seed, permits):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=lambda: self.chance.choices([0, 0.1, 1, 5, 2 * TTL], [20, 5, 5, 2, 1])[0])
        self.server.loses_answer = lambda: self.chance.random() < 0.1
        self.permits, self.held, self.acquired, self.lost = permits, [], 0, 0

    async def process(self):
        store = BatchStore(self.server, clock=wall_clock)
        store._timeout = 10
        semaphore = Semaphore(store, "name", permits=self.permits, ttl=TTL)
        for _ in range(4):
            try:
                async with semaphore.permit() as permit:
                    await self.work(permit)
            except (StoreError, LockLostError) as error:
                self.lost += isinstance(error, LockLostError)
            await asyncio.sleep(self.chance.choice([0, 1]))

    async def work(self, permit):
        self.acquired += 1
        self.held.append(permit)
        self.check()
        if self.chance.random() < 0.5:
            permit._lease.stop()  # a process that is stopped renews nothing
        try:
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(self.chance.choice([0.1, 5, TTL / 2, TTL]))
                self.check()
        finally:
            self.held.remove(permit)

    def check(self):
        assert sum(not permit.lost for permit in self.held) <= self.permits


def explore(seed):
    world = World(seed, permits=1 + seed % 3)

    async def everybody():
        await asyncio.gather(*[world.process() for _ in range(5)])

    run(everybody())
    return world


def explore_many(count):
    return [explore(seed) for seed in range(count)]


@given(st.integers(min_value=0, max_value=2**32))
def test_never_do_more_than_the_permits_hold_one(seed):
    assert explore(seed).acquired > 0


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = explore_many(50)
    assert sum(world.acquired for world in worlds) > 300
    assert any(world.lost for world in worlds)


def test_stamps_that_count_instead_of_being_random_are_caught(monkeypatch):
    # What is observed has to change with every renewal: with equal stamps a renewed permit looks like a dead one.
    monkeypatch.setattr("secrets.token_hex", lambda size: "00" if size == 8 else random.randbytes(size).hex())
    with pytest.raises(AssertionError):
        explore_many(300)
