"""Conformance suite of coordination: promises of locks, queues, counters, rate limits and the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from ...coordination import Busy, Claimed, Counter, Leader, Lock, Once, Queue, RateLimit, Recorded, Semaphore, update
from ...errors import KeyMissingError
from ...protocol import AsyncKeyValue
from .suite import NewStore, Suite

Pair = tuple[Any, Any]

_PATIENCE = 50
_LEASE = 1.0


class CoordinationConformance(Suite):
    """Suite for a store with `Capability.CONDITIONAL`, to show that locks, queues and the like work on it.

    A subclass implements `make_store`, as for `StoreConformance`.
    """

    @pytest_asyncio.fixture
    async def pair(self, new_store: NewStore) -> Pair:
        """Return two stores over the same place, as in two processes; the same store twice if it is not persistent."""
        one: AsyncKeyValue = new_store()
        return one, new_store() if self.persistent else one

    async def test_updates_at_once_lose_nothing(self, pair: Pair) -> None:
        async def add(number: int) -> None:
            await update(pair[number % 2], "c", "k", lambda total: total + number, initial=0)

        await asyncio.wait_for(asyncio.gather(*map(add, range(20))), _PATIENCE)
        assert await pair[0].get("c", "k") == sum(range(20))

    async def test_an_update_of_an_absent_key_needs_an_initial_value(self, pair: Pair) -> None:
        with pytest.raises(KeyMissingError):
            await update(pair[0], "c", "k", lambda value: value)

    async def test_every_increment_is_told_a_count_of_its_own(self, pair: Pair) -> None:
        counters = [Counter(store, "name") for store in pair]
        told = await asyncio.wait_for(
            asyncio.gather(*[counters[number % 2].increment() for number in range(40)]), _PATIENCE
        )
        assert sorted(told) == list(range(1, 41))
        assert await counters[0].value() == await counters[1].value() == 40
        await counters[0].reset()
        assert await counters[1].increment(by=-2) == -2

    async def test_one_holder_at_a_time_has_the_lock_and_each_a_higher_token(self, pair: Pair) -> None:
        inside, tokens = 0, list[int]()

        async def work(number: int) -> None:
            nonlocal inside
            async with Lock(pair[number % 2], "name") as lock:
                inside += 1
                tokens.append(lock.fencing_token)
                await asyncio.sleep(0.01)
                assert inside == 1, "two held the lock at once"
                inside -= 1

        await asyncio.wait_for(asyncio.gather(*map(work, range(6))), _PATIENCE)
        assert tokens == sorted(set(tokens)), "a later holder did not get a higher fencing token"

    async def test_a_lock_that_is_held_is_not_got(self, pair: Pair) -> None:
        one, other = Lock(pair[0], "name"), Lock(pair[1], "name")
        assert await one.acquire(timeout=0)
        assert not await asyncio.create_task(other.acquire(timeout=0))
        assert await other.locked()
        await one.release()
        assert await other.acquire(timeout=0)
        await other.release()

    async def test_the_lock_of_a_dead_holder_lapses(self, pair: Pair) -> None:
        dead = Lock(pair[0], "name", ttl=_LEASE)
        await dead.acquire()
        dead._held().lease.stop()  # like a dead process, it renews nothing
        await dead._turn.aclose()
        async with asyncio.timeout(_PATIENCE), Lock(pair[1], "name") as lock:
            assert not dead.held
            assert lock.fencing_token == dead.fencing_token + 1

    async def test_a_lock_is_renewed_while_it_is_held(self, pair: Pair) -> None:
        async with Lock(pair[0], "name", ttl=_LEASE) as lock:
            await asyncio.sleep(1.5 * _LEASE)
            assert lock.held

    async def test_no_more_than_the_permits_are_held(self, pair: Pair) -> None:
        inside, most = 0, 0

        async def work(number: int) -> None:
            nonlocal inside, most
            async with Semaphore(pair[number % 2], "name", permits=2).permit():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.wait_for(asyncio.gather(*map(work, range(6))), _PATIENCE)
        assert 1 <= most <= 2
        assert await Semaphore(pair[0], "name", permits=2).taken() == 0

    async def test_no_more_hits_than_the_burst_are_allowed_at_once(self, pair: Pair) -> None:
        limits = [RateLimit(store, "name", limit=5, per=3600) for store in pair]
        verdicts = await asyncio.wait_for(
            asyncio.gather(*[limits[number % 2].hit("key") for number in range(40)]), _PATIENCE
        )
        assert sorted(verdict.remaining for verdict in verdicts if verdict.allowed) == list(range(5))
        assert not (await limits[1].peek("key")).allowed
        await limits[0].reset("key")
        assert (await limits[1].hit("key", cost=5)).allowed

    async def test_one_leads_at_a_time(self, pair: Pair) -> None:
        leaders = [Leader(store, "name") for store in pair]

        async def lead(leader: Leader) -> int:
            async with leader.term() as term:
                await asyncio.sleep(0.01)
                assert not term.lost
                return term.fencing_token

        terms = await asyncio.wait_for(asyncio.gather(*map(lead, leaders * 2)), _PATIENCE)
        assert len(set(terms)) == 4

    async def test_of_many_callers_one_runs_and_all_get_its_result(self, pair: Pair) -> None:
        runs = 0

        async def work() -> dict[str, int]:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0.05)
            return {"run": runs}

        calls = [Once(pair[number % 2]).run("key", work) for number in range(6)]
        assert await asyncio.wait_for(asyncio.gather(*calls), _PATIENCE) == [{"run": 1}] * 6

    async def test_a_claim_is_exclusive_until_its_result_is_recorded(self, pair: Pair) -> None:
        one, other = Once(pair[0]), Once(pair[1])
        claim = await one.claim("key")
        assert isinstance(claim, Claimed)
        assert await other.claim("key") == Busy()
        async with claim:
            await claim.record(b"\xff")
        assert await other.claim("key") == Recorded(b"\xff")

    async def test_each_job_is_done_once_by_several_workers(self, pair: Pair) -> None:
        queues, done = [Queue(store, "name") for store in pair], list[Any]()
        await asyncio.gather(*[queues[number % 2].push(number) for number in range(40)])
        assert await queues[0].size() == 40

        async def work(queue: Queue[Any]) -> None:
            while (job := await queue.take(timeout=0)) is not None:
                async with job:
                    done.append(job.value)

        await asyncio.wait_for(asyncio.gather(*map(work, queues)), _PATIENCE)
        assert sorted(done) == list(range(40))
        assert await queues[1].size() == 0

    async def test_a_failed_job_is_taken_again_and_the_job_of_a_dead_worker_too(self, pair: Pair) -> None:
        one, other = [Queue(store, "name", lease=_LEASE, max_attempts=3) for store in pair]
        await one.push({"n": 1}, id="job")
        async with await _taken(one):
            raise ZeroDivisionError
        assert (await _taken(one)).attempts == 2  # the worker dies: it never enters the block
        async with await _taken(other) as job:
            assert (job.id, job.value, job.attempts) == ("job", {"n": 1}, 3)
        assert await one.take(timeout=0) is None

    async def test_bytes_go_through_a_queue(self, pair: Pair) -> None:
        await Queue(pair[0], "name").push(b"\x00\xff")
        async with await _taken(Queue(pair[1], "name")) as job:
            assert job.value == b"\x00\xff"


async def _taken(queue: Queue[Any]) -> Any:
    job = await queue.take(timeout=_PATIENCE)
    assert job is not None, "no job was found"
    return job
