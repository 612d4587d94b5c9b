"""Work that would hold up the event loop: large pieces in a thread, many small ones with pauses for others.

The threads are satchel's own. Those of the event loop's executor may all be busy with something that itself waits for a
store, and take nothing more once the interpreter has begun to end.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from ._forks import at_fork

P = ParamSpec("P")
R = TypeVar("R")

_IDLE_SECONDS = 10.0
"""A thread that has had nothing to do for so long ends."""
_A_TURN = 0.002
"""Seconds for which a batch may hold the event loop."""


class Tally:
    """Count of the calls of `offload` in this process.

    A store decodes a large value in a worker thread. So when `tally.calls` has not changed while a value was read, the
    value is small, which nobody can tell as quickly by looking at it. When it has changed, the value may be large. A
    plain attribute, since a call to read it would take longer than the rest of the test.
    """

    calls = 0


tally = Tally()
"""The one count, which `offload` alone changes."""


class ThreadPool:
    """Daemon threads that run functions, each started when all others are busy.

    No function waits for another, so that none can hinder those it waits for itself. There are few threads, for what
    hands functions over has few under way at once. All of this can be interrupted at any point by a signal handler or
    the garbage collector, and holds no lock.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle: SimpleQueue[None] = SimpleQueue()
        """Has one item for each thread that waits, and that nothing has been handed over for."""

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Hand a function over; it runs at once, in place, where no thread can be started any more."""
        future: Future[R] = Future()
        work = partial(carry_out, future, function, *args, **kwargs)
        try:
            self._idle.get_nowait()
        except Empty:
            try:
                threading.Thread(target=self._run, name="satchel-worker", daemon=True).start()
            except RuntimeError:  # there are too many, or the interpreter has begun to end
                work()
                return future
        self._work.put(work)
        return future

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=_IDLE_SECONDS)
            except Empty:
                with suppress(Empty):  # then something has just been handed over
                    self._idle.get_nowait()
                    return
                continue
            work()
            del work  # or an idle thread would keep the last value
            self._idle.put(None)


_pool = ThreadPool()


class _Turns:
    """Lock of one event loop, and the number of calls that hold it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.members = 0


# A lock that was waited for refers to its event loop, and so an entry keeps its key. It is there while it is needed.
_turns: dict[asyncio.AbstractEventLoop, _Turns] = {}


def submit(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """Run a function in a thread of satchel's own."""
    return _pool.submit(function, *args, **kwargs)


def carry_out(future: Future[R], function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run a function for a future, unless that has been cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    except StopIteration as error:  # a future of asyncio's would never end with it
        raised = RuntimeError("a function raised StopIteration")
        raised.__cause__ = error
        future.set_exception(raised)
        del future, raised  # or the traceback would hold them in a cycle
    except BaseException as error:  # it belongs to the caller, whatever it is
        future.set_exception(error)
        del future  # or the traceback would hold it in a cycle
    else:
        future.set_result(result)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that waits, as for a file or a server, in a thread, and return its result."""
    return await asyncio.wrap_future(submit(partial(copy_context().run, partial(function, *args, **kwargs))))


async def offload(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that computes in a thread, and return its result.

    One runs at a time on each event loop: encoding holds the interpreter's lock, so that two at once would finish no
    sooner, and would leave the loop fewer turns.
    """
    tally.calls += 1
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop) or _turns_of_new(loop)
    turns.members += 1
    try:
        await turns.lock.acquire()
    except BaseException:
        _leave(loop, turns)
        raise
    future = submit(partial(copy_context().run, partial(function, *args, **kwargs)))
    try:
        return await asyncio.wrap_future(future)
    finally:
        if future.done():
            _end_turn(loop, turns)
        else:  # the caller was cancelled, and the function goes on
            future.add_done_callback(partial(_pass_on, loop, turns))


def _turns_of_new(loop: asyncio.AbstractEventLoop) -> _Turns:
    """Make the lock of an event loop, and forget loops that were closed before their calls could leave."""
    for other in list(_turns):
        if other.is_closed():
            _turns.pop(other, None)
    turns = _turns[loop] = _Turns()
    return turns


def _pass_on(loop: asyncio.AbstractEventLoop, turns: _Turns, _future: Future[Any]) -> None:
    try:
        loop.call_soon_threadsafe(_end_turn, loop, turns)
    except RuntimeError:  # the loop has ended meanwhile
        _turns.pop(loop, None)


def _end_turn(loop: asyncio.AbstractEventLoop, turns: _Turns) -> None:
    if loop.is_closed():  # then nobody can wait any more
        _turns.pop(loop, None)
        return
    turns.lock.release()
    _leave(loop, turns)


def _leave(loop: asyncio.AbstractEventLoop, turns: _Turns) -> None:
    turns.members -= 1
    if not turns.members:
        _turns.pop(loop, None)


def _after_fork() -> None:
    """Forget the threads, which a child process does not have, and what waits for them."""
    global _pool  # noqa: PLW0603  # there is one a process
    _pool = ThreadPool()
    _turns.clear()


at_fork(after_in_child=_after_fork)


class Yielder:
    """Pauses of a batch, in which other tasks run."""

    def __init__(self) -> None:
        self._end = monotonic() + _A_TURN

    def over(self) -> bool:
        """Return whether the batch has held the event loop for long enough."""
        return monotonic() >= self._end

    async def pause(self) -> None:
        """Let every task run that can."""
        await asyncio.sleep(0)
        self._end = monotonic() + _A_TURN

    async def after_item(self) -> None:
        """Pause if the batch has held the event loop for long enough."""
        if self.over():
            await self.pause()


Given = TypeVarTuple("Given")

_LAST_SECONDS = 5.0
"""Seconds for which the end of the process waits for running work before cutting it off, as by a kill."""


class Worker:
    """Thread that runs functions in order, until `end` or until nothing refers to it any more.

    Args:
        name: The thread's name.
        hurry: Is called at the end of the process: what waits in the thread stops to wait.
    """

    def __init__(self, name: str, hurry: Callable[[], None]) -> None:
        self.hurry = hurry
        self.ended = False
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = threading.Thread(target=_run, args=(self._queue,), name=name, daemon=True)
        self.thread.start()
        _workers.add(self)

    def __del__(self) -> None:
        self.end()

    def submit(self, work: Callable[[*Given], R], *args: *Given) -> Future[R]:
        """Hand a function over.

        Raises:
            RuntimeError: `end` was called.
        """
        if self.ended:
            raise RuntimeError("this thread has ended")
        future: Future[R] = Future()
        self._queue.put(lambda: carry_out(future, work, *args))
        return future

    async def run(self, work: Callable[[*Given], R], *args: *Given) -> R:
        """Run a function, and return what it returns; one whose caller is cancelled before it began does not run."""
        return await asyncio.wrap_future(self.submit(work, *args))

    def end(self) -> None:
        """End the thread after what was handed over, without waiting for it."""
        self.ended = True
        self._queue.put(None)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _run(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # or an idle thread would keep the last value


@atexit.register
def _end_all() -> None:
    give_up = time.monotonic() + _LAST_SECONDS
    workers = list(_workers)
    for worker in workers:
        worker.hurry()
        worker.end()
    for worker in workers:
        worker.thread.join(max(0.0, give_up - time.monotonic()))
