"""Delivery of results from a thread to the waiting task, with less overhead than asyncio's.

A hop to a thread and back is most of the cost of a single call. With `call_soon_threadsafe` and a future, a third of
that cost is overhead, which is saved by waking the loop through a descriptor and resuming the task at once.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import Context
from typing import Any, Generic, TypeVar

from ..._contexts import run_in_empty_context
from ..._forks import at_fork

R = TypeVar("R")


class Answer(Generic[R]):
    """Result of a function that runs in a thread, awaited by at most one task.

    asyncio takes it for a future. Unlike a future, it resumes the task at once, not in the loop's next iteration.
    """

    __slots__ = ("_asyncio_future_blocking", "_done", "_error", "_loop", "_result", "_waiting")

    _result: R

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._waiting: tuple[Callable[[Answer[R]], object], Context] | None = None
        self._done = False
        self._error: BaseException | None = None

    def __await__(self) -> Generator[Answer[R], None, R]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        if self._error is not None:
            raise self._error
        return self._result

    def set(self, result: R, error: BaseException | None) -> None:
        """Set the outcome, unless the task was cancelled."""
        if self._done:
            return
        self._done, self._error = True, error
        if error is None:
            self._result = result
        waiting, self._waiting = self._waiting, None  # the thread may keep this object longer than the task does
        if waiting is not None:
            wake, context = waiting
            context.run(wake, self)

    # The methods that a task calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of the task."""
        return self._loop

    def add_done_callback(self, wake: Callable[[Answer[R]], object], *, context: Context) -> None:
        """Set the function that resumes the task."""
        self._waiting = wake, context

    def result(self) -> R:
        """Return the result, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self, msg: Any = None) -> bool:
        """Resume the task with a `CancelledError`, and return whether it was waiting."""
        if self._done:
            return False
        self._done = True
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            wake, context = waiting
            self._loop.call_soon(wake, self, context=context)
        return True


class Answers:
    """Outcomes on their way from threads to one event loop; `of` returns the object of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._came: deque[tuple[Answer[Any], Any, BaseException | None]] = deque()
        self.inherited = False
        """Whether this process is a child of `fork`, and the answers belong to its parent."""
        self._bell: int | None = None
        if hasattr(os, "eventfd"):
            with suppress(OSError):  # if no descriptor is left, `call_soon_threadsafe` is used
                self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if self._bell is not None:
            run_in_empty_context(loop.add_reader, self._bell, self._give_out)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Answers:
        """Return the answers of an event loop."""
        answers = _of_loops.get(loop)
        if answers is None:
            answers = _of_loops[loop] = cls(loop)
        return answers

    def give(self, answer: Answer[R], result: R, error: BaseException | None) -> None:
        """Deliver an outcome. Call it in the thread."""
        self._came.append((answer, result, error))
        self._ring()

    def _ring(self) -> None:
        if self._bell is not None:
            os.eventfd_write(self._bell, 1)
        elif (loop := self._loop()) is not None:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._give_out)

    def _give_out(self) -> None:
        if self.inherited:
            return
        if self._bell is not None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        try:
            while self._came:
                answer, result, error = self._came.popleft()
                answer.set(result, error)
        finally:
            if self._came:  # a task was interrupted, as by Ctrl-C
                self._ring()

    def __del__(self) -> None:
        # Closed only now: the descriptor's number may be reused, and must not be written to then.
        if self._bell is not None:
            os.close(self._bell)


def _let_go() -> None:
    """Leave the descriptor to the parent: a child that ends the inherited loop would consume the parent's signal."""
    for answers in list(_of_loops.values()):
        answers.inherited = True


at_fork(after_in_child=_let_go)

_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Answers] = weakref.WeakKeyDictionary()
