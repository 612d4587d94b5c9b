"""Queues among the tasks of one process: what a worker gets, and what becomes of a job."""

import asyncio
import logging
from dataclasses import dataclass
from itertools import chain, pairwise

import pytest

from satchel import (
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    ModelMismatchError,
    SerializationError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from satchel.coordination import Queue
from satchel.testing import FlakyStore
from satchel.wrappers import ReadOnlyWrapper
from tests.coordination.test_counter import Another
from tests.coordination.virtual import run, wall_clock


@pytest.fixture
def queue(store):
    return Queue(store, "mail")


async def drain(queue):
    """Do all jobs, and return their values."""
    values = []
    while (job := await queue.take(timeout=0)) is not None:
        async with job:
            values.append(job.value)
    return values


async def dead_of(queue):
    return [job async for job in queue.dead()]


async def test_one_worker_gets_jobs_in_the_order_of_their_pushes_and_leaves_no_item(store, queue):
    for number in range(200):
        await queue.push({"n": number})
    assert await queue.size() == 200
    assert await drain(queue) == [{"n": number} for number in range(200)]
    assert await queue.size() == 0
    assert await drain(queue) == []
    assert {key async for key in store.keys("queues")} == {"mail/next", "mail/head"}


async def test_workers_share_the_jobs_and_each_is_done_once(store):
    queues = [Queue(Another(store), "mail") for _ in range(4)]
    await asyncio.gather(*[queues[number % 4].push(number) for number in range(300)])
    shares = await asyncio.gather(*map(drain, queues))
    assert sorted(chain(*shares)) == list(range(300))


@pytest.mark.parametrize("value", [None, 1.5, "text", b"\xff", b"", {"a": [1, None]}, [], {"value": 1, "base64": "x"}])
async def test_a_job_has_the_value_that_was_pushed(queue, value):
    name = await queue.push(value)
    job = await queue.take()
    assert (job.id, job.value, job.attempts, job.lost) == (name, value, 1, False)
    assert type(job.value) is type(value)
    async with job:
        pass


@dataclass
class Mail:
    to: str


async def test_values_of_a_model_come_back_as_such_and_others_are_refused_or_buried(store):
    queue = Queue(store, "mail", model=Mail, max_attempts=1)
    await queue.push(Mail("ada"))
    assert await drain(queue) == [Mail("ada")]
    with pytest.raises(ModelMismatchError):
        await queue.push({"to": "ada"})
    await Queue(store, "mail").push({"to": 1})
    with pytest.raises(ModelMismatchError):
        await queue.take()
    (dead,) = [job async for job in Queue(store, "mail").dead()]
    assert (dead.value, dead.error) == ({"to": 1}, "ModelMismatchError")


async def test_a_value_that_no_store_takes_is_refused_before_anything_is_written(store, queue):
    with pytest.raises(SerializationError):
        await queue.push({1, 2})
    assert [key async for key in store.keys("queues")] == []


def test_a_delayed_job_waits_for_its_time():
    async def scenario():
        queue = Queue(MemoryStore(clock=wall_clock), "mail", clock=wall_clock)
        await queue.push("later", delay=60)
        await queue.push("now")
        assert await drain(queue) == ["now"]
        assert await queue.size() == 1
        assert await queue.take(timeout=59) is None
        assert await drain(queue) == []
        await asyncio.sleep(1)
        assert await drain(queue) == ["later"]

    run(scenario())


async def test_a_failed_job_is_taken_again_under_its_id_until_it_is_dead(queue, caplog):
    pushed, attempts = await queue.push({"to": "nobody"}), []
    while (job := await queue.take(timeout=0)) is not None:
        async with job:
            attempts.append((job.id, job.attempts))
            raise ZeroDivisionError
    assert attempts == [(pushed, number) for number in range(1, 6)]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 5
    assert "failed at attempt 5, and is dead now" in caplog.text
    assert "nobody" not in caplog.text
    assert await queue.size() == 0
    (dead,) = await dead_of(queue)
    assert (dead.id, dead.value, dead.attempts, dead.error) == (pushed, {"to": "nobody"}, 5, "ZeroDivisionError")


async def test_a_dead_job_is_pushed_again_or_discarded(store):
    queue = Queue(store, "mail", max_attempts=1)
    for value in ("again", "never"):
        await queue.push(value, id=value)
        async with await queue.take():
            raise ZeroDivisionError
    for dead in sorted(await dead_of(queue), key=lambda dead: dead.id):
        await (dead.retry() if dead.value == "again" else dead.discard())
    assert await dead_of(queue) == []
    job = await queue.take(timeout=0)
    assert (job.id, job.value, job.attempts) == ("again", "again", 1)
    assert await queue.take(timeout=0) is None


async def test_a_cancelled_worker_gives_its_job_back_and_the_attempt_does_not_count(queue):
    await queue.push("value")
    inside = asyncio.Event()

    async def work():
        async with await queue.take():
            inside.set()
            await asyncio.sleep(50)

    for _ in range(10):
        inside.clear()
        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    job = await queue.take(timeout=0)
    assert job.attempts == 1


async def test_a_job_is_not_lost_by_a_worker_that_is_cancelled_at_any_step(queue):
    await queue.push("value")

    async def work():
        async with await queue.take():
            await asyncio.Event().wait()

    for steps in range(40):
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        job = await Queue(queue._store, "mail").take(timeout=0)
        assert job is not None, steps
        await job._ending.give_back()


def test_the_job_of_a_dead_worker_is_taken_after_its_lease_and_dies_with_the_last_attempt():
    async def scenario():
        store, taken = MemoryStore(clock=wall_clock), []
        await Queue(store, "mail").push("poison")
        waiting = Queue(Another(store), "mail", lease=30, max_attempts=3)
        for number in range(3):
            job = await waiting.take()  # and the worker dies at once
            taken.append(wall_clock())
            assert job.attempts == number + 1
        assert [30 <= after - before <= 31 for before, after in pairwise(taken)] == [True, True]
        assert await waiting.take(timeout=100) is None
        (dead,) = await dead_of(waiting)
        assert (dead.attempts, dead.error) == (3, "")

    run(scenario())


def test_a_long_job_is_renewed_and_no_other_worker_gets_it():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        queue, other = Queue(Another(store), "mail", lease=30), Queue(Another(store), "mail", lease=30)
        await queue.push("value")
        async with await queue.take() as job:
            assert await other.take(timeout=1000) is None
            assert not job.lost
        assert await other.take(timeout=1000) is None

    run(scenario())


def test_a_worker_that_cannot_renew_its_job_is_cancelled_and_lives_on(caplog):
    async def scenario():
        store, other = FlakyStore(clock=wall_clock), None
        queue = Queue(store, "mail", lease=30)
        await queue.push("value")
        begun, cancelled = wall_clock(), False
        async with await queue.take() as job:
            store.fail_next(1000)
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled = True
                raise
        assert job.lost
        assert cancelled
        assert wall_clock() - begun == 30
        store._failures.clear()
        other = await queue.take()
        assert other.attempts == 2

    run(scenario())
    assert "is left to other workers" in caplog.text


def test_a_job_that_is_done_too_late_is_left_to_the_worker_that_has_it(caplog):
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        slow, other = Queue(Another(store), "mail", lease=30), Queue(Another(store), "mail", lease=30)
        await slow.push("value")
        assert await other.take(timeout=0) is not None
        stopped = await slow.take()
        asyncio.get_running_loop().pass_time(31)
        async with stopped:
            pass
        assert await slow.size() == 1

    run(scenario())
    assert "is left to other workers" in caplog.text


def test_an_end_that_cannot_be_written_at_first_is_written_later():
    async def scenario():
        store = FlakyStore(clock=wall_clock)
        queue = Queue(store, "mail")
        await queue.push("value")
        async with await queue.take():
            store.fail_next(3)
        assert await queue.size() == 0
        await queue.push("value")
        job = await queue.take()
        with pytest.raises(StoreUnavailableError):
            async with job:
                store.fail_next(10_000)

    run(scenario())


class Losing(MemoryStore):
    """Carries out its next conditional writes and loses their answers."""

    losses = 0

    async def put_if_absent(self, *arguments, **named):
        version = await super().put_if_absent(*arguments, **named)
        if self.losses and arguments[1].startswith("mail/items"):
            self.losses -= 1
            raise StoreTimeoutError("lost")
        return version


async def test_an_unknown_outcome_of_a_push_is_raised():
    store = Losing()
    store.losses = 1
    queue = Queue(store, "mail")
    with pytest.raises(StoreTimeoutError):
        await queue.push("value", id="a")
    await queue.push("value", id="a")
    assert [job.id for job in [await queue.take(), await queue.take()]] == ["a", "a"]


def test_a_number_whose_push_never_came_does_not_stop_the_queue():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        queue = Queue(store, "mail")
        await queue._window.draw()  # and the process dies
        for number in range(100):
            await queue.push(number)
        assert await drain(queue) == list(range(100))
        assert (await store.get("queues", "mail/head")) is None  # it waits for the push
        assert await queue.take(timeout=6) is None
        assert (await store.get("queues", "mail/head"))["head"] == 101
        assert [key async for key in store.keys("queues", prefix="mail/items/")] == [queue._window.key(0)]
        await asyncio.sleep(86_400)
        assert [key async for key in store.keys("queues", prefix="mail/items/")] == []

    run(scenario())


def test_a_push_that_was_stopped_under_a_void_draws_another_number():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        queue, worker = Queue(Another(store), "mail"), Queue(Another(store), "mail")
        draw = queue._window.draw

        async def stopped():
            number = await draw()
            queue._window.draw = draw
            assert await worker.take(timeout=10) is None
            return number

        queue._window.draw = stopped
        await queue.push("value")
        assert await drain(worker) == ["value"]

    run(scenario())


def test_a_number_older_than_a_minute_is_not_used():
    async def scenario():
        queue = Queue(MemoryStore(clock=wall_clock), "mail")
        draw = queue._window.draw

        async def stopped():
            number = await draw()
            queue._window.draw = draw
            asyncio.get_running_loop().pass_time(61)
            return number

        queue._window.draw = stopped
        await queue.push("value")
        assert await queue._window.read(0) is None
        assert await queue._window.read(1) is not None

    run(scenario())


def test_a_long_job_does_not_keep_what_was_done_after_it():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        queue = Queue(store, "mail", clock=wall_clock)
        await queue.push("late", delay=10_000)
        for number in range(500):
            await queue.push(number)
        long = await queue.take()
        async with long:
            assert len(await drain(queue)) == 499
            assert (await store.get("queues", "mail/head")) == {
                "format": 1,
                "head": 501,
                "swept": 501,
                "behind": [0, 1],
            }
            assert await queue.size() == 2
        await asyncio.sleep(10_000)
        assert await drain(queue) == ["late"]
        assert await drain(queue) == []
        assert {key async for key in store.keys("queues")} == {"mail/next", "mail/head"}
        assert (await store.get("queues", "mail/head"))["behind"] == []

    run(scenario())


def test_many_jobs_that_cannot_be_taken_do_not_hide_the_one_that_can():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        queue = Queue(store, "mail", clock=wall_clock)
        for _ in range(500):
            await queue.push("late", delay=1000)
        await queue.push("now")
        assert await drain(Queue(Another(store), "mail", clock=wall_clock)) == ["now"]

    run(scenario())


async def test_a_queue_whose_next_number_was_evicted_goes_on_after_its_head(store, queue):
    for number in range(100):
        await queue.push(number)
    await drain(queue)
    await store.delete("queues", "mail/next")
    await queue.push("value")
    assert await drain(queue) == ["value"]


async def test_queues_of_other_names_and_collections_have_other_jobs(store, queue):
    others = [Queue(store, "mail2"), Queue(store, "mail", collection="other")]
    await queue.push("value")
    assert [await drain(other) for other in others] == [[], []]
    assert await drain(queue) == ["value"]


async def test_join_waits_until_no_job_is_open(queue):
    await asyncio.gather(*[queue.push(number) for number in range(10)])
    joined = asyncio.create_task(queue.join())
    await asyncio.sleep(0.05)
    assert not joined.done()
    await drain(queue)
    async with asyncio.timeout(50):
        await joined


async def test_jobs_waits_for_what_is_pushed_later(queue):
    values = []

    async def work():
        async for job in queue.jobs():
            async with job:
                values.append(job.value)
            if len(values) == 2:
                break

    task = asyncio.create_task(work())
    for value in ("a", "b"):
        await asyncio.sleep(0.02)
        await queue.push(value)
    async with asyncio.timeout(50):
        await task
    assert values == ["a", "b"]


def test_bad_options_are_refused_when_a_queue_is_made(store):
    for attempts in (0, -1, True, "5", None):
        with pytest.raises(ConfigurationError, match="max_attempts must be an int"):
            Queue(store, "mail", max_attempts=attempts)
    with pytest.raises(InvalidTTLError):
        Queue(store, "mail", lease=0)
    with pytest.raises(ConfigurationError, match="clock must be"):
        Queue(store, "mail", clock=1)
    for name, collection in [("", "c"), ("x" * 4090, "c"), ("n", ""), (1, "c")]:
        with pytest.raises(InvalidKeyError):
            Queue(store, name, collection=collection)
    with pytest.raises(UnsupportedOperationError):
        Queue(ReadOnlyWrapper(store), "mail")


async def test_bad_arguments_of_a_push_are_refused_before_anything_is_written(store, queue):
    for delay in (-1, float("nan"), "1"):
        with pytest.raises(InvalidTTLError):
            await queue.push("value", delay=delay)
    for name in ("", 1):
        with pytest.raises(InvalidKeyError):
            await queue.push("value", id=name)
    for seconds in (-1, True, "1", float("nan")):
        with pytest.raises(ValueError, match="timeout must be"):
            await queue.take(timeout=seconds)
    assert [key async for key in store.keys("queues")] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mail/next", "1"),
        ("mail/head", {"head": 1}),
        ("mail/items/0000000000000000", {"user": "data"}),
        ("mail/items/0000000000000000", {"format": 1, "state": "ready", "base64": "?"}),
        ("mail/items/0000000000000000", 7),
    ],
)
async def test_an_entry_that_no_queue_wrote_is_refused_and_left(store, queue, key, value):
    await queue.push("value")
    await store.put("queues", key, value)
    with pytest.raises(IntegrityError, match=r"key 'mail/\w+.*' of collection 'queues' holds something"):
        await queue.take()
    assert await store.get("queues", key) == value


async def test_values_do_not_show_in_a_repr(queue, caplog):
    caplog.set_level(logging.DEBUG)
    await queue.push("secret", id="a")
    job = await queue.take()
    assert repr(job) == "Job('a', attempts=1)"
    assert repr(queue) == "Queue(MemoryStore(), 'mail', collection='queues')"
    async with job:
        raise ZeroDivisionError
    assert "secret" not in caplog.text


@pytest.mark.parametrize("number", [-1, 10**16, 2**63 - 1, True, "1"])
async def test_a_next_number_that_no_queue_writes_is_damage(number):
    store = MemoryStore()
    queue = Queue(store, "q")
    await queue.push(1)
    await store.put("queues", "q/next", number)
    for use in (lambda: queue.take(timeout=0), queue.size, lambda: queue.push(2)):
        with pytest.raises(IntegrityError, match="no Queue wrote"):
            await use()


async def test_a_long_run_of_absent_numbers_ends_a_look():
    store = MemoryStore()
    queue = Queue(store, "q")
    await queue.push("there")
    await store.put("queues", "q/next", 10**15)
    assert await queue.size() == 1
    async with await queue.take(timeout=0) as job:
        assert job.value == "there"
    assert await queue.take(timeout=0) is None


@pytest.mark.parametrize(
    "field",
    [
        {"not_before": "soon"},
        {"state": "odd"},
        {"attempts": "1"},
        {"lease": None},
        {"id": 1},
        {"owner": []},
        {"more": 1},
    ],
    ids=str,
)
async def test_an_item_with_a_field_of_another_type_is_damage(field):
    store = MemoryStore()
    queue = Queue(store, "q")
    await queue.push(1)
    (key,) = [key async for key in store.keys("queues", prefix="q/items/")]
    await store.put("queues", key, await store.get("queues", key) | field)
    with pytest.raises(IntegrityError, match="no Queue wrote"):
        await queue.take(timeout=0)


@pytest.mark.parametrize(
    "field", [{"head": -1}, {"head": 10**16}, {"swept": True}, {"behind": ["1"]}, {"behind": [-1]}], ids=str
)
async def test_a_head_that_no_queue_writes_is_damage(field):
    store = MemoryStore()
    queue = Queue(store, "q")
    await queue.push(1)
    await store.put("queues", "q/head", {"format": 1, "head": 0, "swept": 0, "behind": []} | field)
    with pytest.raises(IntegrityError, match="no Queue wrote"):
        await queue.take(timeout=0)


async def test_a_worker_forgets_the_jobs_of_others_that_are_done():
    store = MemoryStore()
    one, other = Queue(store, "q"), Queue(store, "q")
    for number in range(10):
        await one.push(number)
        async with await one.take(timeout=0):
            assert await other.take(timeout=0) is None
            assert len(other._window._observations) == 1
    assert await other.take(timeout=0) is None
    assert len(other._window._observations) == 0
