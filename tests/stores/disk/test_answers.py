"""The way back from a disk store's thread to the task that waits."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from satchel.stores.disk import DiskStore
from satchel.stores.disk.answers import Answer, Answers


@pytest.fixture(params=["eventfd", "call_soon_threadsafe"])
def answers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "eventfd":
        monkeypatch.delattr(os, "eventfd", raising=False)
    return request.param


@pytest.mark.usefixtures("answers")
async def test_results_and_errors_reach_the_task_that_waits() -> None:
    loop = asyncio.get_running_loop()
    there = Answers(loop)
    first, second = Answer[int](loop), Answer[int](loop)
    threading.Thread(target=there.give, args=(first, 5, None)).start()
    threading.Thread(target=there.give, args=(second, None, ZeroDivisionError("x"))).start()
    assert await first == 5
    with pytest.raises(ZeroDivisionError):
        await second
    assert await first == 5


@pytest.mark.usefixtures("answers")
async def test_a_cancelled_task_goes_on_at_once_and_what_comes_later_is_dropped() -> None:
    loop = asyncio.get_running_loop()
    there, answer = Answers(loop), Answer[int](loop)

    async def wait() -> None:
        await answer

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    there.give(answer, 5, None)
    await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        answer.result()


@pytest.mark.usefixtures("answers")
async def test_a_timeout_ends_the_waiting() -> None:
    answer = Answer[int](asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await answer


@pytest.mark.usefixtures("answers")
def test_an_interrupt_of_one_task_loses_no_answer_of_another() -> None:
    loop = asyncio.new_event_loop()
    there = Answers(loop)
    first, second = Answer[int](loop), Answer[int](loop)

    async def interrupted() -> None:
        await first
        raise KeyboardInterrupt

    async def other() -> int:
        async with asyncio.timeout(50):
            return await second

    async def main() -> None:
        await asyncio.sleep(0)
        there.give(first, 1, None)
        there.give(second, 2, None)
        await asyncio.sleep(5)

    tasks = [loop.create_task(interrupted()), loop.create_task(other())]
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())
    assert loop.run_until_complete(tasks[1]) == 2
    with pytest.raises(KeyboardInterrupt):
        tasks[0].result()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.close()


@pytest.mark.usefixtures("answers")
async def test_a_store_works_on_either_way(tmp_path: Path) -> None:
    async def use() -> object:
        async with DiskStore(tmp_path, cache_size=0) as store:
            await asyncio.gather(*(store.put("a", str(at), at) for at in range(50)))
            return await store.get_many("a", [str(at) for at in range(50)])

    assert await asyncio.to_thread(lambda: asyncio.run(use())) == {str(at): at for at in range(50)}
