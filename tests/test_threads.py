"""Work in satchel's own worker threads, and the pauses of long batches."""

import asyncio
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from satchel import MemoryStore
from satchel import _threads as threads
from satchel._threads import in_thread, offload
from satchel.blobs import StoreBlobs
from satchel.stores.zip import write_zip
from tests.patience import until, wait_until

LARGE_TEXT = "x" * 70_000


@asynccontextmanager
async def busy_executor() -> AsyncIterator[None]:
    """Let the executor of the event loop have no thread left in a block, which has to do without one."""
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    end = threading.Event()
    executor.submit(end.wait)
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        end.set()


async def test_work_does_not_wait_for_the_loops_own_executor() -> None:
    store = MemoryStore()
    async with busy_executor():
        await store.put("c", "k", LARGE_TEXT)
        assert await store.get("c", "k") == LARGE_TEXT
    await store.aclose()


async def test_files_do_not_wait_for_the_loops_own_executor(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 300_000)
    store = MemoryStore()
    blobs = StoreBlobs(store)
    async with busy_executor():
        await blobs.put_file("k", source)
        await blobs.get_file("k", target)
        assert await write_zip(store, tmp_path / "all.zip") > 1
    assert target.read_bytes() == source.read_bytes()


async def test_threads_of_the_executor_may_wait_for_puts() -> None:
    store = MemoryStore()
    loop = asyncio.get_running_loop()

    def put(number: int) -> None:
        asyncio.run_coroutine_threadsafe(store.put("c", str(number), LARGE_TEXT), loop).result(timeout=20)

    await asyncio.gather(*[asyncio.to_thread(put, number) for number in range(40)])
    assert len(await store.get_many("c", map(str, range(40)))) == 40
    await store.aclose()


async def test_a_thread_is_used_again_and_is_a_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, used = threads.ThreadPool(), set()
    monkeypatch.setattr(threads, "_pool", pool)
    for _ in range(50):
        used.add(await offload(threading.current_thread))
        await until(lambda: not pool._idle.empty())  # it may be busy for a moment after its result has come
    (thread,) = used
    assert thread.daemon


async def test_one_runs_at_a_time_also_after_a_cancellation() -> None:
    began, end, second_began = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        end.wait()

    cut_off = asyncio.create_task(offload(first))
    await in_thread(began.wait)
    cut_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    second = asyncio.create_task(offload(second_began.set))
    for _ in range(10):
        await in_thread(int)
    assert not second_began.is_set()
    end.set()
    await second
    assert second_began.is_set()


async def test_work_that_waits_in_a_thread_hinders_no_other() -> None:
    end = threading.Event()
    waiting = [asyncio.create_task(in_thread(end.wait)) for _ in range(20)]
    await asyncio.sleep(0)
    assert await offload(int) == 0
    end.set()
    assert await asyncio.gather(*waiting) == [True] * 20


async def test_what_a_function_raises_comes_back() -> None:
    for run in (offload, in_thread):
        with pytest.raises(ZeroDivisionError):
            await run(lambda: 1 // 0)
        with pytest.raises(SystemExit):
            await run(sys.exit)
        assert await run(lambda: 1) == 1


def run_out() -> None:
    raise StopIteration(3)


@pytest.mark.parametrize("run", [in_thread, offload])
async def test_a_stop_iteration_becomes_an_error_that_can_be_awaited(run: Any) -> None:
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        await asyncio.wait_for(run(run_out), 50)
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_it_runs_in_the_callers_context_and_keeps_nothing_of_it() -> None:
    class Kept:
        pass

    variable: ContextVar[Kept] = ContextVar("variable")

    async def call() -> weakref.ref[Kept]:
        kept = Kept()
        variable.set(kept)
        assert await offload(variable.get) is kept
        return weakref.ref(kept)

    reference = await asyncio.create_task(call())
    await until(lambda: is_gone(reference))


async def test_where_no_thread_can_be_started_work_is_done_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads.ThreadPool())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert await offload(threading.get_ident) == threading.get_ident()
    assert await in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await offload(lambda: 1 // 0)


async def test_an_idle_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.01)
    monkeypatch.setattr(threads, "_pool", threads.ThreadPool())
    thread = await offload(threading.current_thread)
    await asyncio.to_thread(thread.join)
    assert await offload(threading.current_thread) is not thread


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_has_threads_of_its_own() -> None:
    await offload(int)

    def work() -> int:
        child = os.fork()
        if not child:
            try:
                store = MemoryStore()

                async def put() -> None:
                    await store.put("c", "k", LARGE_TEXT)

                asyncio._set_running_loop(None)
                asyncio.run(asyncio.wait_for(put(), 20))
            except BaseException:
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert await asyncio.to_thread(work) == 0


async def test_a_batch_pauses_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.0005
        return now

    turns_of_another = 0

    async def other() -> None:
        nonlocal turns_of_another
        while True:
            turns_of_another += 1
            await asyncio.sleep(0)

    store = MemoryStore()
    await store.put("c", "k", 1)
    task = asyncio.create_task(other())
    monkeypatch.setattr(threads, "monotonic", clock)
    items = {str(number): number for number in range(1000)}
    for batch in (store.put_many("c", items), store.get_many("c", items)):
        before = turns_of_another
        await batch
        assert turns_of_another - before >= 200
    task.cancel()
    await store.aclose()


def is_gone(reference: weakref.ref[Any]) -> bool:
    """Return whether an object has gone; a thread whose result has come may hold it for a moment longer."""
    gc.collect()
    return reference() is None


def test_an_event_loop_on_which_two_computed_at_once_is_not_kept() -> None:
    loops = []

    async def compute() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        cancelled = asyncio.ensure_future(offload(sum, range(10)))
        await asyncio.gather(*(offload(sum, range(10)) for _ in range(3)))
        waiting = [asyncio.ensure_future(offload(time.sleep, 0.01)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait([*waiting, cancelled])

    asyncio.run(compute())
    wait_until(lambda: is_gone(loops[0]))


def test_an_event_loop_that_was_closed_before_work_was_over_is_not_kept() -> None:
    began, end = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        end.wait()

    async def leave() -> None:
        cut_off = asyncio.ensure_future(offload(work))
        await until(began.is_set)
        cut_off.cancel()
        await asyncio.wait([cut_off])

    def close_one() -> weakref.ref[Any]:
        loop: Any = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        end.set()
        wait_until(lambda: loop._ready)  # the thread has asked for the end of the turn, which never comes
        loop.close()
        return weakref.ref(loop)

    closed = close_one()
    asyncio.run(offload(int))
    wait_until(lambda: is_gone(closed))


def test_an_event_loop_that_was_closed_while_one_waited_is_not_kept_or_used() -> None:
    end = threading.Event()

    async def leave() -> None:
        for _ in range(2):
            asyncio.ensure_future(offload(end.wait))  # noqa: RUF006  # left behind on purpose
        await asyncio.sleep(0)

    def close_one() -> weakref.ref[Any]:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        loop.close()
        end.set()
        return weakref.ref(loop)

    closed = close_one()
    asyncio.run(offload(int))
    wait_until(lambda: is_gone(closed))
