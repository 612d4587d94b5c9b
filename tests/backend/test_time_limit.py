"""One timer serves all requests of a store, and each of them ends in time, by nobody else's end."""

import asyncio

import pytest

from satchel.backend.time_limit import TimeLimit


def timers(limit):
    return [
        handle
        for handle in asyncio.get_running_loop()._scheduled
        if not handle.cancelled() and handle._callback == limit._wake
    ]


async def test_requests_that_end_leave_one_timer():
    limit = TimeLimit(several_loops=False)
    assert await asyncio.gather(*[limit.bound(asyncio.sleep(0, number), 60) for number in range(50)]) == [*range(50)]
    assert len(timers(limit)) == 1


async def test_each_request_ends_after_its_own_time():
    limit = TimeLimit(several_loops=False)
    never = asyncio.Event()
    ended = []

    async def ask(seconds):
        with pytest.raises(TimeoutError):
            await limit.bound(never.wait(), seconds)
        ended.append(seconds)

    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[ask(seconds) for seconds in (0.2, 0.3, 0.1)], limit.bound(asyncio.sleep(0), 60))
    assert ended == [0.1, 0.2, 0.3]
    assert asyncio.get_running_loop().time() >= began + 0.3
    await limit.bound(asyncio.sleep(0), 60)
    assert len(timers(limit)) == 1


async def test_a_cancelled_caller_is_cancelled_and_not_late():
    limit = TimeLimit(several_loops=False)
    waiting = asyncio.create_task(limit.bound(asyncio.Event().wait(), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("several_loops", [False, True])
def test_the_next_event_loop_has_a_timer_of_its_own(several_loops):
    limit = TimeLimit(several_loops=several_loops)

    async def ask(seconds):
        await limit.bound(asyncio.Event().wait(), seconds)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        left = first.get_loop().create_task(ask(60))
        first.run(asyncio.sleep(0))
        with pytest.raises(TimeoutError):
            second.run(ask(0.01))
        with pytest.raises(TimeoutError):
            second.run(ask(0.01))
        left.cancel()
