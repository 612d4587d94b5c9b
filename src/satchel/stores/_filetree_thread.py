"""A thread of the file tree store: runs functions in order, and does not hold up the end of the process."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar, TypeVarTuple

from .._threads import carry_out

Given = TypeVarTuple("Given")
R = TypeVar("R")

_LAST_SECONDS = 5.0
"""How long the end of the process waits for what is under way; then that is cut off, as by a kill."""


class Worker:
    """Runs functions in order in one thread, which ends with `end`, or when nothing refers to this any more.

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
