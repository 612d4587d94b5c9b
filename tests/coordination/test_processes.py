"""Counters, locks and idempotency keys between processes, over each store that processes can share."""

import asyncio
from itertools import chain

import pytest

from satchel import MemoryStore
from satchel.coordination import Counter, Queue, Semaphore
from tests.coordination.processes import BACKENDS, Place
from tests.coordination.test_counter import Another

pytestmark = pytest.mark.long  # whole programs, which take long to start

SHORT = 1.0


@pytest.fixture(params=BACKENDS)
def place(request, tmp_path):
    return Place(request.param, tmp_path / "data")


def count(store):
    return Counter(store, "shared").value()


def log(store):
    return store.get("protected", "log")


async def test_8_tasks_of_1000_increments_make_8000_in_memory():
    store = MemoryStore()

    async def increment(counter):
        for _ in range(1000):
            await counter.increment()
            await asyncio.sleep(0)

    await asyncio.gather(*[increment(Counter(Another(store), "shared")) for _ in range(8)])
    assert await Counter(store, "shared").value() == 8000


def check_count(place, tasks, times):
    """Let 8 processes count, and see that each number up to the last was told once."""
    told = place.run_all(8, "increment", tasks, times)
    assert sorted(chain(*told)) == list(range(1, 8 * tasks * times + 1))
    assert place.use(count) == 8 * tasks * times


@pytest.mark.long
def test_8_processes_of_1000_increments_by_50_tasks_each_make_8000(place):
    check_count(place, 50, 20)


@pytest.mark.night
@pytest.mark.timeout(1800)
def test_8_processes_of_1000_increments_one_after_the_other_make_8000(place):
    check_count(place, 1, 1000)


def test_holders_take_turns_in_the_order_of_their_tokens(place):
    place.run_all(4, "take_turns", 5)
    tokens = place.use(log)
    assert tokens == list(range(tokens[0], tokens[0] + 20))


def test_a_holder_that_was_stopped_for_longer_than_its_ttl_finds_its_writes_refused(place):
    with place.worker("hold", SHORT, 10**6) as stopped:
        _, earlier, written = stopped.hear()
        assert written
        stopped.pause()
        with place.worker("hold", 20, 10**6) as later:
            said, token, written = later.hear()
            assert (said, token, written) == ("holds", earlier + 1, True)
            stopped.resume()
            assert stopped.hear() == ["lost", earlier, False]
        assert place.use(log) == [earlier, token]


def test_an_idempotent_call_under_50_racers_in_5_processes_runs_once(place):
    answers = place.run_all(5, "run_once", 10)
    assert answers == [[[{"done": True}] * 10]] * 5
    assert place.use(count) == 1


def test_another_runs_what_a_killed_process_had_claimed(place):
    with place.worker("run_for_ever", SHORT) as killed:
        assert killed.hear() == ["begun"]
        killed.kill()
        assert place.run("run_once", 1) == [[{"done": True}]]
    assert place.use(count) == 1


def test_jobs_outlive_workers_that_are_killed_or_stopped(place):
    async def push(store):
        await asyncio.gather(*[Queue(store, "shared").push(number) for number in range(24)])

    async def counts(store):
        return [await Counter(store, f"job {number}").value() for number in range(24)]

    place.use(push)
    with place.worker("work_through", SHORT) as killed, place.worker("work_through", SHORT) as stopped:
        killed.hear()
        killed.kill()
        stopped.hear()
        stopped.pause()
        place.run("work_through", SHORT)
        done = place.use(counts)
        assert all(done)
        stopped.resume()
        assert stopped.finish()[-1] == ["end"]
    assert place.use(lambda store: Queue(store, "shared").size()) == 0
    assert sum(place.use(counts)) <= 26  # the two jobs that were interrupted may have had their effect twice


def test_processes_share_the_permits(place):
    most = place.run_all(4, "share_permits", 2, 5)
    assert max(count for (count,) in most) <= 2
    assert place.use(lambda store: Semaphore(store, "shared", permits=2).taken()) == 0


def test_another_process_leads_when_the_leader_is_killed(place):
    with place.worker("lead", SHORT) as first:
        _, earlier = first.hear()
        with place.worker("lead", SHORT) as second:
            first.kill()
            _, later = second.hear()
    assert later == earlier + 1
