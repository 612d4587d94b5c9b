"""Locks among the tasks of one process, their leases, and what they do when the store fails."""

import asyncio
import gc
import logging
from contextlib import suppress

import pytest

from satchel import IntegrityError, InvalidTTLError, LockLostError, MemoryStore, StoreUnavailableError
from satchel.coordination import Lock
from satchel.testing import FlakyStore
from satchel.wrappers import CompressionWrapper, PrefixKeysWrapper, RetryWrapper, StatisticsWrapper, TTLWrapper
from tests.coordination.test_counter import Another
from tests.coordination.virtual import run, wall_clock

SHORT = 0.3


async def background_ends():
    """Wait for all other tasks, and let go of them: that is when one tells of an error that nobody heard."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    gc.collect()


class Hanging(MemoryStore):
    """Answers no conditional write while `answers` is cleared."""

    def __init__(self):
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    async def compare_and_put(self, *arguments, **named):
        await self.answers.wait()
        return await super().compare_and_put(*arguments, **named)


async def test_one_task_at_a_time_is_in(store):
    inside = 0
    tokens = []

    async def work(lock):
        nonlocal inside
        async with lock:
            inside += 1
            tokens.append(lock.fencing_token)
            await asyncio.sleep(0)
            assert inside == 1
            inside -= 1

    shared = Lock(store, "name")
    await asyncio.gather(*[work(shared if n % 2 else Lock(store, "name")) for n in range(20)])
    assert len(tokens) == 20
    assert tokens == sorted(set(tokens))


async def test_processes_would_take_turns_as_well(store):
    inside = 0

    async def work(number):
        nonlocal inside
        async with Lock(Another(store), "name"):
            inside += 1
            await asyncio.sleep(0.001)
            assert inside == 1
            inside -= 1

    async with asyncio.timeout(50):
        await asyncio.gather(*map(work, range(5)))


async def test_locks_of_different_names_and_collections_do_not_wait_for_each_other(store):
    async with Lock(store, "a"), Lock(store, "b"), Lock(store, "a", collection="other"):
        assert await Lock(store, "a").locked()


async def test_a_lock_says_whether_it_is_held(store):
    lock = Lock(store, "name")
    assert (lock.held, await lock.locked()) == (False, False)
    with pytest.raises(RuntimeError, match="is not held"):
        _ = lock.fencing_token
    async with lock as same:
        assert same is lock
        assert (lock.held, await lock.locked()) == (True, True)
        assert (Lock(store, "name").held, await Lock(store, "name").locked()) == (False, True)
    assert (lock.held, await lock.locked()) == (False, False)


async def test_acquire_says_whether_it_got_the_lock_in_time(store):
    one, other = Lock(Another(store), "name"), Lock(Another(store), "name")
    assert await one.acquire(timeout=0) is True
    assert await other.acquire(timeout=0) is False
    assert await other.acquire(timeout=0.05) is False
    await one.release()
    assert await other.acquire(timeout=50) is True
    await other.release()


async def test_a_timeout_bounds_the_wait_for_tasks_of_this_process_too(store):
    lock = Lock(store, "name")
    async with lock:
        assert await asyncio.create_task(lock.acquire(timeout=0)) is False
        assert await asyncio.create_task(Lock(store, "name").acquire(timeout=0.05)) is False


@pytest.mark.parametrize("seconds", [-1, True, "1", float("nan"), float("inf")])
async def test_a_timeout_is_a_number_of_seconds(store, seconds):
    with pytest.raises(ValueError, match="timeout must be"):
        await Lock(store, "name").acquire(timeout=seconds)


async def test_a_lock_is_not_reentrant_and_says_so(store):
    lock = Lock(store, "name")
    async with lock:
        with pytest.raises(RuntimeError, match="not reentrant"):
            await lock.acquire()
        with pytest.raises(RuntimeError, match="leave its block"):
            await lock.release()
    assert not await lock.locked()


async def test_a_task_that_holds_a_lock_is_refused_another_object_of_its_name(store):
    async with asyncio.timeout(50), Lock(store, "name"), Lock(store, "other"), Lock(store, "name", collection="c"):
        with pytest.raises(RuntimeError, match="not reentrant"):
            await Lock(store, "name").acquire()
        with pytest.raises(RuntimeError, match="not reentrant"):
            await Lock(store, "name").acquire(timeout=0)
    assert not await Lock(store, "name").locked()
    async with asyncio.timeout(50), Lock(store, "name"):
        waiting = asyncio.create_task(Lock(store, "name").acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting


async def test_what_is_not_held_cannot_be_released(store):
    lock = Lock(store, "name")
    with pytest.raises(RuntimeError, match="is not held"):
        await lock.release()
    await lock.acquire()
    await lock.release()
    with pytest.raises(RuntimeError, match="is not held"):
        await lock.release()


async def test_another_task_may_release_what_one_acquired(store):
    lock = Lock(store, "name")
    await asyncio.create_task(lock.acquire())
    await lock.release()
    assert await lock.acquire(timeout=0)
    await lock.release()


def test_tokens_grow_over_releases_lapses_and_restarts():
    async def scenario():
        store, tokens = MemoryStore(clock=wall_clock), []
        for _ in range(3):
            async with Lock(store, "name", ttl=10) as lock:
                tokens.append(lock.fencing_token)
        for _ in range(3):
            lapsing = Lock(Another(store), "name", ttl=10)
            assert await lapsing.acquire()
            lapsing._claim.lease.stop()
            tokens.append(lapsing.fencing_token)
        return tokens

    tokens = run(scenario())
    assert tokens == list(range(tokens[0], tokens[0] + 6))


async def test_tokens_grow_even_when_the_entry_was_lost(store, clock):
    tokens = []
    for loss in (lambda: store.delete("locks", "name"), lambda: store.destroy_collection("locks")):
        for _ in range(2):
            clock.advance(0.001)
            async with Lock(store, "name", clock=clock) as lock:
                tokens.append(lock.fencing_token)
        await loss()
    assert len(set(tokens)) == 4
    assert tokens == sorted(tokens)


async def test_the_entry_stays_for_a_month_and_does_not_stay_for_ever(store):
    async with Lock(store, "name", ttl=60):
        held = await store.get_entry("locks", "name")
    released = await store.get_entry("locks", "name")
    assert (held.ttl, released.ttl) == (30 * 86_400 + 60, 30 * 86_400)
    token = held.value["fencing_token"]
    assert released.value == {"format": 1, "fencing_token": token, "owner": "", "lease": 0.0, "until": 0.0}


@pytest.mark.parametrize(("keep", "in_use"), [(100_000, 100_010), (1, 86_410), (0, 86_410)])
async def test_an_entry_in_use_outlives_its_lease_by_a_day_and_a_released_one_stays_as_asked(store, keep, in_use):
    async with Lock(store, "name", ttl=10, keep=keep):
        assert (await store.get_entry("locks", "name")).ttl == in_use
    released = await store.get_entry("locks", "name")
    assert (None if released is None else released.ttl) == (keep or None)


async def test_tokens_go_on_from_the_clock_when_the_entry_is_not_kept(store, clock):
    tokens = []
    for _ in range(3):
        clock.advance(0.001)
        async with Lock(store, "name", keep=0, clock=clock) as lock:
            tokens.append(lock.fencing_token)
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("keep", [-1, "1", None])
def test_the_time_to_keep_is_a_ttl_or_0(store, keep):
    with pytest.raises(InvalidTTLError):
        Lock(store, "name", keep=keep)


def test_culling_expired_entries_leaves_lapsed_locks():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        lock = Lock(store, "name", ttl=1)
        await lock.acquire()
        lock._claim.lease.stop()
        await asyncio.sleep(3600)
        await store.cull()
        async with Lock(Another(store), "name") as later:
            assert later.fencing_token == lock.fencing_token + 1

    run(scenario())


def test_a_lapsed_holder_neither_renews_nor_releases():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        lapsed, later = Lock(Another(store), "name", ttl=30), Lock(Another(store), "name", ttl=1000)
        await lapsed.acquire()
        lapsed._claim.lease.stop()
        assert await later.acquire(timeout=100)
        entry = await store.get_entry("locks", "name")
        assert not lapsed.held
        with pytest.raises(LockLostError, match="key 'name' of collection 'locks' was lost"):
            await lapsed.release()
        assert await store.get_entry("locks", "name") == entry
        assert later.held
        await later.release()

    run(scenario())


async def take_away(store):
    """Let another holder have the lock, as if an administrator had removed its entry."""
    await store.delete("locks", "name")
    later = Lock(Another(store), "name")
    assert await later.acquire(timeout=0)
    return later


async def test_a_holder_that_learns_at_the_release_that_it_lost_the_lock_says_so(store):
    later = None

    async def work():
        nonlocal later
        async with Lock(store, "name", ttl=1000):
            later = await take_away(store)

    with pytest.raises(LockLostError):
        await work()
    assert later.held
    await later.release()


def test_a_lock_is_renewed_while_it_is_held():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        other = Lock(Another(store), "name", clock=wall_clock)
        async with Lock(store, "name", ttl=30, clock=wall_clock) as lock:
            assert await other.acquire(timeout=100) is False
            assert lock.held
        assert await other.acquire(timeout=0)
        await other.release()

    run(scenario())


async def test_the_body_is_cancelled_when_the_store_is_not_there_to_renew():
    store = FlakyStore()
    cancelled = asyncio.Event()

    async def work():
        async with Lock(store, "name", ttl=SHORT):
            store.fail_next(1000)
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    with pytest.raises(LockLostError, match=r"was not renewed within 0\.3 s") as caught:
        await work()
    assert cancelled.is_set()
    assert isinstance(caught.value.__cause__, StoreUnavailableError)
    assert asyncio.current_task().cancelling() == 0


async def test_the_body_is_cancelled_when_the_store_does_not_answer_in_time():
    store, entered = Hanging(), asyncio.Event()
    async with Lock(store, "name"):
        pass

    async def work():
        async with Lock(store, "name", ttl=SHORT):
            store.answers.clear()
            entered.set()
            await asyncio.sleep(50)

    with pytest.raises(LockLostError):
        await work()
    assert entered.is_set()
    store.answers.set()


def test_failures_that_pass_do_not_lose_the_lock():
    async def scenario():
        store = FlakyStore(clock=wall_clock)
        async with Lock(store, "name", ttl=30, clock=wall_clock) as lock:
            for _ in range(3):
                store.fail_next(3, operation="put_if")
                await asyncio.sleep(30)
                assert lock.held

    run(scenario())


def test_a_lock_is_lost_after_exactly_its_time_to_live_counted_from_before_the_request():
    async def scenario():
        store = FlakyStore(latency=2, clock=wall_clock)
        loop, acquired = asyncio.get_running_loop(), 0.0

        async def work():
            nonlocal acquired
            async with Lock(store, "name", ttl=30, clock=wall_clock):
                acquired = loop.time()
                store.fail_next(1000)
                await asyncio.sleep(1000)

        with pytest.raises(LockLostError):
            await work()
        return loop.time() - acquired

    assert run(scenario()) == 28


async def test_a_block_that_ends_although_it_was_cancelled_is_told():
    store = FlakyStore()

    async def work():
        async with Lock(store, "name", ttl=SHORT):
            store.fail_next(1000)
            with suppress(asyncio.CancelledError):  # no block should, but some do
                await asyncio.sleep(50)

    with pytest.raises(LockLostError):
        await work()


async def test_a_cancellation_from_outside_stays_one():
    store, entered = MemoryStore(), asyncio.Event()

    async def work():
        async with Lock(store, "name"):
            entered.set()
            await asyncio.sleep(50)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Lock(store, "name").acquire(timeout=0)


async def test_a_cancellation_from_outside_stays_one_when_the_lock_is_lost_at_the_same_time():
    store, entered, lost = FlakyStore(), asyncio.Event(), asyncio.Event()

    async def work():
        async with Lock(store, "name", ttl=SHORT):
            store.fail_next(1000)
            entered.set()
            try:
                await asyncio.sleep(50)
            finally:
                lost.set()
                await asyncio.sleep(50)

    task = asyncio.create_task(work())
    await entered.wait()
    await lost.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_around_a_lock_and_one_within_stay_what_they_are(store):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), Lock(store, "name"):
            await asyncio.sleep(50)
    with pytest.raises(TimeoutError):
        async with Lock(store, "name"), asyncio.timeout(0.01):
            await asyncio.sleep(50)
    assert not await Lock(store, "name").locked()


async def test_an_error_of_the_body_passes_and_the_lock_is_released(store):
    with pytest.raises(ZeroDivisionError):
        async with Lock(store, "name"):
            _ = 1 / 0
    assert not await Lock(store, "name").locked()


async def test_a_body_that_had_the_lock_to_its_end_succeeds_though_the_release_fails(caplog):
    store = FlakyStore()
    with caplog.at_level(logging.WARNING, "satchel"):
        async with Lock(store, "name"):
            store.fail_next(1)
    assert "was not released, and will lapse" in caplog.text
    lock = Lock(store, "other")
    await lock.acquire()
    store.fail_next(1)
    with pytest.raises(StoreUnavailableError):
        await lock.release()


async def test_a_failure_to_acquire_is_raised_and_leaves_no_queue(store):
    flaky = FlakyStore()
    lock = Lock(flaky, "name")
    flaky.fail_next(1)
    with pytest.raises(StoreUnavailableError):
        await lock.acquire()
    assert await lock.acquire(timeout=0)
    await lock.release()


async def test_a_lock_whose_acquisition_was_cancelled_on_the_way_is_given_back():
    store = Hanging()
    async with Lock(store, "name"):
        pass
    store.answers.clear()
    task = asyncio.create_task(Lock(store, "name").acquire())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    store.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await Lock(store, "name").locked()


async def test_an_acquisition_that_fails_after_it_was_cancelled_ends_quietly():
    class Failing(MemoryStore):
        asked, answers = asyncio.Event(), asyncio.Event()

        async def put_if_absent(self, *arguments, **named):
            self.asked.set()
            await self.answers.wait()
            raise StoreUnavailableError("gone")

    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    store = Failing()
    task = asyncio.create_task(Lock(store, "name").acquire())
    await store.asked.wait()
    task.cancel()
    store.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await background_ends()
    assert unheard == []


async def test_a_task_cancelled_in_the_queue_lets_the_next_one_in(store):
    lock = Lock(store, "name")
    await lock.acquire()
    first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    first.cancel()
    await lock.release()
    assert await second is True
    assert first.cancelled()
    await lock.release()


async def test_an_entry_that_no_lock_wrote_is_refused_and_left(store):
    await store.put("locks", "name", {"user": "data"})
    for call in (Lock(store, "name").acquire, Lock(store, "name").locked):
        with pytest.raises(IntegrityError, match="something that no Lock wrote"):
            await call()
    assert await store.get("locks", "name") == {"user": "data"}


def wrapped(inner):
    inner = CompressionWrapper(inner)
    inner = PrefixKeysWrapper(inner, prefix="mine")
    inner = TTLWrapper(inner, default=100, jitter=0.5)
    return StatisticsWrapper(RetryWrapper(inner))


async def test_locks_work_through_wrappers(store):
    tokens = []
    for layered in (wrapped(store), wrapped(Another(store)), wrapped(store)):
        async with Lock(layered, "name") as lock:
            tokens.append(lock.fencing_token)
            assert not await Lock(wrapped(store), "name").acquire(timeout=0)
    assert tokens == list(range(tokens[0], tokens[0] + 3))


def test_a_renewal_whose_answer_comes_too_late_does_not_bring_a_lock_back():
    class Stopping(MemoryStore):
        async def compare_and_put(self, *arguments, **named):
            asyncio.get_running_loop().pass_time(25)
            return await super().compare_and_put(*arguments, **named)

    async def scenario():
        lock = Lock(Stopping(clock=wall_clock), "name", ttl=30, clock=wall_clock)
        assert await lock.acquire()
        await asyncio.sleep(11)  # the renewal was sent after 10 seconds, and answered after 35
        assert not lock.held
        with pytest.raises(LockLostError):
            await lock.release()

    run(scenario())


def test_a_holder_notices_at_its_next_renewal_that_another_has_taken_the_lock():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        lock = Lock(store, "name", ttl=30)
        await lock.acquire()
        later = await take_away(store)
        assert lock.held
        await asyncio.sleep(11)
        assert not lock.held
        assert later.held

    run(scenario())


@pytest.mark.parametrize("difference", [-1e6, -20, 20, 1e6])
def test_clocks_of_hosts_that_differ_do_not_matter(difference):
    async def scenario():
        store, begun = MemoryStore(clock=wall_clock), wall_clock()
        holder = Lock(Another(store), "name", ttl=30, clock=lambda: wall_clock() + difference)
        waiting = Lock(Another(store), "name", ttl=30)
        await holder.acquire()
        assert not await waiting.acquire(timeout=100)
        holder._claim.lease.stop()
        stopped = wall_clock()
        assert await waiting.acquire()
        assert holder._claim.lease.lapsed
        assert 20 <= wall_clock() - stopped <= 30.5  # the last renewal was up to ten seconds before
        assert wall_clock() - begun > 100

    run(scenario())


def test_attempts_that_do_not_wait_observe_the_holder_as_well():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        dead, other = Lock(Another(store), "name", ttl=30), Lock(Another(store), "name", ttl=30)
        await dead.acquire()
        dead._claim.lease.stop()
        await asyncio.sleep(1000)
        assert not await other.acquire(timeout=0)  # seen for the first time
        await asyncio.sleep(29)
        assert not await other.acquire(timeout=0)
        await asyncio.sleep(1)
        assert await other.acquire(timeout=0)

    run(scenario())


def test_a_lock_that_is_got_too_late_is_not_got():
    async def scenario():
        slow = FlakyStore(latency=40, clock=wall_clock)
        assert await Lock(slow, "name", ttl=30, clock=wall_clock).acquire(timeout=200) is False

    run(scenario())


def test_a_lock_outlives_its_event_loop():
    store = MemoryStore()
    lock = Lock(store, "name", ttl=SHORT)

    async def use():
        async with lock:
            return lock.held

    assert [asyncio.run(use()) for _ in range(2)] == [True, True]


def test_what_is_shown_of_a_lock(store):
    assert repr(Lock(store, "name", ttl=2.5)) == "Lock(MemoryStore(), 'name', ttl=2.5, collection='locks')"
